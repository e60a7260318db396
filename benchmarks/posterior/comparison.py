"""Methods side by side: the same problems, several seeds, every one judged by the gold."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from benchmarks.posterior.columns import PosteriorQuality, Target, judge
from sadt_ray.api import search
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Reward
from sadt_ray.methods import Method


@dataclass(frozen=True)
class Entrant:
    """A method under its budget.

    Attributes:
        key: its name in bench.json.
        label: its name in tables.
        method: its seed is replaced.
        flow: for a method that uses one.
    """

    key: str
    label: str
    method: Method
    flow: Flow | None = None


@dataclass
class Entry:
    """The result of an entrant.

    Attributes:
        qualities: one row per seed, one quality per problem.
        nfe, reward_calls, rollouts, seconds: per problem and seed, on average. Methods that differ in the draw alone
            share one search, and its seconds.
    """

    entrant: Entrant
    qualities: list[list[PosteriorQuality]] = field(default_factory=list)
    nfe: float = 0.0
    reward_calls: float = 0.0
    rollouts: float = 0.0
    seconds: float = 0.0

    def signed(self, column: str) -> Float[np.ndarray, " P"]:
        """A column of every problem, averaged over seeds."""
        return np.array([[getattr(quality, column) for quality in row] for row in self.qualities]).mean(0)

    def size(self, column: str) -> Float[np.ndarray, " P"]:
        """The magnitude of a column, seed by seed, then averaged."""
        return np.array([[abs(getattr(quality, column)) for quality in row] for row in self.qualities]).mean(0)


def compare(
    process: GenerativeProcess,
    reward: Reward,
    targets: Sequence[Target],
    entrants: Sequence[Entrant],
    seeds: int,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Entry]:
    """Every entrant on every problem with every seed, by key."""
    entries = {entrant.key: Entry(entrant) for entrant in entrants}
    waiting = list(entrants)
    while waiting:
        group = [one for one in waiting if waiting[0].method.same_search(one.method) and waiting[0].flow is one.flow]
        waiting = [one for one in waiting if one not in group]
        for seed in range(seeds):
            if progress is not None:
                progress(", ".join(one.label for one in group) + f", seed {seed + 1} of {seeds}")
            _run(process, reward, targets, [entries[one.key] for one in group], seed, seeds)
    return entries


def _run(
    process: GenerativeProcess,
    reward: Reward,
    targets: Sequence[Target],
    entries: Sequence[Entry],
    seed: int,
    seeds: int,
) -> None:
    """One search, drawn from by all that share it."""
    first = entries[0].entrant
    started = time.perf_counter()
    method = replace(first.method, search=replace(first.method.search, seed=seed))
    done = search(process, [target.problem for target in targets], reward, method, flow=first.flow)
    seconds = time.perf_counter() - started
    for entry in entries:
        drawn = done.samples(entry.entrant.method.search)
        entry.qualities.append([judge(one, target) for one, target in zip(drawn, targets, strict=True)])
        entry.nfe += done.nfe.mean() / seeds
        entry.reward_calls += done.reward_calls.mean() / seeds
        entry.rollouts += done.told.mean() * first.method.smc.particles / seeds
        entry.seconds += seconds / len(targets) / seeds


def mean_and_se(values: Float[np.ndarray, " P"]) -> tuple[float, float]:
    """Over problems."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
