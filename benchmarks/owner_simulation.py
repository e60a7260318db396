"""How many workers can one tree owner feed, and what do several owners of a forest add? In simulated time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from benchmarks import BenchResult
from benchmarks.apparatus.made_up_results import made_up_results
from benchmarks.apparatus.owner_queue import run_load, saturating_workers
from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Tickets
from sadt_ray.tree.search import Search
from sadt_ray.tree.warm_up import compile_kernels

QUESTION = "How many workers can one tree owner feed, and how many can several owners feed? (simulated time)"
WORKERS, OWNERS = (1, 10, 100, 1_000, 10_000), (1, 2, 4, 8, 16)
_LEVELS, _STATE_SIZE, _PROBLEMS = 5, 96, 4_096
_IN_FLIGHT = 2  # batches a worker holds
_SMALL_PRIOR = (64, 0.023), (256, 0.063)  # batch size and seconds: the diffusion prior for ETTh1, measured on one core
_LARGE_PRIOR = 64, 2.0  # made up: a prior ninety times as slow


@dataclass(frozen=True)
class Setting:
    """What the cases share: see ``simulate_owner``."""

    batch_size: int
    rollout_seconds: float
    call_seconds: float
    spread: float
    timed: int
    seed: int
    clock: Callable[[], float]


class TreeOwner:
    """A search under way. A call tells the batch of a slot, asks the next one and returns the seconds that took.

    The first ``timed`` batches are really told and asked, and timed. To bound time and memory, each later one takes as
    long as a random one of the second half of these.

    Args:
        slots: batches in flight, all asked before anything is told.
        timed: at least 2.
    """

    def __init__(self, problems: int, slots: int, timed: int, setting: Setting, rng: np.random.Generator) -> None:
        names = [str(problem) for problem in range(problems)]
        roots = np.ones((problems, _STATE_SIZE), np.float32)
        self.search = Search(SearchConfig(n_rollouts=10**9), names, roots, _LEVELS)
        self.seconds: list[float] = []
        self._timed, self._setting, self._rng = timed, setting, rng
        self._batches = [_stateless(self.search.ask(setting.batch_size)) for _ in range(slots)]

    def __call__(self, slot: int) -> float:
        if len(self.seconds) == self._timed:
            return self.drawn(slot)
        results = made_up_results(self._batches[slot], _LEVELS, _STATE_SIZE, self._rng)
        started = self._setting.clock()
        self.search.tell(results)
        tickets = self.search.ask(self._setting.batch_size)
        self.seconds.append(self._setting.clock() - started + self._setting.call_seconds)
        self._batches[slot] = _stateless(tickets)
        return self.seconds[-1]

    def drawn(self, slot: int) -> float:
        """Seconds that another batch might take; nothing is told or asked."""
        return self.seconds[int(self._rng.integers(len(self.seconds) // 2, len(self.seconds)))]


class Outcome(NamedTuple):
    """Outcome of one case: rates and workers of all owners together; shares, waits and seconds of one owner."""

    simulations_per_second: float
    efficiency: float
    owner_busy: float
    median_wait: float
    owner_seconds: float  # per batch
    limit: float  # simulations per second of owners that never rest
    saturating_workers: float


def run(quick: bool) -> BenchResult:
    if quick:
        return simulate_owner((_SMALL_PRIOR[0], _LARGE_PRIOR), owners=(1, 4, 16), timed=200)
    return simulate_owner((*_SMALL_PRIOR, _LARGE_PRIOR))


def simulate_owner(
    rollouts: Sequence[tuple[int, float]],
    call_seconds: float = 0.5e-3,
    spread: float = 0.3,
    workers: Sequence[int] = WORKERS,
    owners: Sequence[int] = OWNERS,
    timed: int = 1_000,
    seed: int = 0,
    clock: Callable[[], float] = time.thread_time,
) -> BenchResult:
    """One owner and each number of workers, then the most workers and each number of owners.

    Args:
        rollouts: pairs of a batch size and the mean seconds that such a batch takes a worker.
        call_seconds: seconds per batch that its owner needs besides ask and tell: the calls, and reading the results.
        spread: standard deviation / mean of the rollouts' seconds, which are lognormal.
        timed: batches per case that are really told and asked, over all owners.
        clock: times ask and tell. The default is the thread's own, which stops while other threads have its core.
    """
    compile_kernels()
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    most = max(workers)
    for batch_size, seconds in rollouts:
        setting = Setting(batch_size, seconds, call_seconds, spread, timed, seed, clock)
        for n_workers, n_owners in [(count, 1) for count in workers] + [(most, count) for count in owners if count > 1]:
            outcome = simulate_forest(n_workers, n_owners, setting)
            rows.append(_row(n_workers, n_owners, setting, outcome))
            figures |= _figures(n_workers, n_owners, setting, outcome, is_largest=n_workers == most)
    return BenchResult(rows, figures, _notes(call_seconds, spread))


def simulate_forest(workers: int, owners: int, setting: Setting) -> Outcome:
    """Simulate owners that share workers and problems evenly, one after the other: their trees are independent."""
    if workers < owners:
        raise ValueError(f"there are {owners} owners for {workers} workers; each must have one")
    shares = [workers // owners + (owner < workers % owners) for owner in range(owners)]
    parts = [_simulate_one(share, owners, setting, setting.seed + owner) for owner, share in enumerate(shares)]
    rate, limit, saturating = (
        sum(getattr(part, name) for part in parts) for name in ("simulations_per_second", "limit", "saturating_workers")
    )
    efficiency = float(np.average([part.efficiency for part in parts], weights=shares))
    busy, wait, seconds = np.mean([(part.owner_busy, part.median_wait, part.owner_seconds) for part in parts], axis=0)
    return Outcome(rate, efficiency, float(busy), float(wait), float(seconds), limit, saturating)


def _simulate_one(workers: int, owners: int, setting: Setting, seed: int) -> Outcome:
    rng = np.random.default_rng(seed)
    owner = TreeOwner(_PROBLEMS // owners, workers * _IN_FLIGHT, max(setting.timed // owners, 2), setting, rng)
    args = _IN_FLIGHT, setting.rollout_seconds, setting.spread, rng
    load = run_load(owner, workers, *args)
    seconds = float(np.mean(owner.seconds[len(owner.seconds) // 2 :]))
    saturating = saturating_workers(
        lambda count: run_load(owner.drawn, count, *args), guess=setting.rollout_seconds / seconds
    )
    return Outcome(
        load.batches_per_second * setting.batch_size, load.efficiency, load.owner_busy, load.median_wait, seconds,
        setting.batch_size / seconds, saturating,
    )  # fmt: skip


def _row(workers: int, owners: int, setting: Setting, outcome: Outcome) -> dict[str, Any]:
    return {
        "workers": workers,
        "owners": owners,
        "batch": setting.batch_size,
        "rollouts, s": setting.rollout_seconds,
        "simulations/s": outcome.simulations_per_second,
        "efficiency": outcome.efficiency,
        "owner busy": outcome.owner_busy,
        "wait, ms": 1e3 * outcome.median_wait,
        "owner's ms a batch": 1e3 * outcome.owner_seconds,
        "limit, simulations/s": outcome.limit,
        "below 90 % from": int(outcome.saturating_workers),
    }


def _figures(workers: int, owners: int, setting: Setting, outcome: Outcome, is_largest: bool) -> dict[str, float]:
    """Figures of one case. The limits do not depend on the number of workers: one pair per number of owners."""
    case = f"batch{setting.batch_size}_{1e3 * setting.rollout_seconds:.0f}ms_{owners}_owners"
    figures = {
        f"simulated_efficiency_{case}_{workers}_workers": outcome.efficiency,
        f"simulated_simulations_per_second_{case}_{workers}_workers": outcome.simulations_per_second,
    }
    if is_largest:
        figures |= {
            f"limit_simulations_per_second_{case}": outcome.limit,
            f"saturating_workers_{case}": outcome.saturating_workers,
        }
    return figures


def _notes(call_seconds: float, spread: float) -> Sequence[str]:
    return (
        f"Simulated workers with {_IN_FLIGHT} batches each, which run lognormal rollouts (standard deviation / mean "
        f"{spread:g}); a real forest of {_PROBLEMS:,} problems, split evenly over the owners, states and samples of "
        f"{_STATE_SIZE} float32, {_LEVELS} branch levels. A finished batch waits for its owner, which then needs the "
        f"measured time of a real tell and a real ask, plus {1e3 * call_seconds:.2g} ms for the call. Trajectories are "
        "not written.",
        "Efficiency: share of the workers' time in rollouts. Wait: of a finished batch for its owner, median. Limit: "
        "owners that never rest. Below 90 % from: workers, of all owners together, at which efficiency falls below .9.",
    )


def _stateless(tickets: Tickets) -> Tickets:
    """Tickets in flight without their states, which the worker has."""
    return replace(tickets, state=np.empty((len(tickets), 0), np.float32))
