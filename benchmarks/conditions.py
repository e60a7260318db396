"""How well is the probability of a rare condition found, and what follows from it?

A copula forecast of 96 hours with skewed marginals, whose rare events are known by importance sampling of its scores
(``posterior.rare_events``), and the shipped prior of ETTh1 against many samples of itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import Progress
from scipy import stats

from benchmarks import BenchResult
from benchmarks.posterior.rare_events import (
    Scores,
    Truth,
    design_directions,
    single_directions,
    split_truth,
    truth_of,
)
from sadt_ray.api import sample
from sadt_ray.conditioning.condition import Prior, condition
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.data.etth1 import cache_directory, load_etth1
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.interfaces import GenerativeProcess, Problem
from sadt_ray.methods import Method, method_named, sadt
from sadt_ray.processes.fingerprint import prior_fingerprint
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.processes.sampling import sample_prior
from sadt_ray.runs.results import ProblemSamples

QUESTION = "How well are rare conditions found, and at what cost, against splitting, importance sampling and DTS?"
HORIZON, STEPS, ROLLOUTS, COUNT = 96, 16, 256, 12
LAST_DAY, FIRST_DAY = slice(72, 96), slice(0, 24)
METHODS = ("sadt", "auto", "tempered", "surrogate", "smc-debiased", "snis", "dts")
_DIFFK = {"1e3": 0.4966, "1e6": 0.955}  # bounds on the largest value of OT, window 7, standardised
_PRIOR_SAMPLES, _PER_BATCH = 2_000_000, 20_000
_TRUTH_DRAWS = 400_000
_NOTHING = np.log(0.5 / ROLLOUTS)  # log P of a method that finds nothing, for its error


class Event(NamedTuple):
    """A condition on the forecast, in words and in numbers."""

    kind: str
    rarity: str  # 1e3: one in about a thousand
    given: str
    truth: Callable[[Scores, int], Truth]  # with so many draws


def forecast() -> Forecast:
    """Load of four days in MW: log-normal laws that widen with the horizon, AR(1) scores with correlation .97."""
    hour = np.arange(HORIZON)
    median = 1000 + 250 * np.sin(2 * np.pi * (hour - 9) / 24)
    spread = 0.08 + 0.12 * np.sqrt((hour + 1) / HORIZON)
    law = stats.lognorm(spread, scale=median)
    return Forecast.from_law(law, (HORIZON,), start="2026-01-05", step="h", unit="MW", names="load", correlation=0.97)


def events() -> Iterator[Event]:
    """Six kinds of condition at three probabilities."""
    mean = np.where(np.arange(HORIZON) >= LAST_DAY.start, 1 / 24, 0.0)
    hours = range(HORIZON)
    for rarity, u in _BOUNDS["mean"]:
        ways = partial(design_directions, weights=mean[None, None], bounds=np.array([u]))
        yield _event("mean", rarity, f"mean[day 4] > {u}", partial(_mean_above, u=u), ways)
    for rarity, u in _BOUNDS["max"]:
        ways = partial(single_directions, level=u, steps=hours)
        yield _event("max", rarity, f"max > {u}", partial(_max_above, u=u), ways)
    for rarity, u in _BOUNDS["ramp"]:
        ways = partial(design_directions, weights=_rises()[None], bounds=np.array([u]))
        yield _event("ramp", rarity, f"ramp > {u}", partial(_ramp_above, u=u), ways)
    for rarity, u in _BOUNDS["count"]:
        yield Event("count above", rarity, f"count(> {u}) >= {COUNT}", partial(_count_truth, u))
    for rarity, u, v in _BOUNDS["two"]:
        given = f"max[day 1] > {u} and mean[day 4] > {v}"
        ways = partial(design_directions, weights=_two(mean), bounds=np.array([u, v]))
        yield _event("two at once", rarity, given, partial(_both, u=u, v=v), ways)
    for rarity, u, v in _BOUNDS["or"]:
        ways = partial(_two_sided, high=u, low=v)
        yield _event("either", rarity, f"max > {u} or min < {v}", partial(_either, u=u, v=v), ways)


def _mean_above(x: np.ndarray, u: float) -> np.ndarray:
    return np.asarray(x[:, LAST_DAY].mean(1) > u)


def _max_above(x: np.ndarray, u: float) -> np.ndarray:
    return np.asarray(x.max(1) > u)


def _ramp_above(x: np.ndarray, u: float) -> np.ndarray:
    return np.asarray(np.abs(np.diff(x)).max(1) > u)


def _both(x: np.ndarray, u: float, v: float) -> np.ndarray:
    return np.asarray((x[:, FIRST_DAY].max(1) > u) & (x[:, LAST_DAY].mean(1) > v))


def _either(x: np.ndarray, u: float, v: float) -> np.ndarray:
    return np.asarray((x.max(1) > u) | (x.min(1) < v))


def _event(
    kind: str,
    rarity: str,
    given: str,
    holds: Callable[[np.ndarray], np.ndarray],
    ways: Callable[[Scores], np.ndarray],
) -> Event:
    return Event(kind, rarity, given, lambda scores, draws: truth_of(scores, holds, ways(scores), draws))


def _count_truth(level: float, scores: Scores, draws: int) -> Truth:
    """Hours above a level come together in very many ways: splitting, with a fiftieth of the draws as particles."""
    return split_truth(scores, lambda x: np.partition(x, -COUNT, axis=1)[:, -COUNT] - level, draws // 50)


def _two_sided(scores: Scores, high: float, low: float) -> np.ndarray:
    hours = range(HORIZON)
    below = single_directions(scores, low, hours, above=False)
    return np.concatenate([single_directions(scores, high, hours), below])


_BOUNDS: dict[str, list] = {
    "mean": [("1e3", 1715), ("1e6", 2290), ("1e12", 3430)],
    "max": [("1e3", 2390), ("1e6", 3280), ("1e12", 5100)],
    "ramp": [("1e3", 332), ("1e6", 510), ("1e12", 910)],
    "count": [("1e3", 1880), ("1e6", 2460), ("1e12", 3600)],
    "two": [("1e3", 1550, 1530), ("1e6", 1780, 2000), ("1e12", 2150, 2900)],
    "or": [("1e3", 2480, 392), ("1e6", 3420, 300), ("1e12", 5250, 194)],
}


def _rises() -> Float[np.ndarray, "K T"]:
    """Weights of x[h+1] - x[h] for every h, and of its negative."""
    rise = np.zeros((HORIZON - 1, HORIZON))
    rise[np.arange(HORIZON - 1), np.arange(1, HORIZON)] = 1
    rise[np.arange(HORIZON - 1), np.arange(HORIZON - 1)] = -1
    return np.concatenate([rise, -rise])


def _two(mean_weights: Float[np.ndarray, " T"]) -> Float[np.ndarray, "2 K T"]:
    """One hour of the first day, for each of its hours, and the mean of the last day."""
    hour = np.eye(HORIZON)[FIRST_DAY]
    return np.stack([hour, np.broadcast_to(mean_weights, hour.shape)])


def search_method(name: str, seed: int, max_nfe: int = STEPS * ROLLOUTS) -> Method:
    """A method under the budget of 256 rollouts; S-ADT with the guidance that ``condition`` uses."""
    if name == "sadt":
        return sadt(n_rollouts=ROLLOUTS, guidance_scale=1.0, seed=seed)
    return method_named(name, max_nfe=max_nfe, seed=seed)


@dataclass(frozen=True)
class Found:
    """What a method found of an event with one seed."""

    log_p: float
    mean: Float[np.ndarray, " T"]  # NaN without a sample that has weight
    starts: float
    ess: float
    nfe: float
    seconds: float


def found_by(
    process: GenerativeProcess,
    problem: Problem,
    given: str,
    name: str,
    seed: int,
    prior: Forecast | None = None,
) -> Found:
    """One search of one event; ``auto`` is what ``condition`` does, of the forecast that the process was made of."""
    if name == "auto":
        return _found_by_auto(prior or (process, [problem]), given, seed)
    begun = time.perf_counter()
    reward = ConditionReward(given, horizon=HORIZON)
    result = sample(process, [problem], reward, search_method(name, seed), flow=None, progress=False)
    seconds, found = time.perf_counter() - begun, result[0]
    if found.weightless:
        return Found(-np.inf, np.full(HORIZON, np.nan), 0.0, 0.0, float(result.nfe[0]), seconds)
    return Found(found.log_z, found.mean(), found.starts, found.ess, float(result.nfe[0]), seconds)


def _found_by_auto(prior: Prior, given: str, seed: int) -> Found:
    begun = time.perf_counter()
    found = next(iter(condition(prior, given, seed=seed, progress=False).values()))
    scale, seconds = found.problem.scale, time.perf_counter() - begun
    mean = found.weights @ found.samples[:, 0] if found.ess > 0 else np.full(HORIZON, np.nan)
    standard = (mean - scale.mean[0]) / scale.std[0]
    return Found(found.log_probability, standard, found.starts, found.ess, float(found.evaluations), seconds)


@dataclass(frozen=True)
class Cell:
    """A method on an event, over seeds."""

    kind: str
    rarity: str
    name: str
    truth: Truth
    runs: Sequence[Found]

    @property
    def log_p(self) -> Float[np.ndarray, " seeds"]:
        """Found log P; where nothing was found, that of half a hit among the rollouts."""
        return np.array([run.log_p if np.isfinite(run.log_p) else _NOTHING for run in self.runs])

    @property
    def rmse(self) -> float:
        return float(np.sqrt(np.mean(np.square(self.log_p - self.truth.log_p))))

    @property
    def mean_error(self) -> float:
        """Root mean square over hours of the error of the conditional mean, in conditional standard deviations."""
        errors = [np.sqrt(np.mean(np.square((run.mean - self.truth.mean) / self.truth.sd))) for run in self.runs]
        return float(np.mean(errors))

    def median(self, column: str) -> float:
        return float(np.median([getattr(run, column) for run in self.runs]))

    def row(self) -> dict[str, object]:
        found = [run.log_p for run in self.runs if np.isfinite(run.log_p)]
        log_mean = np.log(np.mean(np.exp(self.log_p))) if found else -np.inf
        return {
            "condition": f"{self.kind} {self.rarity}",
            "method": self.name,
            "log P": f"{self.truth.log_p:.2f} ± {self.truth.log_p_se:.2f}",
            "found": f"{np.mean(found):.2f} ± {np.std(found):.2f}" if found else "nothing",
            "log mean P": f"{log_mean:.2f}",
            "rmse": round(self.rmse, 3),
            "found in": f"{len(found)} of {len(self.runs)}",
            "mean error, sd": round(self.mean_error, 2),
            "ESS": round(self.median("ess")),
            "starts": round(self.median("starts"), 1),
            "NFE": round(self.median("nfe")),
            "s": round(self.median("seconds"), 2),
            "prior NFE for 10 %": f"{STEPS * 100 * np.exp(-self.truth.log_p):.1e}",
        }


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    seeds, names = (2, ("sadt", "tempered", "snis")) if quick else (8, METHODS)
    chosen = [event for event in events() if not quick or event.rarity == "1e6"]
    prior, cells = forecast(), []
    scores, process, problem = Scores(prior), prior.process(), prior.problems()[0]
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("conditions", total=len(chosen) * len(names))
        for event in chosen:
            truth = event.truth(scores, _TRUTH_DRAWS // (10 if quick else 1))
            for name in names:
                found = [found_by(process, problem, event.given, name, seed, prior) for seed in range(seeds)]
                cells.append(Cell(event.kind, event.rarity, name, truth, found))
                bar.advance(task)
    if not quick:
        cells += _diffk_cells(seeds, names)
    return BenchResult([cell.row() for cell in cells], _figures(cells), _NOTES)


_NOTES = (
    "Truth: importance sampling of the scores about their design points, of counts splitting, neither of which knows "
    "a chain (copula); two million samples of the prior, or two samplers of a hundred times the budget (diff-k).",
    "rmse: of log P over seeds; a seed that finds nothing counts as half a hit among 256. mean error: of the "
    "conditional mean, root mean square over hours, in conditional standard deviations.",
    "prior NFE for 10 %: evaluations at which samples of the prior know P to a tenth.",
)


def _figures(cells: Sequence[Cell]) -> dict[str, float]:
    """The worst over kinds, per method and probability; S-ADT's keys have no prefix."""
    figures = {}
    for name in dict.fromkeys(cell.name for cell in cells):
        prefix = "" if name == "sadt" else f"{name}_"
        copula = [cell for cell in cells if cell.name == name and not cell.kind.startswith("diff-k")]
        for rarity in dict.fromkeys(cell.rarity for cell in copula):
            figures[f"{prefix}log_p_rmse_{rarity}"] = max(cell.rmse for cell in copula if cell.rarity == rarity)
        rare = [cell for cell in copula if cell.rarity == "1e6"]
        figures[f"{prefix}mean_error_1e6"] = max(cell.mean_error for cell in rare)
        figures[f"{prefix}starts_1e6"] = min(cell.median("starts") for cell in rare)
        for cell in cells:
            if cell.name == name and cell.kind.startswith("diff-k"):
                figures[f"{prefix}log_p_rmse_diffk_{cell.rarity}"] = cell.rmse
    return figures


def _diffk_cells(seeds: int, names: Sequence[str]) -> list[Cell]:
    """The largest value of OT under the shipped prior of ETTh1."""
    data, process = load_etth1(), load_pretrained()
    problem = data.problem("test", 7, "OT", 48)
    mean, std, cells = problem.scale.mean[0], problem.scale.std[0], []
    for rarity, bound in _DIFFK.items():
        given = f"max > {mean + std * bound:.6f}"
        truth = _diffk_truth(process, problem, given, rarity)
        for name in names:
            found = [found_by(process, problem, given, name, seed) for seed in range(seeds)]
            cells.append(Cell("diff-k max", rarity, name, truth, found))
    return cells


def _diffk_truth(process: GenerativeProcess, problem: Problem, given: str, rarity: str) -> Truth:
    """From samples of the prior at 1e-3; beyond, from two samplers of a hundred times the budget. Kept in the cache."""
    file = cache_directory() / "conditions" / f"{prior_fingerprint(process)}-{rarity}.json"
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["given"] == given:
            return Truth(kept["log_p"], kept["se"], np.array(kept["mean"]), np.array(kept["sd"]))
    found = _counted(process, problem, given) if rarity == "1e3" else _twice_sampled(process, problem, given)
    _keep(file, given, found)
    return found


def _keep(file: Path, given: str, truth: Truth) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"given": given, "log_p": truth.log_p, "se": truth.log_p_se}
    file.write_text(json.dumps({**content, "mean": truth.mean.tolist(), "sd": truth.sd.tolist()}))


def _counted(process: GenerativeProcess, problem: Problem, given: str) -> Truth:
    scorer, held = ConditionReward(given, horizon=HORIZON).bind([problem]), []
    for seed in range(_PRIOR_SAMPLES // _PER_BATCH):
        drawn = sample_prior(process, [problem], _PER_BATCH, 1000 + seed)[0]
        held.append(drawn[scorer.satisfied(drawn, np.zeros(len(drawn), np.int64))])
    hits = np.concatenate(held)
    return Truth(float(np.log(len(hits) / _PRIOR_SAMPLES)), len(hits) ** -0.5, hits.mean(0), hits.std(0))


def _twice_sampled(process: GenerativeProcess, problem: Problem, given: str) -> Truth:
    """The mean of S-ADT in a hundred systems and of subset simulation; half their difference as the error."""
    reward, found = ConditionReward(given, horizon=HORIZON), []
    for method in (
        sadt(n_rollouts=100 * ROLLOUTS, particles=ROLLOUTS, branch_steps="none", guidance_scale=1.0, seed=900),
        method_named("tempered", n_rollouts=100 * ROLLOUTS, seed=901),
    ):
        found.append(sample(process, [problem], reward, method, flow=None, progress=False)[0])
    first: ProblemSamples = found[0]
    mean = first.mean()
    sd = np.sqrt(first.weights @ np.square(np.asarray(first.samples, float) - mean))
    log_ps = [each.log_z for each in found]
    return Truth(float(np.mean(log_ps)), float(abs(log_ps[0] - log_ps[1]) / 2), mean, sd)
