"""Answer the questions of a stage from Python, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sadt_ray.engine.loop import run
from sadt_ray.engine.plan import plan_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.opentslm.answers import Answered
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.task import BATCH_SIZE, Entry, StageTask, build_stage_task
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.recording import Recording, run_recorded


def answer_questions(
    settings: StageSettings,
    out: Path | str | None = None,
    *,
    device: str = "cpu",
    batch_size: int = BATCH_SIZE,
    tell: Callable[[str], None] = print,
) -> list[Answered]:
    """Answer the questions of a stage by every method of the settings.

        >>> settings = StageSettings(stage="3", num_examples=8, method=("greedy", "sadt"))
        >>> answers = answer_questions(settings, out="runs/har")
        >>> answers[0].answer, answers[0].probabilities, answers[0].text

    ``python -m jobs.search --stage`` gives the same answers, on Ray workers if wanted, and can resume a run.

    Args:
        settings: questions, model, methods and reward.
        out: run directory, which must be new or empty: answers, scores, trees and summary, as the command line writes
            them. None to write nothing.
        device: of the model: cpu, cuda, cuda:1 ...
        batch_size: rationales that are evaluated together.
        tell: receives messages for the user.

    Returns:
        One row per method and question, methods in the order of the settings.

    Raises:
        ValueError, OSError: if the model, the questions or the reward cannot be had; the message says what to do.
        RolloutFailed: if too many rollouts fail.
    """
    task = build_stage_task(settings, tell, device, batch_size)
    directory = None if out is None else create_run_directory(Path(out))
    if directory is not None:
        write_json(directory / "config.json", {**task.describe(), "environment": describe_environment()})
        task.write_inputs(directory)
    for entry in task.entries():
        _answer(task, entry, directory)
    if directory is not None:
        task.finish(directory, complete=True)
    return task.answers


def _answer(task: StageTask, entry: Entry, directory: Path | None) -> None:
    plan = plan_search(entry.process, task.problems, entry.method)
    executor = SerialExecutor(
        entry.process, entry.reward, task.problems, task.batch_size, rollout_spec=plan.rollout_spec
    )
    if directory is None:
        task.answers += task.answers_of(entry.method, run(plan, executor).checked())
    else:
        result = run_recorded(plan, executor, Recording(directory.absolute(), keep_trajectories=False))
        task.record(directory, [entry], result)
        result.checked()
