"""The one loop that drives every search, whoever runs its tickets: ask -> run -> tell -> observe.

``run`` knows nothing of files, weights or terminals. Whoever wants to record a search, to checkpoint it, to bring it
newer weights or to show how far it is, observes it: see ``Observer``.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from sadt_ray.engine.executor import Executor, Finished
from sadt_ray.engine.plan import SearchPlan
from sadt_ray.interfaces import Failure, Tickets
from sadt_ray.tree.search import Search

MAX_FAILURES = 3  # a ticket that failed so often is set aside
_PIECES = 8  # that a lost batch is cut into
GAUGES_EVERY = 0.5  # seconds between two readings of the gauges


class SearchStats(NamedTuple):
    """How far a search is.

    Attributes:
        seconds: wall-clock time of the search, including the time before it was resumed.
        simulations: backed up so far, all problems together.
        nfe: function evaluations so far, all problems together.
        rollouts_per_second: of this process; each particle counts as a rollout.
        mean_reward: of the samples so far whose reward is not -inf, unweighted; -inf without any.
        best_reward: of the samples so far; -inf without any.
        in_flight: tickets asked and neither told nor forgotten.
        nodes: of the forest.
        set_aside: tickets given up after three failures.
        gauges: rates, and figures of the executor and of the observers; renewed twice a second.
    """

    seconds: float
    simulations: int
    nfe: int
    rollouts_per_second: float
    mean_reward: float
    best_reward: float
    in_flight: int
    nodes: int
    set_aside: int
    gauges: Mapping[str, float]

    def figures(self) -> dict[str, float]:
        """All figures by the names of ``metrics.jsonl``."""
        return {**self.gauges, **{name: value for name, value in self._asdict().items() if name != "gauges"}}


@runtime_checkable
class Observer(Protocol):
    """Observes a search. An observer may also have ``gauges`` and ``at_end``, see ``HasGauges`` and ``ObservesEnd``."""

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        """Called whenever the executor returns. What it raises ends the search between two batches."""


@runtime_checkable
class HasGauges(Protocol):
    """An observer that has figures of its own."""

    def gauges(self) -> Mapping[str, float]: ...


@runtime_checkable
class ObservesEnd(Protocol):
    """An observer that is told when the search is over, whatever ended it."""

    def at_end(self, search: Search, stats: SearchStats) -> None:
        """Called once, with nothing in flight any more."""


@dataclass(frozen=True)
class StatsTo:
    """An observer that passes the figures on to a function."""

    function: Callable[[SearchStats], None]

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        self.function(stats)


class SearchResult(NamedTuple):
    """A search that is over. Whatever ended it, what was told until then is in it."""

    search: Search
    seconds: float  # of searching, including the time before it was resumed
    error: BaseException | None = None  # why it ended before its budgets were spent

    def checked(self) -> Search:
        """The search, if it spent its budgets. Raises ``error`` otherwise."""
        if self.error is not None:
            raise self.error
        return self.search


class RolloutFailed(RuntimeError):
    """Too many rollouts brought no result. What was told is in ``search``, whose samples can be drawn."""

    def __init__(self, failures: Sequence[Failure], search: Search) -> None:
        self.failures = tuple(failures)
        self.search = search
        super().__init__(describe_failures(failures, search.names))


def describe_failures(failures: Sequence[Failure], names: Sequence[str]) -> str:
    """One line: the first failure, and how many more there were."""
    first = failures[0]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"ticket {first.ticket} of problem {names[first.problem]!r}: {first.message}{more}"


@dataclass(frozen=True)
class Tolerance:
    """How many tickets may be set aside before a search stops: a share of those asked, but at least ``count``.

    A search that is resumed begins to count anew: whoever resumes it has seen what failed before.
    """

    count: int = 10
    share: float = 0.01

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 <= self.share <= 1:
            raise ValueError(f"a tolerance is a count >= 0 and a share in [0, 1], got {self.count} and {self.share}")

    def exceeded(self, search: Search, before: int = 0) -> bool:
        """Whether more than that failed, not counting the ``before`` failures of an earlier process."""
        return len(search.failures) - before > max(self.count, self.share * search.asked.sum())


def run(
    plan: SearchPlan,
    executor: Executor,
    observers: Sequence[Observer] = (),
    tolerance: Tolerance | None = None,
    search: Search | None = None,
    seconds_before: float = 0.0,
) -> SearchResult:
    """Run the search of a plan to its end. Errors do not escape: they stand in the result, beside what was told.

    Args:
        plan: what is searched.
        executor, observers, tolerance: see ``run_search``.
        search: the search to go on with, if the plan's was begun before.
        seconds_before: that it took until then.
    """
    search = plan.begin() if search is None else search
    started, error = time.perf_counter() - seconds_before, None
    try:
        run_search(search, executor, observers, tolerance, plan.smc.particles, seconds_before)
    except (Exception, KeyboardInterrupt) as reason:
        error = reason
    return SearchResult(search, time.perf_counter() - started, error)


def run_search(
    search: Search,
    executor: Executor,
    observers: Sequence[Observer] = (),
    tolerance: Tolerance | None = None,
    particles: int = 1,
    seconds_before: float = 0.0,
) -> None:
    """Ask, run and tell until every problem has spent its budget, or met a rule that ends it before.

    A ticket that failed is tried again; at the third failure it is set aside (``search.failures``) and another one is
    asked in its place.

    Args:
        executor: runs the tickets.
        observers: called in this order whenever the executor returns.
        tolerance: how many tickets may be set aside.
        particles: of each simulation, for the rate of rollouts.
        seconds_before: that the search took before it was resumed.

    Raises:
        RolloutFailed: when more tickets were set aside than tolerated. Tickets still in flight are forgotten then, as
            they are when an observer or the executor raises.
    """
    meter = _Meter(search, executor, observers, particles, seconds_before)
    try:
        _loop(search, executor, observers, meter, tolerance or Tolerance())
    finally:
        executor.cancel()
        search.forget(search.open_tickets())
        stats = meter.read(search, final=True)
        for observer in observers:
            if isinstance(observer, ObservesEnd):
                observer.at_end(search, stats)


def _loop(
    search: Search, executor: Executor, observers: Sequence[Observer], meter: _Meter, tolerance: Tolerance
) -> None:
    retries, running, failed_before = _Retries(), 0, len(search.failures)
    while True:
        while running < executor.slots:
            tickets = retries.waiting.popleft() if retries.waiting else search.ask(executor.batch_size)
            if len(tickets) == 0:
                break
            executor.submit(tickets)
            running += 1
        if running == 0:
            return
        for finished in executor.collect():
            running -= 1
            given_up = retries.sort_out(finished)
            if finished.results is not None:
                search.tell(replace(finished.results, failures=()))
            search.set_aside(given_up)
        stats = meter.read(search)
        for observer in observers:
            observer.after_batch(search, stats)
        if tolerance.exceeded(search, failed_before):
            raise RolloutFailed(search.failures, search)


@dataclass
class _Retries:
    """Failed tickets that wait for another attempt.

    A failure counts against a ticket that is surely its own: named by the rollout, or alone in a batch that was lost.
    A larger lost batch is tried again in pieces, so that a ticket that kills its worker is soon alone. What was lost
    last is tried first: a search whose every ticket kills its worker has soon set enough of them aside to end.
    """

    waiting: deque[Tickets] = field(default_factory=deque)
    count: Counter[int] = field(default_factory=Counter)
    nfe: Counter[int] = field(default_factory=Counter)  # of failed attempts; counted for tickets that are set aside

    def sort_out(self, finished: Finished) -> list[Failure]:
        """Queue what may be tried again; returns what may not."""
        tickets = finished.tickets
        if finished.results is None and len(tickets) > 1:
            pieces = np.array_split(np.arange(len(tickets)), min(_PIECES, len(tickets)))
            self.waiting.extendleft(tickets.take(piece) for piece in reversed(pieces))
            return []
        given_up, again = [], []
        for failure in finished.failures():
            self.count[failure.ticket] += 1
            self.nfe[failure.ticket] += failure.nfe
            if self.count[failure.ticket] < MAX_FAILURES:
                again.append(failure.ticket)
            else:
                given_up.append(failure._replace(nfe=self.nfe[failure.ticket]))
        if again:
            put = self.waiting.append if finished.results is not None else self.waiting.appendleft
            put(tickets.take(np.isin(tickets.id, again)))
        return given_up


class _Meter:
    """Reads the ``SearchStats`` off a search while it grows."""

    def __init__(
        self, search: Search, executor: Executor, observers: Sequence[Observer], particles: int, seconds_before: float
    ) -> None:
        self._sources = [executor, *(observer for observer in observers if isinstance(observer, HasGauges))]
        self._particles, self._seconds_before = particles, seconds_before
        self._started = time.perf_counter() - seconds_before
        self._simulations_before = search.simulations
        self._num_rewards, self._num_finite, self._reward_sum, self._best = 0, 0, 0.0, -np.inf
        self._gauges: Mapping[str, float] = {}
        self._renewed = (seconds_before, search.simulations, int(search.nfe.sum()))

    def read(self, search: Search, final: bool = False) -> SearchStats:
        self._add_rewards(search)
        seconds = time.perf_counter() - self._started
        if final or seconds >= self._renewed[0] + GAUGES_EVERY:
            self._renew_gauges(search, seconds)
        rollouts = (search.simulations - self._simulations_before) * self._particles
        return SearchStats(
            seconds=seconds,
            simulations=search.simulations,
            nfe=int(search.nfe.sum()),
            rollouts_per_second=rollouts / max(seconds - self._seconds_before, 1e-9),
            mean_reward=self._reward_sum / self._num_finite if self._num_finite else -np.inf,
            best_reward=self._best,
            in_flight=int((search.asked - search.told - search.forgotten).sum()),
            nodes=len(search.tree),
            set_aside=len(search.failures),
            gauges=self._gauges,
        )

    def _renew_gauges(self, search: Search, seconds: float) -> None:
        (before, simulations, nfe), now = self._renewed, (seconds, search.simulations, int(search.nfe.sum()))
        interval = max(seconds - before, 1e-9)
        rates = {
            "simulations_per_second": (now[1] - simulations) / interval,
            "nfe_per_second": (now[2] - nfe) / interval,
        }
        self._gauges = {name: value for source in self._sources for name, value in source.gauges().items()} | rates
        self._renewed = now

    def _add_rewards(self, search: Search) -> None:
        _, rewards = search.sample_store.rewards()
        new = rewards[self._num_rewards :]
        self._num_rewards = len(rewards)
        finite = new[np.isfinite(new)]
        self._num_finite += len(finite)
        self._reward_sum += float(finite.sum())
        self._best = max(self._best, float(new.max(initial=-np.inf)))
