"""How well does the flow know the soft value of a state, and which loss trains it best?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import Progress

from benchmarks import BenchResult
from benchmarks.posterior.contexts import validation_contexts
from benchmarks.posterior.gold import pooled
from benchmarks.posterior.gold_cache import gold_for
from sadt_ray.data.etth1 import load_etth1
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.flow.examples import NO_PARENT, Examples
from sadt_ray.flow.flow import Flow, FlowTwist
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.flow.training import FlowTraining
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.interfaces import Chain, Problem, Scorer, Tickets
from sadt_ray.methods import method_named
from sadt_ray.numerics.logspace import log_mean_exp
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward
from sadt_ray.smc.config import SMCConfig
from sadt_ray.smc.sampler import ParticleSampler
from sadt_ray.smc.twists import CleanTwist, Twist, debiased_twist
from sadt_ray.training.fit import search_and_record

QUESTION = "How near do look-aheads and flows come to the soft value of a state? (ETTh1, lambda = 50)"
_LAM = 50.0
_SEED = 11
_TRAINING_LAMS = (5.0, 15.0, 40.0, 80.0)
_CELLS = 4096  # particles that run together
_LOSSES: dict[str, TrainingConfig] = {
    "default": TrainingConfig(),
    "tb": TrainingConfig(loss="tb"),
    "tb-var": TrainingConfig(loss="tb-var"),
    "subtb-0.9": TrainingConfig(loss="subtb-0.9"),
    "0.1 tb-var + db": TrainingConfig(loss="0.1*tb-var + db"),
    "linex, averaged target": TrainingConfig(regression="linex", target_average=True, correct_bias=False),
    "averaged target": TrainingConfig(target_average=True),
    "bias of 8 siblings left": TrainingConfig(correct_bias=False),
    "frequencies apart": TrainingConfig(hidden=64, depth=2),
}


@dataclass(frozen=True)
class Size:
    """The size of the benchmark.

    Attributes:
        contexts: validation windows that the values are judged on.
        training_contexts: training windows that the flows learn from.
        depths: denoising steps after which states are judged.
        states: per context and depth, one per particle system.
        nested: systems of 512 particles per state, which estimate its soft value.
        steps: gradient steps per flow.
        losses: names in ``_LOSSES``.
        repeats: systems of 200 particles per context, for log Z.
    """

    contexts: int
    training_contexts: int
    depths: tuple[int, ...]
    states: int
    nested: int
    steps: int
    losses: tuple[str, ...]
    repeats: int


FULL = Size(14, 400, (5, 8, 11), 8, 2, 2000, tuple(_LOSSES), 6)
QUICK = Size(4, 80, (8,), 6, 1, 600, ("default",), 3)


class States(NamedTuple):
    """States at one position, with their soft values."""

    position: int
    states: np.ndarray
    problem: Int[np.ndarray, " R"]
    value: Float[np.ndarray, " R"]  # lambda V, in nats
    error: float  # standard error of ``value`` over the nested systems, in nats; nan for one system


class Bound(NamedTuple):
    """Process and reward on the contexts that are judged."""

    process: DiffusionProcess
    problems: Sequence[Problem]
    chain: Chain
    scorer: Scorer
    inputs: FlowInputs

    @classmethod
    def to(cls, process: DiffusionProcess, problems: Sequence[Problem]) -> Bound:
        chain, scorer = process.bind(problems), SpectralReward().bind(problems)
        return cls(process, problems, chain, scorer, FlowInputs(chain, scorer, num_positions(process)))


def num_positions(process: DiffusionProcess) -> int:
    """Root, x_T and every denoising step."""
    return process.sampler.num_steps + 2


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    size, data, process = QUICK if quick else FULL, load_etth1(), load_pretrained(branch_steps="none")
    bound = Bound.to(process, validation_contexts(data)[: size.contexts])
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("values", total=len(size.losses) + 2)
        examples = _training_examples(data, process, size.training_contexts)
        bar.advance(task)
        judged = _states(bound, size)
        bar.advance(task)
        twists: dict[str, Twist] = {
            "r(x0_hat)": CleanTwist(bound.scorer, _LAM),
            "r~": debiased_twist(bound.chain, bound.scorer, num_positions(process), _LAM),
        }
        seconds, flows = {}, {}
        for name in size.losses:
            flows[name], seconds[name] = _trained(replace(_LOSSES[name], steps=size.steps), examples, process, bound)
            twists[f"F, {name}"] = FlowTwist(flows[name], bound.inputs, _LAM, 0.0, True)
            bar.advance(task)
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    for name, twist in twists.items():
        log_z = {"rms of log Z": _log_z_error(bound, twist, size), "guided": _log_z_error(bound, twist, size, True)}
        for states in judged:
            quality = _judged(twist, bound, states)
            rows.append({"value": name, "depth": states.position - 1, **quality, **log_z})
            if states.position == 9:
                figures |= _figures(name, quality, log_z)
    return BenchResult(rows, figures, _notes(size, judged, examples, seconds))


def _figures(name: str, quality: Mapping[str, float], log_z: Mapping[str, float]) -> dict[str, float]:
    """Figures of one value: its quality after 8 steps, and the error of log Z under it; guided is called lean there."""
    key = {"r(x0_hat)": "_clean", "r~": "_debiased", "F, default": ""}.get(name)
    key = f"_{name.removeprefix('F, ').replace(' ', '_').replace(',', '')}" if key is None else key
    return {
        **{f"{part}_d8{key}": quality[part] for part in ("corr", "rmse")},
        f"log_z_rms{key}": log_z["rms of log Z"],
        f"log_z_rms_lean{key}": log_z["guided"],
    }


def _notes(size: Size, judged: Sequence[States], examples: Examples, seconds: Mapping[str, float]) -> tuple[str, ...]:
    errors = ", ".join(f"{states.error:.2f}" for states in judged)
    return (
        f"States: {size.states} per validation window, {size.contexts} windows, from paths of the posterior. Truth: "
        f"{size.nested} x 512 particles from each state; its own error in nats (rms), by depth: {errors}.",
        "corr: within contexts. bias and rmse of lambda F - lambda V, in nats. rms of log Z: error of single systems "
        "of 200 particles under this twist, against the gold; guided: with proposals along its gradient.",
        f"Flows: {len(examples):,} states of {size.training_contexts} training windows ({examples.nfe:,} evaluations), "
        f"{size.steps:,} steps each, default: {_LOSSES['default'].loss}, {_LOSSES['default'].regression}; seconds: "
        + ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
        + ".",
    )


def _training_examples(data: SeriesDataset, process: DiffusionProcess, contexts: int) -> Examples:
    """Particles of SMC under r~ with siblings-8 resampling, at several inverse temperatures."""
    available = len(data.window_starts("train", 48))
    windows = [int((i + 0.5) * available / contexts) for i in range(contexts)]
    bound = Bound.to(
        process, [data.problem("train", window, i % len(data.columns), 48) for i, window in enumerate(windows)]
    )
    parts, nfe = [], 0
    for number, lam in enumerate(_TRAINING_LAMS):
        method = method_named(
            "smc-debiased", inv_temperature=lam, n_rollouts=24, particles=24, resampling="siblings-8", seed=number
        )
        part, cost = search_and_record(
            process, bound.problems, SpectralReward(), method, bound.inputs, np.array([0, 17])
        )
        parts.append(_apart(part, number))
        nfe += cost
    columns = {name: np.concatenate([part.columns()[name] for part in parts]) for name in parts[0].columns()}
    return Examples(**columns, names=parts[0].names, nfe=nfe)


def _apart(examples: Examples, number: int) -> Examples:
    """The examples with ids that no other part has."""
    shift = number << 50
    parent = np.where(examples.parent == NO_PARENT, NO_PARENT, examples.parent + shift)
    return replace(examples, node=examples.node + shift, parent=parent)


def _trained(config: TrainingConfig, examples: Examples, process: DiffusionProcess, bound: Bound) -> tuple[Flow, float]:
    """The flow that is best on held-out training windows, and the seconds it took. TB returns the last flow."""
    started = time.perf_counter()
    inputs = bound.inputs
    groups = 0 if config == replace(_LOSSES["frequencies apart"], steps=config.steps) else inputs.groups
    flow = config.flow_config(examples.features.shape[1], inputs.num_positions, inputs.look_ahead, groups)
    training = FlowTraining(config, flow)
    training.absorb(examples)
    training.run(config.steps)
    training.validate()
    return training.flow(latest="tb" in config.loss), time.perf_counter() - started


def _states(bound: Bound, size: Size) -> list[States]:
    """Draw one x_0 per particle system; return its ancestor at every depth, with the soft value from nested systems."""
    count = len(bound.problems)
    sampler = _sampler(bound, debiased_twist(bound.chain, bound.scorer, bound.inputs.num_positions, _LAM), 128, True)
    problem = np.repeat(np.arange(count), size.states)
    found: dict[int, list[np.ndarray]] = {depth: [] for depth in size.depths}
    rng, at_once = np.random.default_rng(_SEED), _CELLS // 128
    for first in range(0, len(problem), at_once):
        part = problem[first : first + at_once]
        results = sampler(_tickets(bound.chain.root_states()[part], part, 0, first))
        record = results.particle_record
        assert record is not None
        weights = np.exp(results.sample_log_weight).reshape(len(part), -1).cumsum(1)
        pick = (weights < rng.random(len(part))[:, None] * weights[:, -1:]).sum(1)
        rows = np.flatnonzero(~np.isnan(record.reward)).reshape(len(part), -1)[np.arange(len(part)), pick]
        for _ in range(int(record.level.max())):
            depth = int(record.level[rows[0]]) - 1
            if depth in found:
                found[depth].append(record.state[rows])
            rows = record.parent[rows]
    return [_known(bound, depth, np.concatenate(found[depth]), problem, size.nested) for depth in size.depths]


def _known(bound: Bound, depth: int, states: np.ndarray, problem: np.ndarray, nested: int) -> States:
    """States with lambda V: the logarithm of the mean Z of particle systems that start there."""
    process = bound.process.with_branch_steps((depth, bound.process.sampler.num_steps))
    chain = process.bind(bound.problems)
    twist = debiased_twist(chain, bound.scorer, bound.inputs.num_positions, _LAM)
    smc = SMCConfig(particles=512, twist="debiased")
    sampler = ParticleSampler(chain, bound.scorer, process.num_levels, smc, twist, _LAM)
    of_system = np.tile(problem, nested)
    repeated, at_once = np.tile(states, (nested, 1)), _CELLS // 512
    log_z = np.concatenate(
        [
            _LAM * sampler(_tickets(repeated[i : i + at_once], of_system[i : i + at_once], 1, i)).value
            for i in range(0, len(repeated), at_once)
        ]
    ).reshape(nested, -1)
    error = float(np.sqrt(log_z.var(0, ddof=1).mean() / nested)) if nested > 1 else np.nan
    return States(depth + 1, states, problem, log_mean_exp(log_z.T), error)


def _judged(twist: Twist, bound: Bound, states: States) -> dict[str, float]:
    """Errors of a twist. ``corr`` is within contexts: telling contexts apart does not count."""
    view = bound.chain.walk(states.states, states.position, states.problem).look()  # type: ignore[attr-defined]
    with torch.no_grad():
        error = twist(view).double().numpy() - states.value
    ours, truth = (_centred(values, states.problem) for values in (error + states.value, states.value))
    corr = float((ours * truth).sum() / np.sqrt(np.square(ours).sum() * np.square(truth).sum()))
    return {"corr": corr, "rmse": float(np.sqrt(np.square(error).mean())), "bias": float(error.mean())}


def _centred(values: np.ndarray, problem: np.ndarray) -> np.ndarray:
    return values - (np.bincount(problem, values) / np.bincount(problem))[problem]


def _log_z_error(bound: Bound, twist: Twist, size: Size, guided: bool = False) -> float:
    """Root mean square of log Z_hat - log Z, over single systems of 200 particles, in nats."""
    gold = np.array([pooled(golds[_LAM]).log_z for golds in gold_for(bound.problems)])
    sampler, problem = _sampler(bound, twist, 200, guided=guided), np.repeat(np.arange(len(gold)), size.repeats)
    at_once = _CELLS // 200
    log_z = np.concatenate(
        [
            _LAM * sampler(_tickets(bound.chain.root_states()[part], part, 0, i * at_once)).value
            for i, part in enumerate(np.array_split(problem, -(-len(problem) // at_once)))
        ]
    )
    return float(np.sqrt(np.square(log_z - gold[problem]).mean()))


def _sampler(bound: Bound, twist: Twist, particles: int, record: bool = False, guided: bool = False) -> ParticleSampler:
    smc = SMCConfig(particles=particles, record_particles=record)
    return ParticleSampler(bound.chain, bound.scorer, 1, smc, twist, _LAM, guided)


def _tickets(states: np.ndarray, problem: np.ndarray, level: int, first: int) -> Tickets:
    numbers = first + np.arange(len(problem))
    seeds = derive_seeds(_SEED, 1 + level, numbers)
    return Tickets(numbers, problem, problem, np.full(len(problem), level), states, seeds)
