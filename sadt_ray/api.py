"""The library's functions: ``search`` grows trees, ``sample`` draws from them, ``compare`` sets methods side by side,
``resume`` goes on with a run that was stopped, ``learn`` trains the flow while it searches."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console

from sadt_ray.budget import fitted
from sadt_ray.comparison import Comparison, ComparisonTask, check_entries, run_task
from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import Observer, run_search
from sadt_ray.engine.progress import SearchBar, interactive
from sadt_ray.engine.serial import start_search
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import LearnerSpec
from sadt_ray.flow.shipped import shipped_flow
from sadt_ray.flow.weight_source import LearnerUpdate
from sadt_ray.forecasting import build_forecast_task, settings_of_run
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method, method_named
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.lock import only_writer
from sadt_ray.runs.recording import Recording
from sadt_ray.runs.results import SampleResult
from sadt_ray.session import FlowSource, SessionFactory, serial_session
from sadt_ray.smc.config import SMCConfig
from sadt_ray.tree.search import Search

GivenFlow = Flow | Literal["shipped"] | None
"""A flow; ``"shipped"`` for the one that ships with the package, where that fits; None for none."""


def search(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method | str,
    *,
    seed: int | None = None,
    flow: GivenFlow = "shipped",
    batch_size: int | None = None,
    threads: int = 1,
    observers: Sequence[Observer] = (),
) -> Search:
    """Search all problems to the end of their budgets, for those who want to look into the forest.

    Args:
        process: the prior.
        problems: what is sampled.
        reward: r(x_0, problem).
        method: made by one of the functions in ``sadt_ray.methods``, or its name.
        seed: of every random number; the method's own if not given.
        flow: F_phi, for methods that are guided by one.
        batch_size: tickets per batch; two per problem, within 16 and 256, if not given.
        threads: CPU threads of PyTorch. With more than one, results equal those of other machines up to rounding only.
        observers: called after every batch, see ``engine.loop.Observer``.

    Returns:
        The search: ``samples()`` draws from it, ``tree`` and ``states`` are its nodes.

    Raises:
        ValueError: for a problem that does not fit the process or the reward.
        RolloutFailed: when the reward cannot score too many samples.
    """
    chosen = _methods([method], process, problems, reward, seed, flow)[0]
    guiding = _flow(flow, process, problems, reward, [chosen])
    started, executor = start_search(process, problems, reward, chosen, batch_size, guiding, threads)
    run_search(started, executor, observers, particles=chosen.smc.particles)
    return started


def sample(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method | str,
    *,
    seed: int | None = None,
    flow: GivenFlow = "shipped",
    session: SessionFactory | None = None,
    out: str | Path | None = None,
    progress: bool | None = None,
) -> SampleResult:
    """Weighted samples of p(x_0 | c) exp(lambda r(x_0)) / Z for every problem.

    Args:
        process, problems, reward, method, seed, flow: see ``search``.
        session: where it searches: ``serial_session(...)``, or ``actors.ray_session(...)`` for the workers of a Ray
            cluster; this process with one thread if not given.
        out: run directory, with records, checkpoints and a summary, which ``read_run``, ``resume`` and
            ``python -m jobs.report`` read; nothing is written if not given.
        progress: whether a progress bar is shown; in a terminal and a notebook if not given.

    Returns:
        The result of each problem, by its number or its name.

    Raises:
        ValueError: for input that does not fit, before anything is searched or written.
        RolloutFailed: when the reward cannot score too many samples.
    """
    given = (process, problems, reward, [method])
    (result,) = compare(*given, seed=seed, flow=flow, session=session, out=out, progress=progress).values()
    return result


def compare(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    methods: Sequence[Method | str],
    *,
    seed: int | None = None,
    flow: GivenFlow = "shipped",
    session: SessionFactory | None = None,
    out: str | Path | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Several methods on the same problems: one row each, and the samples of each by its name.

    Methods that differ in the final draw alone (``prior``, ``best_of_n``, ``snis``) share one search where they share
    their budget.

    Args: see ``sample``. Raises: see ``sample``; a method whose name occurs twice is refused.
    """
    chosen = _methods(methods, process, problems, reward, seed, flow)
    task = ComparisonTask(process, list(problems), reward, chosen, _flow(flow, process, problems, reward, chosen))
    return _run(task, session, out, progress)


def resume(
    run: str | Path,
    process: GenerativeProcess | None = None,
    problems: Sequence[Problem] | None = None,
    reward: Reward | None = None,
    *,
    flow: GivenFlow = "shipped",
    session: SessionFactory | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Go on with a run that was stopped or killed, from its last checkpoints, to the same total.

    Args:
        run: its directory.
        process, problems, reward: of a run that ``sample`` or ``compare`` began: those that it began with. A run of
            ``python -m jobs.search`` brings its own.
        flow, session, progress: see ``sample``.

    Raises:
        ValueError: for a directory that holds no such run, one that is complete, one of a stage (which
            ``python -m jobs.search --resume`` goes on with), or other settings than it began with.
    """
    directory = Path(run)
    if not (directory / "config.json").exists():
        raise ValueError(f"{directory} is not a run directory: it has no config.json")
    config = json.loads((directory / "config.json").read_text())
    summary = directory / "summary.json"
    if summary.exists() and json.loads(summary.read_text()).get("complete"):
        raise ValueError(f"{directory} is complete; read it with read_run")
    kind = config.get("kind") or ("stage" if "stage" in config["search"] else "forecast")
    if kind == "forecast":
        return _run(build_forecast_task(settings_of_run(config)), session, directory, progress, begun=True)
    if kind != "python":
        raise ValueError(
            f"{directory} is a run of a stage; go on with it by python -m jobs.search --resume {directory}"
        )
    if process is None or problems is None or reward is None:
        raise ValueError(f"{directory} was begun from Python; give the process, problems and reward that it began with")
    methods = [_method_of(kept) for kept in config["methods"]]
    task = ComparisonTask(process, list(problems), reward, methods, _flow(flow, process, problems, reward, methods))
    if repr(reward) != config["search"]["reward"]:
        raise ValueError(
            f"a run keeps its settings: its reward was {config['search']['reward']}, and is {reward!r} now"
        )
    return _run(task, session, directory, progress, begun=True)


class LearnedFlow(NamedTuple):
    """What ``learn`` returns.

    Attributes:
        result: the samples that the search found.
        flow: the best version of F_phi; None if none was better than the look-ahead it began with.
        update: how far the learner came.
    """

    result: SampleResult
    flow: Flow | None
    update: LearnerUpdate | None


def learn(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method | str,
    out: str | Path,
    *,
    seed: int | None = None,
    flow: GivenFlow = None,
    buffer_path: Sequence[Path] = (),
    session: SessionFactory | None = None,
    progress: bool | None = None,
) -> LearnedFlow:
    """Search, and train the flow F_phi beside the search on what that finds; every better version is used at once.

    Args:
        process, problems, reward, seed, session, progress: see ``sample``. A learner judges itself on windows that it
            holds out, so that problems of at least two contexts are needed.
        method: one that is guided by a flow and records particles: ``sweep``, ``sadt`` or ``sadt_tree`` with
            ``record_particles=True, record_resampling="siblings-8"``.
        out: run directory; the flow is in ``flow.safetensors``.
        flow: that the search begins with.
        buffer_path: further runs, or directories of trajectories, to learn from.

    Raises:
        ValueError: for a method that reads no flow, or input that does not fit.
    """
    (chosen,) = _methods([method], process, problems, reward, seed, flow)
    if chosen.smc.twist != "flow":
        raise ValueError(f"{chosen.name} reads no flow; use sweep, sadt or sadt_tree")
    task = ComparisonTask(process, list(problems), reward, [chosen], _flow(flow, process, problems, reward, [chosen]))
    spec = LearnerSpec.beside(Path(out), chosen.search.inv_temperature, buffer_path)
    found: list[LearnerUpdate | None] = []
    comparison = _run(task, session, out, progress, spec, found.append)
    update = found[-1] if found else None
    return LearnedFlow(comparison[chosen.name], None if update is None else update.flow, update)


def _methods(
    methods: Sequence[Method | str],
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    seed: int | None,
    flow: GivenFlow,
) -> list[Method]:
    """With their seeds, and as many rollouts as their budgets pay for."""
    if not problems:
        raise ValueError("there is nothing to search: the list of problems is empty")
    chosen = [method_named(method) if isinstance(method, str) else method for method in methods]
    names = [method.name for method in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(f"methods are told apart by their names; {', '.join(twice) or 'none'} occurs more than once")
    if seed is not None:
        chosen = [method.with_seed(seed) for method in chosen]
    guiding = _flow(flow, process, problems, reward, chosen)
    return [fitted(method, process, problems[0], reward, guiding) for method in chosen]


def _flow(
    flow: GivenFlow,
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    methods: Sequence[Method],
) -> Flow | None:
    """The flow that guides the methods; none if none of them reads one."""
    readers = [method for method in methods if method.smc.twist == "flow"]
    if not readers or flow is None:
        return None
    if isinstance(flow, Flow):
        return flow
    if flow != "shipped":
        raise ValueError(f"flow must be a Flow, 'shipped' or None, got {flow!r}; read a file with Flow.load")
    return shipped_flow(process, problems, reward, readers[0].search.inv_temperature)


def _run(
    task: ComparisonTask,
    session: SessionFactory | None,
    out: str | Path | None,
    progress: bool | None,
    learning: LearnerSpec | None = None,
    on_learned: Callable[[LearnerUpdate | None], None] | None = None,
    begun: bool = False,
) -> Comparison:
    """Check, make the run directory, search, and write the summary."""
    task.notes.extend(check_entries(task.entries(), task.problems, task.flow))
    open_session = serial_session() if session is None else session
    console = Console(stderr=True)
    bar = _bar(console) if (interactive(console) if progress is None else progress) else None
    source = FlowSource(task.flow, learning)
    with ExitStack() as held:
        run = None if out is None else Path(out)
        recording = None if run is None else _recording(run)
        if run is not None:
            if not begun:
                _begin(task, run)
            held.enter_context(only_writer(run, name=".run-lock"))
        complete = False
        try:
            run_task(task, open_session, recording, source, bar, on_learned=on_learned)
            complete = True
        finally:
            task.finish(run, complete)
        if recording is not None:
            recording.remove_checkpoints(entry.method.name for entry in task.entries())
    return task.comparison


def _bar(console: Console) -> Callable[[str, Method, int], SearchBar]:
    def make(label: str, method: Method, num_problems: int) -> SearchBar:
        return SearchBar(console, label, method.search, num_problems)

    return make


def _recording(run: Path) -> Recording:
    return Recording(run=run.absolute(), checkpoint_to=str(run.absolute() / "checkpoints"))


def _begin(task: ComparisonTask, run: Path) -> None:
    create_run_directory(run)
    about = {"environment": describe_environment(), "execution": {"checkpoint_to": None}, "arguments": []}
    write_json(run / "config.json", {**task.describe(), **about})
    task.write_inputs(run)


def _method_of(kept: Mapping[str, Any]) -> Method:
    """A method from a run's ``config.json``."""

    def plain(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: float(value) if value in ("inf", "-inf") else value for name, value in values.items()}

    steps = kept["branch_steps"]
    branch_steps = steps if isinstance(steps, str) else tuple(steps)
    return Method(kept["name"], branch_steps, SearchConfig(**plain(kept["search"])), SMCConfig(**plain(kept["smc"])))
