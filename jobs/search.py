"""Sample forecasts that also satisfy a reward: Diffusion Tree Sampling beside best-of-N and importance sampling.

Searches windows of a series with a frozen diffusion prior, prints one row a method and writes a run directory with
samples, trajectories, trees and a report (report.html). Rollouts run on Ray workers: of this machine, or of a cluster.
Ctrl-C stops the search and keeps what there is; --resume goes on.

Examples:
    python -m jobs.search
    python -m jobs.search --method dts-late snis --n-rollouts 2000 --num-windows 1 --channels OT
    python -m jobs.search --reward "limit:max<1.5" --spectral-gamma 0 --temperature 0.1
    python -m jobs.search --reward my_package.my_module:my_reward
    python -m jobs.search --data-file mine.csv --checkpoint mine.safetensors --split latest
    python -m jobs.search --method sadt --learn --max-nfe 100000
    python -m jobs.search --executor serial
    python -m jobs.search --address auto --num-workers 8 --device cuda --checkpoint-to s3://bucket/run
    python -m jobs.search --resume runs/search/20260101-120000-000000
    python -m jobs.search --stage 3 --help  # OpenTSLM: questions about series, in words
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import tyro
from rich.console import Console

from jobs.datasets import load_dataset_or_synthetic
from jobs.execution import Session, choose_executor, close_executor
from jobs.forecasting import Forecasting, build_reward, load_process, select_problems, with_opinions_if_needed
from jobs.interrupt import Interrupted, InterruptGuard, Watch
from jobs.learning import describe_update, flow_notes, flow_source_of, given_flow, learned_facts
from jobs.outcome import Outcome
from jobs.progress import SearchBar
from jobs.refusal import Refused, refusing
from jobs.reporting import page_or_reason
from jobs.resume import (
    QUESTIONS,
    Resumed,
    check_address,
    copy_config,
    find_run,
    refuse_complete,
    remove_config,
    settled,
)
from jobs.search_job import SearchJob, build_methods
from jobs.stages.run import run as answer_stage
from sadt_ray.budget import fitted
from sadt_ray.config import settings_of
from sadt_ray.engine.loop import RolloutFailed, SearchStats, Tolerance
from sadt_ray.engine.plan import SearchPlan, check_rollouts, plan_search
from sadt_ray.flow.flow import Flow
from sadt_ray.methods import Method
from sadt_ray.runs.directory import create_run_directory, write_json, write_problems
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.lock import only_writer
from sadt_ray.runs.recording import CannotResume, Recording, SearchFailed
from sadt_ray.tree.warm_up import compile_kernels


class Prepared(NamedTuple):
    """A run that can begin."""

    job: SearchJob
    task: Forecasting
    methods: list[Method]
    plans: list[SearchPlan]  # of the methods
    run: Path
    executor: str
    session: AbstractContextManager[Session]


def build_task(job: SearchJob, console: Console) -> Forecasting:
    """Load data and prior, choose windows, build the reward."""
    data = load_dataset_or_synthetic(job.dataset, job.data_file, console)
    process, prior_notes = load_process(data, job.backbone, job.checkpoint)
    reward = build_reward(job.reward, job.spectral_weight, job.resolved_inv_temperature())
    oracle_notes = ["The reward reads the truth: ORACLE results, not deployable ones."] if reward.oracle else []
    problems = select_problems(data, job.split, job.windows, job.num_windows, job.channels)
    problems, reward_notes = with_opinions_if_needed(problems, reward, data, process, job.seed)
    reward.bind(problems)  # a problem that does not fit the reward is refused here
    return Forecasting(process, problems, reward, prior_notes + reward_notes + oracle_notes)


def run_methods(
    session: Session,
    task: Forecasting,
    methods: Sequence[Method],
    plans: Sequence[SearchPlan],
    outcome: Outcome,
    console: Console,
    watch: Watch,
) -> None:
    """Search, once for all methods that differ in the draw alone. What an interruption leaves is recorded too."""
    waiting, plan_of = list(methods), {plan.name: plan for plan in plans}
    while waiting:
        group = [method for method in waiting if waiting[0].same_search(method)]
        waiting = [method for method in waiting if method not in group]
        label = ", ".join(method.name for method in group)
        with SearchBar(console, label, group[0].search, len(task.problems)) as bar:

            def on_stats(stats: SearchStats, bar: SearchBar = bar) -> None:
                bar.show(stats)
                watch.stats(stats)

            ended = session.search(plan_of[group[0].name], on_stats, watch.check)
            bar.finish(ended.search)
        outcome.add(group, ended.search, ended.seconds)
        if ended.error is not None:
            raise ended.error


def describe(
    job: SearchJob, task: Forecasting, methods: Sequence[Method], executor: str, arguments: list[str]
) -> dict[str, Any]:
    """Everything that the run follows from, resolved."""
    branch_steps = {m.name: task.process.with_branch_steps(m.branch_steps).branch_steps for m in methods}
    return {
        "search": resolved_settings(job, task),
        "execution": {**asdict(job.execution), "executor": executor},
        "methods": [{**settings_of(method), "branch_steps": branch_steps[method.name]} for method in methods],
        "process": {"sampler": asdict(task.process.sampler)},
        "problems": [problem.name for problem in task.problems],
        "oracle": task.reward.oracle,
        "environment": describe_environment(),
        "command": shlex.join(["python", "-m", "jobs.search", *arguments]),
        "arguments": arguments,
    }


def resolved_settings(job: SearchJob, task: Forecasting) -> dict[str, Any]:
    return {**job.settings(), "inv_temperature": job.resolved_inv_temperature(), "reward": repr(task.reward)}


def parse(arguments: list[str]) -> tuple[SearchJob, list[str], Resumed | None]:
    """The job of a command line; with --resume that of the run, as changed by what was given beside it."""
    job = tyro.cli(SearchJob, description=__doc__, args=arguments)
    if job.resume is None:
        execution = replace(job.execution, checkpoint_to=settled(job.execution.checkpoint_to))
        return replace(job, execution=execution), arguments, None
    resumed = find_run(job.resume)
    arguments = resumed.arguments(arguments)
    job = tyro.cli(SearchJob, args=arguments)
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
    with console.status("loading; the first time on a machine, kernels are compiled (20 s)"):
        compile_kernels()
        task = build_task(job, console)
        flow = given_flow(job, repr(task.reward))
        methods = fitted_methods(job, task, flow)
        task.notes.extend(flow_notes(job, methods, flow, task.process))
        if resumed is not None:
            resumed.check_settings(resolved_settings(job, task))
        plans = [plan_search(task.process, task.problems, method) for method in methods]
        for plan in plans:
            check_rollouts(plan, task.process, task.reward, task.problems[0], flow)
        executor, open_session = choose_executor(job.execution, console)
    run = job.out or Path("runs/search") / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    guidance = flow_source_of(job, methods, task.problems, repr(task.reward), run, flow)
    if resumed is None:
        check_address(run, job.execution.checkpoint_to)
    if resumed is None or resumed.run is None:
        create_run_directory(run)
        write_json(run / "config.json", describe(job, task, methods, executor, arguments))
        write_problems(run, task.problems)
        copy_config(run, job.execution.checkpoint_to)
    held.enter_context(only_writer(run, name=".run-lock"))
    refuse_complete(run)  # by a process that was faster
    smallest = min(plan.simulations * plan.smc.particles for plan in plans)  # sweeps lose little to each other
    session = open_session(task.process, task.reward, task.problems, _recording(job, run), smallest, guidance)
    return Prepared(job, task, methods, plans, run, executor, session)


def fitted_methods(job: SearchJob, task: Forecasting, flow: Flow | None) -> list[Method]:
    """The methods of a job, with as many rollouts as their budgets pay for."""
    methods = build_methods(job, task.process.sampler.num_steps)
    return [fitted(method, task.process, task.problems[0], task.reward, flow) for method in methods]


def _recording(job: SearchJob, run: Path) -> Recording:
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
    job, task, methods, plans, run, executor, session = prepared
    outcome, exit_code = Outcome(run, task.problems, task.notes), 0
    try:
        with session as running:
            with console.status("waiting for a rollout worker"):
                running.wait_for_workers(watch.check)
            try:
                run_methods(running, task, methods, plans, outcome, console, watch)
            finally:
                if job.learn:
                    update = running.learned()
                    outcome.learned = learned_facts(update)
                    outcome.notes.append(describe_update(update, run))
    except Interrupted as reason:
        elsewhere = job.execution.checkpoint_to
        outcome.notes.append(f"Stopped by {reason}: the budgets were not spent. To go on: --resume {elsewhere or run}")
        exit_code = reason.exit_code
    except (RolloutFailed, SearchFailed, CannotResume, OSError) as error:
        outcome.notes.append(f"Stopped: {error}")
        exit_code = 1
    finally:
        close_executor(executor)
    outcome.close(console, complete=exit_code == 0)
    if exit_code == 0:
        remove_config(job.execution.checkpoint_to)
        _recording(job, run).remove_checkpoints(method.name for method in methods)
    ending = page_or_reason(run) if job.report and outcome.rows else f"run: {run}"
    console.print(ending, markup=False, soft_wrap=True)
    return exit_code


def asks_a_stage(arguments: Sequence[str]) -> bool:
    """Whether this is about OpenTSLM's stages: by --stage, or by --resume of a run of them."""
    names = [argument.split("=")[0] for argument in arguments]
    if "--stage" in names:
        return True
    given = arguments[names.index("--resume") :] if "--resume" in names else []
    where = "=".join(given[0].split("=")[1:]) or (given[1] if len(given) > 1 else "") if given else ""
    return bool(where) and (Path(where) / QUESTIONS).exists()


def run(arguments: list[str], console: Console, watch: Watch) -> int:
    """A whole run, as a command line asks for it; returns the exit code. Raises Refused for bad input."""
    if asks_a_stage(arguments):
        return answer_stage(arguments, console, watch)
    with ExitStack() as held:
        with refusing():
            prepared = prepare(arguments, console, held)
        with watch:
            return search_and_report(prepared, console, watch)


def main() -> None:
    try:
        raise SystemExit(run(sys.argv[1:], Console(), InterruptGuard()))
    except Refused as error:
        raise SystemExit(f"jobs.search: {error}") from None
    except Interrupted as again:  # while what there is was being written
        raise SystemExit(again.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
