"""Forecasts of a series: the settings of a run, the default reward, the prior, the flow that ships, the task itself.

``build_forecast_task`` turns settings into objects. The command line and Python users both come through here, so that
the same settings search the same target.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from sadt_ray.budget import fitted
from sadt_ray.comparison import ComparisonTask
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.conditions.words import affects, describe
from sadt_ray.config import settings_of
from sadt_ray.data.etth1 import DataNotFound, load_csv, load_etth1
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.flow.buffer.following import trajectory_directories
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import LearnerSpec
from sadt_ray.flow.shipped import shipped_flow
from sadt_ray.flow.store import context_of
from sadt_ray.interfaces import GenerativeProcess, Problem
from sadt_ray.methods import METHODS, Method, method_named, parameters_of
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.fingerprint import prior_fingerprint
from sadt_ray.processes.pretrained import load_pretrained, load_prior
from sadt_ray.processes.sampling import sample_prior
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.limit import LimitReward
from sadt_ray.rewards.opinions import fit_opinions
from sadt_ray.rewards.parse import parse_reward
from sadt_ray.rewards.second_opinion import SecondOpinionReward, with_second_opinions
from sadt_ray.rewards.spectral import SpectralReward

DEFAULT_METHODS = ("prior", "best-of-n", "snis", "dts", "dts-late", "smc-debiased", "sadt")
DEFAULT_INV_TEMPERATURE = 50.0
_DEFAULT_ROLLOUTS = 500  # of the prior, whose evaluations are every method's budget if none is given
_PRIOR_SAMPLES = 100  # per problem, for the moments that the second opinion needs
_SAMPLES_OF_NOTE = 64  # per problem, to say what a condition does
_STRIDE = 48
_SIBLINGS = "siblings-8"
_METHOD_SETTINGS = (
    "until_ess", "until_se", "particles", "branch_steps", "selection", "selection_inv_temperature", "c_uct", "widening",
    "widen_c", "widen_alpha", "virtual_loss", "resampling", "twist", "alpha", "alpha_visits",
)  # fmt: skip


@dataclass(frozen=True)
class ForecastSettings:
    """What the results of a forecasting run follow from."""

    backbone: str = "diff-k"
    """Prior: diff-k, the diffusion forecaster."""
    dataset: str | None = None
    """ETTh1 (the default), synthetic, or a name for the data file, which else is called after the file."""
    data_file: Path | None = None
    """A CSV of ETTh1's shape: a date column, then one numeric column per channel."""
    checkpoint: Path | None = None
    """Weights written by `python -m jobs.train prior`; the shipped ones by default."""
    method: tuple[str, ...] = DEFAULT_METHODS
    """One or more of: prior, best-of-n, snis, dts, dts-late, dts-star; with particles: fk, tds, dps, smc-debiased,
    sweep, sadt; sadt-tree; in noise space: tempered, surrogate; or module:function, a method of your own."""
    n_rollouts: int | None = None
    """Budget in rollouts per context; each particle counts as one. Without any budget: the evaluations of 500 prior
    samples, look-aheads included."""
    max_nfe: int | None = None
    """Budget in denoiser evaluations per context."""
    inv_temperature: float | None = None
    """lambda of the target p(x) exp(lambda r(x)); 50 by default."""
    reward: str = "second-opinion"
    """The task: none, second-opinion, limit:max<1.5, module:function, or a sum such as 'none + 2*limit:max<1'."""
    given: str | None = None
    """A condition that must hold, such as "max < 35", in the units and dates of the file; added to the reward."""
    spectral_weight: float = 1.0
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
    """Denoising steps after which trees make a node, the last being the number of steps."""
    selection: str | None = None
    """Rule that chooses a child: boltzmann, uct, or module:function; by default the method's own."""
    selection_inv_temperature: float | None = None
    """Inverse temperature of selection; by default lambda for dts, lambda / 2 for dts-late. Lower explores more."""
    c_uct: float | None = None
    """Exploration constant of uct, in units of the reward; 1 by default."""
    widening: str | None = None
    """Rule that says when a node gets another child: progressive (the default), or module:function."""
    widen_c: float | None = None
    """A node may have widen_c N^widen_alpha children; 2 by default."""
    widen_alpha: float | None = None
    """Exponent of the same rule; by default .8 for dts and dts-star, .5 for dts-late."""
    virtual_loss: float | None = None
    """Weight, in units of the reward, by which selection counts rollouts in flight against a child; 0 by default."""
    resampling: str | None = None
    """Resampling of particles: multinomial, stratified, systematic (the default), residual, siblings-K, or
    module:function."""
    twist: str | None = None
    """Look-ahead of sweep, sadt and sadt-tree: clean, debiased, flow (the default), or module:function."""
    flow: Path | None = None
    """F_phi for sweep, sadt and sadt-tree, as `python -m jobs.train flow` writes it; by default the one that ships for
    the shipped prior and the default reward, else they look ahead by the reward's own r~."""
    learn: bool = False
    """Train the flow beside the search on what that finds, and use every better version; --flow guides until then."""
    buffer_path: tuple[Path, ...] = ()
    """Runs, or directories of trajectories, that a learner reads beside this run's own; rows of other windows and
    channels are left out."""
    particles: int | None = None
    """Particles per ticket; by default as few and large particle systems as make up the budget, up to 256."""
    record_particles: bool = False
    """Record every particle, in groups of 8 siblings, for `python -m jobs.train flow`."""
    alpha: float | None = None
    """Share of the flow in selection: exp(lambda [(1 - alpha) v + alpha F]); 1/2 for sadt-tree, 1 for sadt."""
    alpha_visits: float | None = None
    """With k: alpha k / (k + visits), so that the flow leads where little is known; by default alpha stays."""
    until_ess: float | None = None
    """Stop a context before its budget once its effective sample size has come this far."""
    until_se: float | None = None
    """Stop a context before its budget once the standard error of log Z is as small as this, in nats."""
    seed: int = 0
    """Every random number follows from it."""
    trajectories: bool = True
    """Write trajectories/, every node of every tree with its state: 400 bytes per node."""

    def __post_init__(self) -> None:
        lam = self.resolved_inv_temperature()
        if not 0 < lam < math.inf:
            raise ValueError(f"the inverse temperature must be a positive number, got {lam}")
        if not self.method:
            raise ValueError(f"no method is given; name one or more of {', '.join(METHODS)}")

    def resolved_inv_temperature(self) -> float:
        """lambda, the default filled in."""
        return DEFAULT_INV_TEMPERATURE if self.inv_temperature is None else self.inv_temperature

    def settings(self) -> dict[str, Any]:
        """The settings by name, lambda filled in, without what a subclass adds."""
        values = {each.name: getattr(self, each.name) for each in fields(ForecastSettings)}
        return {**values, "inv_temperature": self.resolved_inv_temperature()}


@dataclass
class ForecastTask(ComparisonTask):
    """A forecasting run, ready to search.

    Attributes:
        settings: that it was built from.
        process: the prior, on the CPU.
    """

    process: DiffusionProcess
    reward: WeightedSum
    settings: ForecastSettings = field(default_factory=ForecastSettings)

    def describe(self) -> dict[str, Any]:
        """The resolved settings and methods."""
        steps = {m.name: self.process.with_branch_steps(m.branch_steps).branch_steps for m in self.methods}
        return {
            "kind": "forecast",
            "reward_spec": self.settings.reward,
            "search": {**self.settings.settings(), "reward": repr(self.reward)},
            "methods": [{**settings_of(method), "branch_steps": steps[method.name]} for method in self.methods],
            "process": {"sampler": asdict(self.process.sampler)},
            "problems": [problem.name for problem in self.problems],
            "oracle": self.reward.oracle,
        }


def build_forecast_task(settings: ForecastSettings, tell: Callable[[str], None] = print) -> ForecastTask:
    """Load series, prior and flow, choose the windows, build reward and methods.

    Args:
        tell: called with sentences that the user should read at once.

    Raises:
        ValueError, OSError: for whatever does not exist or does not fit, with the way out.
    """
    data = load_series(settings.dataset, settings.data_file, tell)
    process, notes = load_forecaster(data, settings.backbone, settings.checkpoint)
    problems = select_problems(data, settings.split, settings.windows, settings.num_windows, settings.channels)
    lam = settings.resolved_inv_temperature()
    reward, problems, about = build_reward(
        settings.reward, settings.spectral_weight, lam, data, process, problems, settings.seed
    )
    if settings.given is not None:
        reward = WeightedSum(*reward.terms, (1.0, ConditionReward(settings.given, lam)))
    reward.bind(problems)  # a problem that does not fit the reward is refused here
    if settings.given is not None:
        about.append(given_note(settings.given, process, problems, settings.seed))
    flow = flow_for(settings, process, problems, reward)
    methods = build_methods(settings, process.sampler.num_steps)
    methods = [fitted(method, process, problems[0], reward, flow) for method in methods]
    notes += about + (["The reward reads the truth: ORACLE results, not deployable ones."] if reward.oracle else [])
    task = ForecastTask(process, problems, reward, methods, flow, notes, settings)
    task.notes.extend(flow_notes(task))
    return task


def load_series(
    dataset: str | None = None, data_file: Path | None = None, tell: Callable[[str], None] | None = None
) -> SeriesDataset:
    """A file's series, called ``dataset`` or after the file; else the built-in one of that name, ETTh1 by default.

    Args:
        tell: is told when ETTh1, which nobody asked for by name, cannot be had and a synthetic series stands in;
            without it that is an error too.

    Raises:
        DataNotFound: if ETTh1 or the file cannot be found.
        ValueError: for a name that is not built in, or a file that does not fit.
    """
    if data_file is not None:
        return load_csv(data_file, dataset or data_file.stem)
    if dataset == "synthetic":
        return synthetic_hourly()
    if dataset not in (None, "ETTh1"):
        raise ValueError(f"the dataset {dataset!r} is not built in; give its CSV with --data-file, or use ETTh1")
    try:
        return load_etth1()
    except DataNotFound as error:
        if dataset is not None or tell is None:
            raise
        tell(f"{error}\nGoing on with the built-in synthetic hourly series.")
        return synthetic_hourly()


def load_forecaster(
    data: SeriesDataset, backbone: str = "diff-k", checkpoint: Path | None = None
) -> tuple[DiffusionProcess, list[str]]:
    """The prior for a series, on the CPU, and what has to be said about it.

    Args:
        checkpoint: weights of ``train_prior``; the shipped ones if not given.
    """
    if checkpoint is not None:
        process = load_prior(checkpoint)
    else:
        process = load_pretrained(backbone, "ETTh1" if data.name == "synthetic" else data.name)
    trained_on = getattr(getattr(process.denoiser, "config", None), "dataset", data.name)
    if trained_on == data.name:
        return process, []
    return process, [f"The prior was trained on {trained_on}, the series is {data.name}: its channels are new to it."]


def select_problems(
    data: SeriesDataset,
    split: str = "test",
    windows: Sequence[int] = (),
    num_windows: int = 4,
    channels: Sequence[str] = (),
) -> list[Problem]:
    """Windows by number, or ``num_windows`` spread evenly over the part; all channels if none is named.

    The part ``latest`` is one window: what comes after the last row.

    Raises:
        ValueError: for a window or channel that does not exist, or is given twice.
    """
    for name, chosen in (("window", windows), ("channel", channels)):
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"a {name} is given twice: {', '.join(map(str, chosen))}")
    if split == "latest":
        return [data.latest_problem(channel) for channel in (channels or data.columns)]
    available = len(data.window_starts(split, _STRIDE))
    if not windows:
        if not 1 <= num_windows <= available:
            raise ValueError(f"num_windows is {num_windows}; {data.name}/{split} has {available} windows")
        windows = [int((i + 0.5) * available / num_windows) for i in range(num_windows)]
    return [
        data.problem(split, window, channel, _STRIDE) for window in windows for channel in (channels or data.columns)
    ]


def default_reward(
    data: SeriesDataset,
    process: DiffusionProcess,
    problems: Sequence[Problem],
    inv_temperature: float = DEFAULT_INV_TEMPERATURE,
    spectral_weight: float = 1.0,
    seed: int = 0,
) -> tuple[WeightedSum, list[Problem]]:
    """The reward that the command line has by default, and the problems with what it asks for.

        r(x) = second opinion(x) / lambda  -  spectral_weight mean|log S_x - log S_context|

    The second opinion is a log-likelihood ratio whose weights are fitted at lambda = 1. Divided by lambda it enters
    the target's log-density lambda r with those weights at any temperature.

    Args:
        data: the series; the second opinion is fitted on its training part.
        process: the prior, whose moments the second opinion needs: 100 samples per problem are drawn.
        problems: windows of the series.
        inv_temperature: lambda, of the methods that will use the reward.
        spectral_weight: 0 leaves the spectral reward out.
        seed: of the prior's samples.

    Returns:
        The reward, and the problems to search.
    """
    reward, asked, _ = build_reward("second-opinion", spectral_weight, inv_temperature, data, process, problems, seed)
    return reward, asked


def build_reward(
    spec: str,
    spectral_weight: float,
    inv_temperature: float,
    data: SeriesDataset,
    process: DiffusionProcess,
    problems: Sequence[Problem],
    seed: int = 0,
) -> tuple[WeightedSum, list[Problem], list[str]]:
    """The reward of a task plus the spectral one, see ``default_reward``; the problems with what it asks for; notes.

    Args:
        spec: such as ``"second-opinion"`` or ``"2*limit:max<1"``, see ``rewards.parse``.

    Raises:
        ValueError: for a reward that cannot be read.
    """
    spectral = SpectralReward(spectral_weight) if spectral_weight != 0 else None
    terms = parse_reward(spec, spectral).terms
    opinion = SecondOpinionReward
    reward = WeightedSum(*((w / inv_temperature if isinstance(r, opinion) else w, r) for w, r in terms))
    notes = [r.note(problems, w * inv_temperature) for w, r in reward.terms if isinstance(r, LimitReward)]
    if not any(isinstance(term, opinion) for _, term in reward.terms):
        return reward, list(problems), notes
    drawn = sample_prior(process, problems, _PRIOR_SAMPLES, seed)
    nfe = _PRIOR_SAMPLES * process.sampler.num_steps
    note = (
        f"The second opinion needs the prior's moments: {_PRIOR_SAMPLES} samples per context, {nfe:,} evaluations, "
        "the same for every method and not counted in the table."
    )
    return reward, with_second_opinions(problems, fit_opinions(data), list(drawn)), [*notes, note]


def given_note(given: str, process: GenerativeProcess, problems: Sequence[Problem], horizon: int, seed: int = 0) -> str:
    """A condition in words, and how many of 64 prior samples of each problem satisfy it."""
    drawn = sample_prior(process, problems, _SAMPLES_OF_NOTE, seed)
    which = np.repeat(np.arange(len(problems)), _SAMPLES_OF_NOTE)
    samples = drawn.reshape(len(which), *drawn.shape[2:])
    scorer = ConditionReward(given).bind(problems)
    told = affects(scorer.satisfied(samples, which), scorer.shortfall(samples, which).amount, problems[0].scale.unit)
    return f"Given: {describe(given, problems[0])}; {told}."


def build_methods(settings: ForecastSettings, num_steps: int) -> list[Method]:
    """The methods of a run; each setting goes to those that have a parameter of its name.

    Args:
        num_steps: evaluations of a plain rollout.

    Raises:
        ValueError: for a name that does not exist, a bad setting, or a setting that none of the methods uses.
    """
    names = sorted(dict.fromkeys(settings.method), key=lambda name: name != "prior")  # others are compared with it
    given = {name: getattr(settings, name) for name in _METHOD_SETTINGS if getattr(settings, name) not in (None, ())}
    unused = [name for name in given if not any(name in parameters_of(method) for method in names)]
    if unused:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        raise ValueError(
            f"none of the methods {', '.join(names)} uses {flags}; leave it out, or name a method that does"
        )
    max_nfe = settings.max_nfe
    if settings.n_rollouts is None and max_nfe is None:
        max_nfe = _DEFAULT_ROLLOUTS * num_steps
    given |= {"inv_temperature": settings.resolved_inv_temperature(), "seed": settings.seed}
    given |= {"n_rollouts": settings.n_rollouts, "max_nfe": max_nfe} | _recording(settings)
    return [method_named(name, **{key: given[key] for key in given.keys() & parameters_of(name)}) for name in names]


def _recording(settings: ForecastSettings) -> dict[str, Any]:
    """A learner needs some of the tickets; to record all of them with siblings would cost the search more quality than
    it teaches."""
    if settings.record_particles:
        return {"record_particles": True, "record_resampling": _SIBLINGS}
    if settings.learn:
        return {"record_particles": True, "record_resampling": _SIBLINGS, "record_share": 0.25}
    return {}


def flow_for(
    settings: ForecastSettings, process: GenerativeProcess, problems: Sequence[Problem], reward: WeightedSum
) -> Flow | None:
    """The flow that searches begin with: the given one, or the one that ships for this prior and reward, if any.

    Raises:
        ValueError: for a flow of another reward or lambda, or a file that is none.
        OSError: for a flow that is not there.
    """
    lam = settings.resolved_inv_temperature()
    if settings.flow is None:
        return None if settings.learn else shipped_flow(process, problems, reward, lam)
    flow = Flow.load(settings.flow)
    flow.check(lam)
    theirs = (flow.facts or {}).get("reward", repr(reward))
    if theirs != repr(reward):
        raise ValueError(
            f"{settings.flow} was trained for the reward {theirs}, this search is for {reward}; train another"
        )
    return flow


def learner_for(task: ForecastTask, run: Path, cpus: float = 0.0) -> LearnerSpec | None:
    """The learner beside the searches of a run, if the settings ask for one.

    Args:
        run: the run directory, where it writes its checkpoint and the flow, and whose trajectories it reads.
        cpus: that it takes of a cluster.

    Raises:
        ValueError: for a flow or learning that would be of no use, or learning that could not begin.
    """
    settings = task.settings
    if (settings.flow is not None or settings.learn) and all(method.smc.twist != "flow" for method in task.methods):
        raise ValueError("no method reads a flow; name sweep, sadt or sadt-tree, or leave --flow and --learn out")
    if settings.buffer_path and not settings.learn:
        raise ValueError("--buffer-path is what a learner reads; add --learn, or use `python -m jobs.train flow`")
    if not settings.learn:
        return None
    if not settings.trajectories:
        raise ValueError("a learner follows the trajectories of the search; leave --no-trajectories out")
    if len({context_of(problem.name) for problem in task.problems}) < 2:
        raise ValueError("a learner holds some windows out to judge itself by; give it two windows or more")
    for path in settings.buffer_path:
        _check_buffer(path, repr(task.reward))
    return LearnerSpec.beside(run, settings.resolved_inv_temperature(), settings.buffer_path, cpus)


def _check_buffer(path: Path, reward: str) -> None:
    """Raises ValueError for a path without trajectories, or with those of searches for another reward."""
    directories = trajectory_directories(path)
    if not directories:
        raise ValueError(
            f"{path} holds no trajectories; `python -m jobs.search --record-particles --out RUN` writes some"
        )
    for directory in directories:
        config = directory.parent.parent / "config.json"
        theirs = json.loads(config.read_text())["search"]["reward"] if config.exists() else reward
        if theirs != reward:
            raise ValueError(f"{directory} is of searches for {theirs}, this one is for {reward}")


def process_facts(settings: ForecastSettings, process: GenerativeProcess) -> str:
    """Names and sampler of the prior of a run, for the facts of a flow."""
    sampler = getattr(process, "sampler", None)
    checkpoint = str(settings.checkpoint or "shipped")
    return json.dumps([settings.backbone, checkpoint, asdict(sampler) if sampler is not None else None])


def flow_notes(task: ForecastTask) -> list[str]:
    """Where the look-ahead of methods that read a flow comes from, and whether it was learned for this prior."""
    readers = ", ".join(method.name for method in task.methods if method.smc.twist == "flow")
    if not readers:
        return []
    if task.flow is None:
        return [f"{readers}: no flow yet, looks ahead by the reward's own r~ where it has one."]
    given = task.settings.flow
    which = f"the flow {given}" if given is not None else "the flow that ships with the package"
    guided = f"{readers}: guided by {which}, learned on other windows; what that cost is not in the table."
    if not _of_another_prior(task, task.flow):
        return [guided]
    return [
        guided,
        f"ATTENTION: {which} was learned for another prior. Weights make up for it, but it may guide badly; train one "
        "for this prior by `python -m jobs.train flow`.",
    ]


def _of_another_prior(task: ForecastTask, flow: Flow) -> bool:
    """By the fingerprint of the weights; for a flow that has none, by the names of prior and checkpoint."""
    facts, ours = flow.facts or {}, prior_fingerprint(task.process)
    if ours and facts.get("prior"):
        return facts["prior"] != ours
    return facts.get("process", "") not in ("", process_facts(task.settings, task.process))


def settings_of_run(config: Mapping[str, Any]) -> ForecastSettings:
    """The settings in the ``config.json`` of a forecasting run, also of one that an older version wrote.

    Raises:
        ValueError: for settings that this version does not know.
    """
    found = renamed_settings(config["search"])
    known = {each.name for each in fields(ForecastSettings)}
    unknown = sorted(found.keys() - known)
    if unknown:
        raise ValueError(f"the run has the setting {unknown[0]!r}, which this version does not know")
    found["reward"] = _reward_spec(config)
    paths = {name: Path(found[name]) for name in ("data_file", "checkpoint", "flow") if found.get(name) is not None}
    buffers = tuple(Path(path) for path in found.get("buffer_path", ()))
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
    return ForecastSettings(**(plain | paths | {"buffer_path": buffers}))


_RENAMED = {"harvest": "record_particles"}


def renamed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that an older version wrote, under today's names."""
    return {_RENAMED.get(name, name): value for name, value in settings.items() if name != "temperature"}


def _reward_spec(config: Mapping[str, Any]) -> str:
    """The reward as it was asked for; ``config["search"]["reward"]`` says what that came to, with all weights."""
    if "reward_spec" in config:
        return str(config["reward_spec"])
    arguments = [str(argument) for argument in config.get("arguments", ())]
    found = ForecastSettings.reward
    for number, argument in enumerate(arguments):  # older versions kept the command line alone; a later flag counts
        name, separator, value = argument.partition("=")
        if name == "--reward":
            found = value if separator else arguments[number + 1]
    return found
