"""Settings: trials that differ only in the seed. Their figures over problems and seeds, and paired comparisons."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from sadt_ray.metrics.clustered import Estimate, clustered_mean, paired_difference
from sadt_ray.report.sweep.data import Scores, Sweep, Trial
from sadt_ray.report.sweep.metrics import AXES, MAIN, Metric

SETTING = ("kind", "task", "method", "n_rollouts", *AXES)
"""Fields that define a setting: everything that describes a trial, but not its seed."""


@dataclass(frozen=True)
class Setting:
    """Trials that differ only in the seed, and their joint results.

    Attributes:
        trials: the trials with these figures, by seed.
        scores: scores of every problem and seed, by figure.
        others: means over seeds of figures of a whole run (seconds, macro-F1), by figure.
        stopped: whether the trials were ended early, so that problems may be missing.
        oracle: whether the reward reads the gold answers. An oracle is an upper bound, not a result.
    """

    kind: str
    task: str
    method: str
    n_rollouts: int | None
    inv_temperature: float | None
    spectral_weight: float | None
    alpha: float | None
    trials: tuple[Trial, ...]
    scores: dict[str, Scores]
    others: dict[str, Estimate]
    stopped: bool = False
    oracle: bool = False

    @cached_property
    def figures(self) -> dict[str, Estimate]:
        """Every figure with its standard error. A cluster that occurs in several seeds is one cluster."""
        pooled = {name: clustered_mean(s.value, s.cluster.tolist()) for name, s in self.scores.items() if len(s.value)}
        return {**self.others, **pooled}

    @cached_property
    def problems(self) -> frozenset[str]:
        """Names of the problems that were scored by the main figure."""
        scores = next((self.scores[name] for name in MAIN[self.kind] if name in self.scores), None)
        return frozenset(scores.problem.tolist()) if scores is not None else frozenset()

    @property
    def seeds(self) -> list[int]:
        return sorted(trial.seed for trial in self.trials)


@dataclass(frozen=True)
class Paired:
    """One setting minus another, over the problems and seeds that both have.

    Attributes:
        reference: mean of the other setting.
        pairs: number of pairs of problem and seed.
        wins: number of clusters, out of ``difference.clusters``, in which the first setting is better; ``ties`` is the
            number of clusters without a difference.
    """

    metric: Metric
    difference: Estimate
    reference: float
    pairs: int
    wins: int
    ties: int

    @property
    def half_width(self) -> float:
        """Half width of the 95 % interval; NaN for fewer than two clusters."""
        return self.difference.half_width()

    @property
    def margin(self) -> float:
        """Largest difference that counts as small."""
        return self.metric.margin * (abs(self.reference) if self.metric.relative else 1.0)

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` if the interval excludes 0, ``equal`` if it lies within the margin, else ``open``."""
        d, half = self.difference.value, self.half_width
        if not math.isfinite(half):
            return "open"
        if abs(d) > half and self.metric.better:
            return "better" if d * self.metric.better > 0 else "worse"
        return "equal" if abs(d) + half <= self.margin else "open"


def pool_settings(sweep: Sweep) -> list[Setting]:
    """The settings with figures, in the order of their first trials.

    Stopped trials count only if no trial of the setting is complete: means over different problems are not comparable.
    """
    by_setting: dict[tuple[Any, ...], list[Trial]] = defaultdict(list)
    for trial in sweep.trials:
        if trial.name in sweep.results and sweep.results[trial.name].scores:
            by_setting[tuple(getattr(trial, name) for name in SETTING)].append(trial)
    pooled = []
    for key, trials in by_setting.items():
        complete = [trial for trial in trials if trial.status == "complete"]
        pooled.append(_pool(key, complete or trials, sweep))
    return pooled


def _pool(key: tuple[Any, ...], trials: Sequence[Trial], sweep: Sweep) -> Setting:
    once = {trial.seed: trial for trial in reversed(trials)}  # a seed that ran twice counts once
    used = tuple(once[seed] for seed in sorted(once))
    results = [sweep.results[trial.name] for trial in used]
    metrics = dict.fromkeys(metric for result in results for metric in result.scores)
    scores = {metric: _joined([r.scores[metric] for r in results if metric in r.scores]) for metric in metrics}
    main = next((scores[name] for name in MAIN[used[0].kind] if name in scores), None)
    clusters = len(np.unique(main.cluster)) if main is not None else 0
    rows = [result.row(trial.method) for result, trial in zip(results, used, strict=True)]
    others, oracle = _means(rows, clusters), any(bool(row.get("oracle")) for row in rows)
    named = dict(zip(SETTING, key, strict=True))
    return Setting(
        **named, trials=used, scores=scores, others=others, stopped=used[0].status != "complete", oracle=oracle
    )


def _joined(parts: Sequence[Scores]) -> Scores:
    columns = ("problem", "cluster", "seed", "value")
    return Scores(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def _means(rows: Sequence[dict[str, Any]], clusters: int) -> dict[str, Estimate]:
    """Means of the numbers that all seeds have. Seeds share problems, so the error is the mean of their errors."""
    known = {name for name, value in rows[0].items() if not name.endswith("_se") and all(_is(r, name) for r in rows)}
    found = {}
    for name in sorted(known):
        errors = [row[f"{name}_se"] if _is(row, f"{name}_se") else math.nan for row in rows]
        found[name] = Estimate(float(np.mean([row[name] for row in rows])), float(np.mean(errors)), clusters)
    return found


def _is(row: dict[str, Any], name: str) -> bool:
    value = row.get(name)
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def main_metric(settings: Sequence[Setting], metrics: Sequence[Metric]) -> Metric | None:
    """The main figure of settings of one kind; None if none of them was scored."""
    names = [name for name in MAIN[settings[0].kind] if any(name in s.figures for s in settings)]
    return next((metric for metric in metrics if names and metric.name == names[0]), None)


def compare(ours: Setting, theirs: Setting, metric: Metric) -> Paired | None:
    """Ours minus theirs over shared problems and seeds.

    None if there are none, for another task, or if the settings differ in an axis of ``metric.only_at_same``.
    """
    alike = all(getattr(ours, axis) == getattr(theirs, axis) for axis in ("kind", "task", *metric.only_at_same))
    if not alike or metric.name not in ours.scores or metric.name not in theirs.scores:
        return None
    mine, other = ours.scores[metric.name], theirs.scores[metric.name]
    _, i, j = np.intersect1d(_keys(mine), _keys(other), assume_unique=True, return_indices=True)
    if not len(i):
        return None
    x, y, cluster = mine.value[i], other.value[j], mine.cluster[i]
    gains = _cluster_sums(x - y, cluster) * (metric.better or 1)
    return Paired(
        metric=metric,
        difference=paired_difference(x, y, cluster.tolist()),
        reference=float(y.mean()),
        pairs=len(i),
        wins=int((gains > 0).sum()),
        ties=int((gains == 0).sum()),
    )


def _keys(scores: Scores) -> Shaped[np.ndarray, " n"]:
    return np.char.add(np.char.add(scores.problem, "\n"), scores.seed.astype(np.str_))


def _cluster_sums(values: Shaped[np.ndarray, " n"], cluster: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " g"]:
    _, group = np.unique(cluster, return_inverse=True)
    sums: Int[np.ndarray, " g"] = np.bincount(group, weights=values)
    return np.where(np.abs(sums) < 1e-12, 0.0, sums)
