"""Sample forecasts that also satisfy a reward: Diffusion Tree Sampling beside best-of-N and importance sampling.

Searches windows of a series with a frozen diffusion prior, prints one row per method and writes a run directory with
samples, trajectories, trees and a report (report.html). Rollouts run on Ray workers: of this machine, or of a cluster.
Ctrl-C stops the search and keeps what there is; --resume goes on.

Examples:
    python -m jobs.search
    python -m jobs.search --method dts-late snis --n-rollouts 2000 --num-windows 1 --channels OT
    python -m jobs.search --reward "limit:max<1.5" --spectral-gamma 0 --temperature 0.1
    python -m jobs.search --given "max < 35" --reward none --spectral-gamma 0 --inv-temperature 1 --channels OT
    python -m jobs.search --reward my_package.my_module:my_reward
    python -m jobs.search --data-file mine.csv --checkpoint mine.safetensors --split latest
    python -m jobs.search --method sadt --learn --max-nfe 100000
    python -m jobs.search --executor serial
    python -m jobs.search --address auto --num-workers 8 --device cuda --checkpoint-to s3://bucket/run
    python -m jobs.search --resume runs/search/20260101-120000-000000
    python -m jobs.search --stage 3 --help  # OpenTSLM: questions about series, in words

Exit codes: 0 complete; 4 complete, but of some context no sample has any weight under the reward; 1 refused or failed;
130 and 143 stopped by a signal.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from rich.console import Console

from jobs import search_job, stage_job
from jobs.execution import choose_executor, close_executor
from jobs.help import asks_for_help, print_help
from jobs.interrupt import Interrupted, InterruptGuard, Watch
from jobs.refusal import NOTHING_SATISFIES, Refused, refusing
from jobs.reporting import page_or_reason
from jobs.resume import (
    Resumed,
    check_address,
    copy_config,
    find_run,
    kind_of_run,
    refuse_complete,
    remove_config,
    settled,
)
from jobs.search_job import SearchJob
from jobs.stage_job import StageJob
from jobs.tables import print_table
from sadt_ray.comparison import Row, check_entries, run_task
from sadt_ray.engine.loop import RolloutFailed, Tolerance
from sadt_ray.engine.progress import SearchBar
from sadt_ray.flow.weight_source import LearnerUpdate
from sadt_ray.forecasting import ForecastTask
from sadt_ray.methods import Method
from sadt_ray.opentslm.task import StageTask
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.lock import only_writer
from sadt_ray.runs.recording import CannotResume, Recording, SearchFailed
from sadt_ray.session import FlowSource, SessionFactory
from sadt_ray.tree.warm_up import compile_kernels

Job = SearchJob | StageJob


class Prepared(NamedTuple):
    """A run that can begin."""

    job: Job
    task: ForecastTask | StageTask
    run: Path
    executor: str
    open_session: SessionFactory
    flow_source: FlowSource


def kind_of(arguments: Sequence[str]) -> str:
    """Whether a command line is about a forecast or a stage: by --stage, or by the run that it resumes."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for flag in ("--stage", "--resume"):
        parser.add_argument(flag, nargs="?", const="")
    given, _ = parser.parse_known_args(list(arguments))
    if given.stage is not None:
        return "stage"
    return kind_of_run(find_run(given.resume).config) if given.resume else "forecast"


def parse(arguments: list[str]) -> tuple[Job, list[str], Resumed | None]:
    """The job of a command line; with --resume that of the run, as changed by what was given beside it."""
    make: type[Job] = StageJob if kind_of(arguments) == "stage" else SearchJob
    job: Job = tyro.cli(make, args=arguments)
    if job.resume is None:
        execution = replace(job.execution, checkpoint_to=settled(job.execution.checkpoint_to))
        return replace(job, execution=execution), arguments, None
    resumed = find_run(job.resume)
    arguments = resumed.arguments(arguments)
    job = tyro.cli(make, args=arguments)
    execution = replace(job.execution, checkpoint_to=settled(resumed.checkpoint_to))
    return replace(job, out=resumed.run or job.out, execution=execution), arguments, resumed


def prepare(arguments: list[str], console: Console, held: ExitStack) -> Prepared:
    """Everything that can be wrong with the input is found here, before a run directory exists.

    Args:
        held: will hold the run, so that no other process goes on with it.
    """
    job, arguments, resumed = parse(arguments)
    sys.path.append(str(Path.cwd()))  # where python -m, but not the installed command, looks for rewards
    torch.set_num_threads(job.execution.threads)
    with console.status("loading; the first time on a machine, kernels are compiled (minutes)"):
        compile_kernels()
        task = job.build_task(partial(console.print, style="yellow", markup=False, highlight=False, soft_wrap=True))
        described = task.describe()
        described["search"].setdefault("trajectories", job.trajectories)
        if resumed is not None:
            resumed.check_settings(described["search"], job.settings_in(resumed.config))
        check_entries(task.entries(), task.problems, task.flow)
        executor, open_session = choose_executor(job.execution, console)
    home = search_job.HOME if isinstance(job, SearchJob) else stage_job.HOME
    run = job.out or home / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    learning = job.learner(task, run) if isinstance(job, SearchJob) and isinstance(task, ForecastTask) else None
    if resumed is None:
        check_address(run, job.execution.checkpoint_to)
    if resumed is None or resumed.run is None:
        create_run_directory(run)
        about = {
            "execution": {**asdict(job.execution), "executor": executor},
            "environment": describe_environment(),
            "command": shlex.join(["python", "-m", "jobs.search", *arguments]),
            "arguments": arguments,
        }
        write_json(run / "config.json", {**described, **about})
        task.write_inputs(run)
        copy_config(run, job.execution.checkpoint_to)
    held.enter_context(only_writer(run, name=".run-lock"))
    refuse_complete(run)  # by a process that was faster
    return Prepared(job, task, run, executor, open_session, FlowSource(task.flow, learning))


def _recording(job: Job, run: Path) -> Recording:
    execution = job.execution
    return Recording(
        run=run.absolute(),
        checkpoint_to=execution.checkpoint_to or str(run.absolute() / "checkpoints"),
        every_seconds=execution.checkpoint_seconds,
        every_simulations=execution.checkpoint_simulations,
        keep_trajectories=job.trajectories,
        tolerance=Tolerance(share=execution.tolerate_failures),
    )


def search_and_report(prepared: Prepared, console: Console, watch: Watch) -> int:
    """Run, print and write everything; returns the exit code."""
    job, task, run, executor, open_session, flow_source = prepared
    recording, notes, exit_code = _recording(job, run), list[str](), 0

    def bar(label: str, method: Method, num_problems: int) -> SearchBar:
        return SearchBar(console, label, method.search, num_problems)

    def learned(update: LearnerUpdate | None) -> None:
        if update is None:
            notes.append("The learner did not answer at the end; what it last wrote is in the run directory.")
        elif isinstance(task, ForecastTask):
            notes.append(update.describe(run))
            task.comparison.learned = dict(update.facts())

    try:
        run_task(task, open_session, recording, flow_source, bar, watch.stats, watch.check, learned)
    except Interrupted as reason:
        where = job.execution.checkpoint_to or run
        notes.append(f"Stopped by {reason}: the budgets were not spent. To go on: --resume {where}")
        exit_code = reason.exit_code
    except (RolloutFailed, SearchFailed, CannotResume, OSError) as error:
        notes.append(f"Stopped: {error}")
        exit_code = 1
    finally:
        close_executor(executor)
    rows = task.finish(run, exit_code == 0, notes)
    _print(console, task, rows)
    if exit_code == 0:
        remove_config(job.execution.checkpoint_to)
        recording.remove_checkpoints(entry.method.name for entry in task.entries())
    ending = page_or_reason(run) if job.report and rows else f"run: {run}"
    console.print(ending, markup=False, soft_wrap=True)
    if exit_code == 0 and isinstance(task, ForecastTask) and task.comparison.impossible:
        return NOTHING_SATISFIES
    return exit_code


def _print(console: Console, task: ForecastTask | StageTask, rows: Sequence[Row]) -> None:
    print_table(console, [{column: row.get(column) for column in task.table_columns} for row in rows])
    for note in task.notes:
        console.print(note, markup=False)


def run(arguments: list[str], console: Console, watch: Watch) -> int:
    """A whole run, as a command line asks for it; returns the exit code. Raises Refused for bad input."""
    with ExitStack() as held:
        with refusing():
            prepared = prepare(arguments, console, held)
        with watch:
            return search_and_report(prepared, console, watch)


def main() -> None:
    arguments = sys.argv[1:]
    if asks_for_help(arguments):
        about = stage_job if any(argument.split("=")[0] == "--stage" for argument in arguments) else search_job
        text = stage_job.__doc__ if about is stage_job else __doc__
        print_help(arguments, text or "", StageJob if about is stage_job else SearchJob, about.GROUPS)
        return
    try:
        raise SystemExit(run(arguments, Console(), InterruptGuard()))
    except Refused as error:
        raise SystemExit(f"jobs.search: {error}") from None
    except Interrupted as again:  # while what there is was being written
        raise SystemExit(again.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
