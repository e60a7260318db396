"""Sample forecasts that also satisfy a reward: Diffusion Tree Sampling beside best-of-N and importance sampling.

Searches windows of a series with a frozen diffusion prior, prints one row a method and writes a run directory with
samples, trajectories, trees and a report (report.html). Ctrl-C stops the search and keeps what there is.

Examples:
    python -m jobs.search
    python -m jobs.search --method dts-late snis --n-rollouts 2000 --num-windows 1 --channels OT
    python -m jobs.search --reward "limit:max<1.5" --spectral-gamma 0 --temperature 0.1
    python -m jobs.search --reward my_package.my_module:my_reward
    python -m jobs.search --data-file mine.csv --checkpoint mine.safetensors --split latest
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from jobs.datasets import load_dataset_or_synthetic
from jobs.forecasting import Forecasting, build_reward, load_process, select_problems, with_opinions_if_needed
from jobs.interrupt import InterruptGuard
from jobs.outcome import Outcome
from jobs.progress import SearchBar
from sadt_ray.api import start_search
from sadt_ray.executor import RolloutFailed, run_search
from sadt_ray.methods import METHODS, Method, method_named
from sadt_ray.report.page import write_report
from sadt_ray.runs.directory import create_run_directory, write_json, write_problems
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.recorder import Recorder
from sadt_ray.tree.search import Search
from sadt_ray.tree.warm_up import compile_kernels

_DEFAULT_ROLLOUTS = 500


@dataclass(frozen=True)
class SearchJob:
    """What to search, how long, and where the results go."""

    backbone: str = "diff-k"
    """Prior: diff-k, the diffusion forecaster."""
    dataset: str | None = None
    """ETTh1 (the default), synthetic, or a name for the --data-file, which else is called after the file."""
    data_file: Path | None = None
    """A CSV of ETTh1's shape: a date column, then one numeric column a channel."""
    checkpoint: Path | None = None
    """Weights written by `python -m jobs.train prior`; the shipped ones by default."""
    method: tuple[str, ...] = ("prior", "best-of-n", "snis", "dts", "dts-late")
    """One or more of: prior, best-of-n, snis, dts, dts-late, dts-star."""
    n_rollouts: int | None = None
    """Budget in rollouts per context. Without any budget: the evaluations of 500 prior samples, for every method."""
    max_nfe: int | None = None
    """Budget in denoiser evaluations per context."""
    inv_temperature: float | None = None
    """lambda of the target p(x) exp(lambda r(x)); 50 by default."""
    temperature: float | None = None
    """The same as 1/lambda."""
    reward: str = "second-opinion"
    """The task: none, second-opinion, limit:max<1.5, module:function, or a sum such as 'none + 2*limit:max<1'."""
    spectral_weight: Annotated[float, tyro.conf.arg(aliases=["--spectral-gamma", "--spectral_gamma"])] = 1.0
    """Weight of the spectral reward -mean|log S_x - log S_context|, added to the task; 0 leaves it out."""
    split: str = "test"
    """Part of the series that windows are taken from: train, val, test, or latest: forecast beyond the last row."""
    windows: tuple[int, ...] = ()
    """Windows by number (stride 48); by default --num-windows of them, spread over the part."""
    num_windows: int = 4
    """How many windows, if none is named."""
    channels: tuple[str, ...] = ()
    """Channels by name; all by default."""
    branch_steps: tuple[int, ...] = ()
    """Denoising steps after which dts, dts-late and dts-star make a node, the last being the number of steps."""
    selection_inv_temperature: float | None = None
    """Inverse temperature of selection; by default lambda for dts, lambda / 2 for dts-late. Lower explores more."""
    c_uct: float | None = None
    """Exploration constant of dts-star, in units of the reward; 1 by default."""
    widen_c: float | None = None
    """A node may have widen_c N^widen_alpha children; 2 by default."""
    widen_alpha: float | None = None
    """See widen_c; by default .8 for dts and dts-star, .5 for dts-late."""
    batch_size: int | None = None
    """Rollouts in flight; two a context by default, within 16 and 256."""
    device: str = "cpu"
    """Where the prior runs: cpu, cuda, cuda:1 ..."""
    threads: int = 1
    """CPU threads of the prior, whose matrices are too small to share out well."""
    seed: int = 0
    """Every random number follows from it."""
    out: Path | None = None
    """Run directory; runs/search/DATE-TIME by default."""
    report: bool = True
    """Write report.html and plots/."""
    trajectories: bool = True
    """Write trajectories/, every node of every tree with its state: 400 bytes a node."""

    def __post_init__(self) -> None:
        for name in ("threads", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        lam = self.resolved_inv_temperature()
        if not 0 < lam < math.inf:
            raise ValueError(f"the inverse temperature must be a positive number, got {lam}")
        if not self.method:
            raise ValueError(f"no method is given; name one or more of {', '.join(METHODS)}")

    def resolved_inv_temperature(self) -> float:
        """lambda from either flag. Raises ValueError if both are given or the temperature is not positive."""
        if self.temperature is None:
            return 50.0 if self.inv_temperature is None else self.inv_temperature
        if self.inv_temperature is not None:
            raise ValueError("give --inv-temperature or --temperature, not both")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        return 1 / self.temperature


def build_methods(job: SearchJob, num_steps: int) -> list[Method]:
    """The methods of a job with their settings. Raises ValueError for a name that does not exist or a bad setting."""
    max_nfe = job.max_nfe
    if job.n_rollouts is None and max_nfe is None:
        max_nfe = _DEFAULT_ROLLOUTS * num_steps
    shared: dict[str, Any] = {
        "inv_temperature": job.resolved_inv_temperature(),
        "n_rollouts": job.n_rollouts,
        "max_nfe": max_nfe,
        "seed": job.seed,
    }
    names = ("selection_inv_temperature", "c_uct", "widen_c", "widen_alpha")
    tree = {name: getattr(job, name) for name in names if getattr(job, name) is not None}
    if job.branch_steps:
        tree["branch_steps"] = job.branch_steps
    methods = []
    for name in sorted(dict.fromkeys(job.method), key=lambda name: name != "prior"):  # others are compared with it
        methods.append(method_named(name, **shared, **(tree if name.startswith("dts") else {})))
    return methods


def build_task(job: SearchJob, console: Console) -> Forecasting:
    """Load data and prior, choose windows, build the reward."""
    data = load_dataset_or_synthetic(job.dataset, job.data_file, console)
    process, prior_notes = load_process(data, job.backbone, job.checkpoint, job.device)
    reward = build_reward(job.reward, job.spectral_weight, job.resolved_inv_temperature())
    oracle_notes = ["The reward reads the truth: ORACLE results, not deployable ones."] if reward.oracle else []
    problems = select_problems(data, job.split, job.windows, job.num_windows, job.channels)
    problems, reward_notes = with_opinions_if_needed(problems, reward, data, process, job.seed)
    reward.bind(problems)  # a problem that does not fit the reward is refused here
    return Forecasting(process, problems, reward, prior_notes + reward_notes + oracle_notes)


def run_methods(
    job: SearchJob, task: Forecasting, methods: Sequence[Method], outcome: Outcome, console: Console
) -> None:
    """Search, once for all methods that differ in the draw alone. What an interruption leaves is recorded too."""
    waiting = list(methods)
    while waiting:
        group = [method for method in waiting if waiting[0].same_search(method)]
        waiting = [method for method in waiting if method not in group]
        search, executor = start_search(task.process, task.problems, task.reward, group[0], job.batch_size)
        label = ", ".join(method.name for method in group)
        recorder = Recorder(outcome.run, group[0].name, keep_trajectories=job.trajectories)
        with InterruptGuard() as guard, SearchBar(console, label, group[0].search, len(task.problems)) as bar:

            def on_progress(search: Search, bar: SearchBar = bar, recorder: Recorder = recorder) -> None:
                bar.update(recorder, search)
                guard.check()

            try:
                run_search(search, executor, on_progress)
            finally:
                seconds = recorder.seconds
                recorder.close(search)
                outcome.add(group, search, seconds)


def describe(job: SearchJob, task: Forecasting, methods: Sequence[Method]) -> dict[str, Any]:
    """Everything that the run follows from, resolved."""
    branch_steps = {m.name: task.process.with_branch_steps(m.branch_steps).branch_steps for m in methods}
    return {
        "search": {**asdict(job), "inv_temperature": job.resolved_inv_temperature(), "reward": repr(task.reward)},
        "methods": [{**asdict(method), "branch_steps": branch_steps[method.name]} for method in methods],
        "process": {"sampler": asdict(task.process.sampler), "device": str(task.process.device)},
        "problems": [problem.name for problem in task.problems],
        "oracle": task.reward.oracle,
        "environment": describe_environment(),
        "command": " ".join(["python", "-m", "jobs.search", *sys.argv[1:]]),
    }


def prepare(console: Console) -> tuple[SearchJob, Forecasting, list[Method], Path]:
    """Everything that can be wrong with the input is found here, before a run directory exists."""
    job = tyro.cli(SearchJob, description=__doc__)
    sys.path.append(str(Path.cwd()))  # where python -m, but not the installed command, looks for rewards
    torch.set_num_threads(job.threads)
    with console.status("loading; the first time on a machine, kernels are compiled (20 s)"):
        compile_kernels()
        task = build_task(job, console)
    methods = build_methods(job, task.process.sampler.num_steps)
    config = describe(job, task, methods)
    run = create_run_directory(job.out or Path("runs/search") / datetime.now().strftime("%Y%m%d-%H%M%S-%f"))
    write_json(run / "config.json", config)
    write_problems(run, task.problems)
    return job, task, methods, run


def main() -> None:
    console = Console()
    try:
        job, task, methods, run = prepare(console)
    except (ValueError, OSError) as error:
        raise SystemExit(f"jobs.search: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    outcome, exit_code = Outcome(run, task.problems, task.notes), 0
    try:
        run_methods(job, task, methods, outcome, console)
    except KeyboardInterrupt:
        outcome.notes.append("Stopped by Ctrl-C: the budgets were not spent.")
        exit_code = 130
    except RolloutFailed as error:
        outcome.notes.append(f"Stopped by a rollout that failed: {error}")
        exit_code = 1
    outcome.close(console)
    page = write_report(run) if job.report and outcome.rows else None
    console.print(f"report: {page}" if page else f"run: {run}", markup=False, soft_wrap=True)
    raise SystemExit(exit_code)


if __name__ == "__main__":
    main()
