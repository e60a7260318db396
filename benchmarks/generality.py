"""Is S-ADT more than importance sampling on whatever people bring?

Six rewards, with and without gradients, times five priors, with and without a law of x_0 given x_t: 30 cells. In each
``sadt`` and ``snis`` spend the same evaluations, and both are compared with what is true (``posterior.cell_gold``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.console import Console

from benchmarks import BenchResult
from benchmarks.posterior.any_problem import PRIORS, REWARDS, Cell, cell_of, prior_named
from benchmarks.posterior.cell_gold import CellGold, GoldSize, Truths
from benchmarks.posterior.columns import distance, mean_distance_of_pairs, thinned
from sadt_ray.api import search
from sadt_ray.methods import Method, sadt, snis
from sadt_ray.tree.samples import WeightedSamples

QUESTION = "Is S-ADT more than importance sampling on whatever people bring? (6 rewards x 5 priors)"
_RARE = 1e-2  # effective share of prior samples: of a hard condition, its probability


@dataclass(frozen=True)
class Scale:
    """Size of the benchmark.

    Attributes:
        seeds: per cell and method.
        rollouts: of ``sadt``; what they cost, ``snis`` spends too.
        priors, rewards: of the cells.
        gold: size of the truth.
        directory: of the truth; the user's cache if left out.
    """

    seeds: int = 8
    rollouts: int = 256
    priors: tuple[str, ...] = PRIORS
    rewards: tuple[str, ...] = REWARDS
    gold: GoldSize = field(default_factory=GoldSize)
    directory: Path | None = None


FULL = Scale()
QUICK = Scale(
    seeds=2,
    rollouts=64,
    priors=("copula", "bare"),
    rewards=("limit", "spectral", "black box"),
    gold=GoldSize(draws=100_000, enough=60.0, kept=500),
)


@dataclass(frozen=True)
class Runs:
    """One method in one cell, seed by seed.

    Attributes:
        error: of log Z, signed.
        ratio: Z_hat / Z.
        ed: energy distance to the truth, in units of that of two samples of it.
        empty: whether no sample had a weight.
        cost: evaluations, reward calls, seconds.
    """

    error: Float[np.ndarray, " seeds"]
    ratio: Float[np.ndarray, " seeds"]
    ed: Float[np.ndarray, " seeds"]
    ess: Float[np.ndarray, " seeds"]
    starts: Float[np.ndarray, " seeds"]
    empty: Float[np.ndarray, " seeds"]
    cost: Float[np.ndarray, "seeds 3"]


def run(quick: bool) -> BenchResult:
    scale = QUICK if quick else FULL
    rows: list[dict[str, object]] = []
    worse: list[str] = []
    gains, off = [], []
    with Console(stderr=True).status("generality") as status:
        for prior in map(prior_named, scale.priors):
            truths = Truths(prior, scale.gold, scale.directory)
            status.update(f"{prior.name}: bounds")
            settings = truths.settings()
            for cell in (cell_of(prior, kind, settings) for kind in scale.rewards):
                status.update(f"{prior.name}, {cell.kind}: truth")
                gold = truths.of(cell)
                status.update(f"{prior.name}, {cell.kind}")
                ours, theirs = compare(cell, gold, scale.seeds, scale.rollouts)
                against = [name for name, lost in (("log Z", _lost(np.abs(ours.error), np.abs(theirs.error))),
                                                   ("ED", _lost(ours.ed, theirs.ed))) if lost]  # fmt: skip
                worse += [f"{prior.name} / {cell.kind} ({', '.join(against)})"] if against else []
                gain = _gain(gold, ours, theirs)
                gains += [gain] if gold.second > 1 / _RARE else []
                off += [] if np.isnan(gold.off) else [gold.off]
                rows.append(_row(cell, gold, ours, theirs, gain, against))
    figures = {
        "cells": float(len(rows)),
        "worse": float(len(worse)),
        "rare_gain": float(np.median(gains)) if gains else float("nan"),
        "rare_cells": float(len(gains)),
        "truths_apart": float(max(off, default=0.0)),
    }
    return BenchResult(rows, figures, _notes(scale, worse))


def compare(cell: Cell, gold: CellGold, seeds: int, rollouts: int) -> tuple[Runs, Runs]:
    """``sadt`` and ``snis`` at the evaluations that ``sadt`` spent, for every seed."""
    scale = {"guidance_scale": 1.0} if cell.has_condition else {}
    ours = sadt(n_rollouts=rollouts, inv_temperature=cell.inv_temperature, **scale)
    target = Target(gold)
    found: tuple[list[Finding], list[Finding]] = ([], [])
    for seed in range(seeds):
        pair = [_searched(cell, ours, seed)]
        theirs = snis(max_nfe=int(pair[0].nfe), inv_temperature=cell.inv_temperature)
        pair.append(_searched(cell, theirs, seed))
        for side, finding in zip(found, pair, strict=True):
            side.append(finding)
    counts = [len(finding.samples.weights) for finding in found[1]]
    first, second = (_runs(side, target, counts) for side in found)
    return first, second


class Target:
    """The truth, with the mean distance of two of its samples."""

    def __init__(self, gold: CellGold) -> None:
        self.gold = gold
        self.samples = _flat(gold.samples)
        self.spread = mean_distance_of_pairs(self.samples)

    def distance(self, found: WeightedSamples) -> float:
        """Energy distance, as a share of the mean distance of two samples of the truth: 1/n for n of them."""
        samples, weights = thinned(_flat(found.samples), found.weights)
        return distance(samples, weights, self.samples, self.spread) / self.spread


@dataclass(frozen=True)
class Finding:
    """One search."""

    samples: WeightedSamples
    nfe: float
    reward_calls: float
    seconds: float


def _searched(cell: Cell, method: Method, seed: int) -> Finding:
    began = time.perf_counter()
    searched = search(cell.prior.process, [cell.problem], cell.reward, method, seed=seed, flow=None)
    seconds = time.perf_counter() - began
    return Finding(searched.samples()[0], float(searched.nfe[0]), float(searched.reward_calls[0]), seconds)


def _runs(findings: Sequence[Finding], target: Target, counts: Sequence[int]) -> Runs:
    found = [finding.samples for finding in findings]
    log_z = np.array([one.log_z for one in found])
    empty = ~np.isfinite(log_z)
    ruled = np.where(empty, -np.log(2 * np.array(counts)), log_z)
    return Runs(
        error=ruled - target.gold.log_z,
        ratio=np.exp(log_z - target.gold.log_z),
        ed=np.array([target.distance(one) for one in found]),
        ess=np.where(empty, 0.0, [one.ess for one in found]),
        starts=np.where(empty, 0.0, [one.starts for one in found]),
        empty=empty.astype(float),
        cost=np.array([[each.nfe, each.reward_calls, each.seconds] for each in findings]),
    )


def _lost(ours: Float[np.ndarray, " seeds"], theirs: Float[np.ndarray, " seeds"]) -> bool:
    """Whether the mean of the first is larger by two standard errors of the difference."""
    se = np.hypot(*(column.std(ddof=1) / np.sqrt(len(column)) for column in (ours, theirs)))
    return bool(ours.mean() - theirs.mean() > 2 * se)


def _variances(gold: CellGold, ours: Runs, theirs: Runs) -> tuple[float, float]:
    """E[(Z_hat / Z - 1)^2] of both: over the seeds, and of as many prior samples as the evaluations buy, exactly."""
    prior_samples = theirs.cost[:, 1].mean()
    return float(np.square(ours.ratio - 1).mean()), max(gold.second - 1, 0.0) / prior_samples


def _gain(gold: CellGold, ours: Runs, theirs: Runs) -> float:
    mine, other = _variances(gold, ours, theirs)
    return other / max(mine, 1e-12)


def _row(
    cell: Cell, gold: CellGold, ours: Runs, theirs: Runs, gain: float, against: Sequence[str]
) -> dict[str, object]:
    row: dict[str, object] = {
        "prior / reward": f"{cell.prior.name} / {cell.kind}",
        "given": cell.given,
        "lambda": cell.inv_temperature,
        "log Z": f"{gold.log_z:.2f} +- {gold.log_z_se:.2f}",
    }
    for name, runs in (("S-ADT", ours), ("SNIS", theirs)):
        row |= {
            f"{name}: log Z rmse": _shown(np.sqrt(np.square(runs.error).mean())),
            f"{name}: ED": f"{runs.ed.mean():.4f} +- {runs.ed.std(ddof=1) / np.sqrt(len(runs.ed)):.4f}",
        }
    mine, other = _variances(gold, ours, theirs)
    row |= {
        "S-ADT: mean Z / Z": _shown(ours.ratio.mean()),
        "S-ADT: var Z": _shown(mine),
        "SNIS: var Z": _shown(other),
        "gain": f"{gain:.1f}",
        "gain in equal time": f"{gain * theirs.cost[:, 2].mean() / ours.cost[:, 2].mean():.1f}",
    }
    for name, runs in (("S-ADT", ours), ("SNIS", theirs)):
        row |= {
            f"{name}: empty": int(runs.empty.sum()),
            f"{name}: ESS": _shown(runs.ess.mean()),
            f"{name}: starts": _shown(runs.starts.mean()),
            f"{name}: NFE": round(runs.cost[:, 0].mean()),
            f"{name}: calls": round(runs.cost[:, 1].mean()),
            f"{name}: s": _shown(runs.cost[:, 2].mean()),
        }
    return row | {"worse": ", ".join(against), "truth": gold.how}


def _shown(value: float) -> str:
    return f"{value:.3g}"


def _flat(samples: np.ndarray) -> Float[np.ndarray, "n W"]:
    return np.asarray(samples, float).reshape(len(samples), -1)


def _notes(scale: Scale, worse: Sequence[str]) -> list[str]:
    return [
        f"{scale.seeds} seeds. Budget: the evaluations of {scale.rollouts} rollouts of S-ADT, look-aheads and the fit "
        "of a law included; SNIS spends the same. S-ADT follows gradients at scale 1 where the reward has a condition.",
        "log Z: of the truth. rmse: over seeds. A seed without any weight (empty) counts as log Z = log(1/(2n)), n the "
        "prior samples that its evaluations buy; its ED is that of its samples, unweighted.",
        "ED: energy distance to samples of the truth, over the mean distance of two of them: 1/n for n independent "
        "samples. var Z: E[(Z_hat / Z - 1)^2], of S-ADT over the seeds, of SNIS exactly: (E[w^2] / Z^2 - 1) / n. "
        "gain: their ratio; the figure rare_gain is its median over cells in which fewer than one in a hundred prior "
        "samples count. With few seeds a mean Z / Z below 1 means that the variance is underestimated.",
        "calls: evaluations of the reward. A reward without a look-ahead of its own is scored at 64 draws of x_0 per "
        "look, thousands of calls per rollout: equal evaluations are not equal calls. Gain in equal time: as if "
        "SNIS had the seconds of S-ADT too, where an evaluation is as cheap as under these priors.",
        "worse: the mean of |log Z error| or of ED is larger than that of SNIS by two standard errors of their "
        "difference. "
        f"{len(worse)} cells: {'; '.join(worse) or 'none'}. Of two equal methods, one cell in 20 would be.",
        "truth: where log Z comes from. Long runs of S-ADT itself count only with the prior samples that check them.",
    ]
