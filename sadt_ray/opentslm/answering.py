"""Answer the questions of a stage from Python, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sadt_ray.comparison import run_task
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.task import BATCH_SIZE, build_stage_task
from sadt_ray.runs.answer_file import Answered
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.recording import Recording
from sadt_ray.session import serial_session


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
    recording = None if directory is None else Recording(directory.absolute(), keep_trajectories=False)
    run_task(task, serial_session(task.batch_size, device), recording)
    task.finish(directory, complete=True)
    return task.answers
