"""Answer a stage's questions with frozen OpenTSLM: greedily, by votes, and by search under a reward.

Prints one row a method with its accuracy, calibration and cost, and writes a run directory with every answer, its
probabilities and reasons (answers.parquet, answers.jsonl) and a report (report.html).
Ctrl-C stops and keeps what there is; --resume goes on.

Examples:
    python -m jobs.search --stage 3
    python -m jobs.search --stage har --checkpoint OpenTSLM/llama-3.2-1b-har-sp --data-file mine.csv
    python -m jobs.search --stage 4 --method answer-vote sadt --n-rollouts 16 --reward "format + 0.5*spectral-label"
    python -m jobs.search --stage 2 --num-examples 8 --executor serial
"""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import tyro
from rich.console import Console

from jobs.execution import Opener, choose_executor, close_executor
from jobs.interrupt import Interrupted, Watch
from jobs.progress import SearchBar
from jobs.refusal import refusing
from jobs.reporting import page_or_reason
from jobs.resume import Resumed, find_run, refuse_complete
from jobs.stages.job import StageJob
from jobs.tables import print_table
from sadt_ray.engine.loop import RolloutFailed, SearchStats, Tolerance
from sadt_ray.engine.plan import check_rollouts, plan_search
from sadt_ray.opentslm.task import BATCH_SIZE, Entry, StageTask
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.lock import only_writer
from sadt_ray.runs.recording import CannotResume, Recording, SearchFailed
from sadt_ray.tree.warm_up import compile_kernels


@dataclass
class StageRun:
    """A run that goes on: the methods that are left to be searched, and where."""

    job: StageJob
    task: StageTask
    directory: Path
    open_session: Opener
    recorded: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def run(self, console: Console, watch: Watch) -> None:
        """Search every method that is not recorded yet; each is recorded as soon as its search ends."""
        for entry in self.task.entries():
            if entry.method.name not in self.recorded:
                self._search(entry, console, watch)

    def _search(self, entry: Entry, console: Console, watch: Watch) -> None:
        method, process, reward = entry
        problems = self.task.problems
        plan = plan_search(process, problems, method)
        check_rollouts(plan, process, reward, problems[0])
        session = self.open_session(process, reward, problems, self.recording(), plan.simulations)
        with session as running, SearchBar(console, method.name, method.search, len(problems)) as bar:
            running.wait_for_workers(watch.check)

            def on_stats(stats: SearchStats) -> None:
                bar.show(stats)
                watch.stats(stats)

            result = running.search(plan, on_stats, watch.check)
            bar.finish(result.search)
        self.task.record(self.directory, [entry], result)
        result.checked()

    def recording(self) -> Recording:
        execution, run = self.job.execution, self.directory.absolute()
        return Recording(
            run=run,
            checkpoint_to=execution.checkpoint_to or str(run / "checkpoints"),
            every_seconds=execution.checkpoint_seconds,
            every_simulations=execution.checkpoint_simulations,
            keep_trajectories=self.job.trajectories,
            tolerance=Tolerance(share=execution.tolerate_failures),
        )


def parse(arguments: list[str]) -> tuple[StageJob, list[str], Resumed | None]:
    """The job of the command line; with --resume that of the run."""
    job = tyro.cli(StageJob, description=__doc__, args=arguments)
    if job.resume is None:
        return job, arguments, None
    resumed = find_run(job.resume)
    arguments = resumed.arguments(arguments)
    return replace(tyro.cli(StageJob, args=arguments), out=resumed.run), arguments, resumed


def prepare(arguments: list[str], console: Console, held: ExitStack) -> tuple[StageRun, str]:
    """Everything that can be wrong with the input is found here, before a run directory exists."""
    job, arguments, resumed = parse(arguments)
    torch.set_num_threads(job.execution.threads)
    with console.status("loading; the first time on a machine, kernels are compiled (20 s)"):
        compile_kernels()
        task = job.build_task(lambda message: console.print(message, markup=False))
        for method, process, _ in task.entries():  # steps that the process does not have are refused here
            plan_search(process, task.problems, method)
        if resumed is not None:
            resumed.check_settings(recorded_settings(job, task))
        batch_size = job.execution.batch_size or BATCH_SIZE
        executor, open_session = choose_executor(replace(job.execution, batch_size=batch_size), console)
    directory = job.out or Path("runs/stages") / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    run = StageRun(job, task, directory, open_session)
    if resumed is None:
        create_run_directory(directory)
        write_json(directory / "config.json", describe(job, task, executor, arguments))
        task.write_inputs(directory)
    held.enter_context(only_writer(directory, name=".run-lock"))
    refuse_complete(directory)
    if resumed is not None:
        run.recorded = task.recorded(directory)
    return run, executor


def recorded_settings(job: StageJob, task: StageTask) -> dict[str, Any]:
    """The settings that a resumed run must keep."""
    return {**task.describe()["search"], "trajectories": job.trajectories}


def describe(job: StageJob, task: StageTask, executor: str, arguments: list[str]) -> dict[str, Any]:
    """Everything that the run follows from, resolved."""
    return {
        **task.describe(),
        "search": recorded_settings(job, task),
        "execution": {**asdict(job.execution), "executor": executor},
        "environment": describe_environment(),
        "command": shlex.join(["python", "-m", "jobs.search", *arguments]),
        "arguments": arguments,
    }


def search_and_report(run: StageRun, executor: str, console: Console, watch: Watch) -> int:
    """Run, print and write everything; returns the exit code."""
    exit_code, task = 0, run.task
    try:
        run.run(console, watch)
    except Interrupted as reason:
        run.notes.append(f"Stopped by {reason}. To go on: --resume {run.directory}")
        exit_code = reason.exit_code
    except (RolloutFailed, SearchFailed, CannotResume, OSError) as error:
        run.notes.append(f"Stopped: {error}")
        exit_code = 1
    finally:
        close_executor(executor)
    rows = task.finish(run.directory, exit_code == 0, run.notes)
    if exit_code == 0:
        run.recording().remove_checkpoints(entry.method.name for entry in task.entries())
    ending = page_or_reason(run.directory) if run.job.report and rows else f"run: {run.directory}"
    print_table(console, [{name: row[name] for name in task.table_columns} for row in rows])
    for note in task.notes + run.notes:
        console.print(note, markup=False)
    console.print(ending, markup=False, soft_wrap=True)
    return exit_code


def run(arguments: list[str], console: Console, watch: Watch) -> int:
    """A whole run, as a command line asks for it; see ``jobs.search.run``."""
    with ExitStack() as held:
        with refusing():
            stage_run, executor = prepare(arguments, console, held)
        with watch:
            return search_and_report(stage_run, executor, console, watch)
