"""Who runs the tickets, and the one loop that drives any of them."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.batch_times import MAX_HELD, BatchTimes
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import Failure, GenerativeProcess, Problem, Results, Reward, States, Tickets
from sadt_ray.roller import Rollers, Rolling
from sadt_ray.tree.search import Search

MAX_FAILURES = 3  # a ticket that failed so often is set aside
_PIECES = 8  # that a lost batch is cut into


class Finished(NamedTuple):
    """A submitted batch that came back."""

    tickets: Tickets  # as submitted
    results: Results | None  # of the tickets that succeeded; None if the batch was lost as a whole
    loss: str = ""  # why it was lost

    def failures(self) -> Sequence[Failure]:
        """The tickets that brought nothing."""
        if self.results is not None:
            return self.results.failures
        ids, problems = self.tickets.id.tolist(), self.tickets.problem.tolist()
        return [Failure(ticket, problem, self.loss) for ticket, problem in zip(ids, problems, strict=True)]


class NodeStates(NamedTuple):
    """Nodes between root and x_0, to be looked at by the flow."""

    node: Int[np.ndarray, " B"]
    state: States
    level: Int[np.ndarray, " B"]
    problem: Int[np.ndarray, " B"]

    def cut(self, rows: int) -> list[NodeStates]:
        """Pieces of at most so many."""
        return [NodeStates(*(c[i : i + rows] for c in self)) for i in range(0, len(self.node), rows)]


class NodeFlows(NamedTuple):
    """What a flow says of them."""

    node: Int[np.ndarray, " B"]
    problem: Int[np.ndarray, " B"]
    log_flow: Float[np.ndarray, " B"]
    nfe: int  # evaluations that each cost


@runtime_checkable
class Executor(Protocol):
    """Runs batches of tickets. ``slots`` batches of ``batch_size`` tickets keep it busy; both may change over time."""

    @property
    def batch_size(self) -> int: ...

    @property
    def slots(self) -> int:
        """At least 1."""

    def submit(self, tickets: Tickets) -> None:
        """Take a batch; returns at once if the executor is remote."""

    def collect(self) -> Sequence[Finished]:
        """Wait for a submitted batch to finish, but not for long: there may be none, so that callers can look around.

        Every batch is returned exactly once, also one whose worker died.
        """

    def cancel(self) -> None:
        """Drop every batch that was submitted and not collected."""

    def gauges(self) -> Mapping[str, float]:
        """How busy it has been since the last call, for whoever watches."""


@runtime_checkable
class UsesFlow(Protocol):
    """An executor that can be given newer weights while it runs."""

    def use_flow(self, flow: Flow) -> None:
        """Roll tickets out with these weights, from the next batch that is begun."""

    def look_at(self, nodes: NodeStates) -> None:
        """Have nodes looked at by the flow in use, beside the batches; instead of those asked for before."""

    def looked_at(self) -> Sequence[NodeFlows]:
        """What has come of it since the last call."""


class SerialExecutor:
    """Runs each batch in this process, when it is collected, in the order of submission.

    Args:
        slots: batches in flight at once. One is best for the tree; more imitate an executor that has workers.
        rolling: how tickets are rolled out; plain rollouts, at the branch steps of the process, if not given.
        flow: for a rolling whose twist is one.
    """

    def __init__(
        self,
        process: GenerativeProcess,
        reward: Reward,
        problems: Sequence[Problem],
        batch_size: int = 64,
        slots: int = 1,
        rolling: Rolling | None = None,
        flow: Flow | None = None,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("slots", slots)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.batch_size, self.slots = batch_size, slots
        process = process if rolling is None else process.with_branch_steps(rolling.branch_steps)
        self._chain = process.bind(problems)
        self._rollers = Rollers(self._chain, reward.bind(problems), process.num_levels, rolling or Rolling(()))
        self._flow, self._roll = flow, self._rollers.roller(flow)
        self._looked: list[NodeFlows] = []
        self._waiting: deque[Tickets] = deque()
        self._times: deque[BatchTimes] = deque(maxlen=MAX_HELD)

    def root_states(self) -> States:
        """The roots that a search over the executor's problems begins with."""
        return self._chain.root_states()

    def submit(self, tickets: Tickets) -> None:
        self._waiting.append(tickets)

    def collect(self) -> Sequence[Finished]:
        tickets, began = self._waiting.popleft(), time.perf_counter()
        results = self._roll(tickets)
        self._times.append(BatchTimes(0, len(tickets), began, began, time.perf_counter(), results.weights_version))
        return [Finished(tickets, results)]

    def cancel(self) -> None:
        self._waiting.clear()

    def use_flow(self, flow: Flow) -> None:
        """Raises ValueError for a flow that does not fit the process, the reward or lambda."""
        self._flow, self._roll = flow, self._rollers.roller(flow)

    def look_at(self, nodes: NodeStates) -> None:
        """Raises ValueError if there is no flow."""
        if self._flow is None:
            raise ValueError("nodes cannot be looked at without a flow; call use_flow first")
        log_flow, nfe = self._rollers.log_flow(self._flow, nodes.state, nodes.level, nodes.problem)
        self._looked = [NodeFlows(nodes.node, nodes.problem, log_flow, nfe)]

    def looked_at(self) -> Sequence[NodeFlows]:
        looked, self._looked = self._looked, []
        return looked

    def gauges(self) -> Mapping[str, float]:
        """The version of its weights, if it has any."""
        return {} if self._flow is None else {"weights_version": float(self._flow.version)}

    def batch_times(self) -> list[BatchTimes]:
        """See ``TimesBatches``. The worker is this process."""
        times = list(self._times)
        self._times.clear()
        return times


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
    """How many tickets may be set aside before the search stops: ``share`` of those asked, but at least ``count``.

    A search that is resumed begins to count anew: whoever goes on with it has seen what failed before.
    """

    count: int = 10
    share: float = 0.01

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 <= self.share <= 1:
            raise ValueError(f"a tolerance is a count >= 0 and a share in [0, 1], got {self.count} and {self.share}")

    def exceeded(self, search: Search, before: int = 0) -> bool:
        """Whether more than that failed, not counting those ``before``."""
        return len(search.failures) - before > max(self.count, self.share * search.asked.sum())


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


def run_search(
    search: Search,
    executor: Executor,
    on_progress: Callable[[Search], None] | None = None,
    tolerance: Tolerance | None = None,
) -> None:
    """Ask, run and tell until every problem has spent its budget, or met a rule that ends it before.

    A ticket that failed is tried again, at the third failure it is set aside (``search.failures``) and another one is
    asked in its place.

    Args:
        on_progress: called whenever the executor returns, for progress bars, trajectories and checkpoints. What it
            raises ends the search between two batches, with everything told.
        tolerance: how many tickets may be set aside.

    Raises:
        RolloutFailed: when there were more. Tickets still in flight are forgotten then, as they are when the caller
            interrupts the loop.
    """
    tolerance = tolerance or Tolerance()
    retries, running, before = _Retries(), 0, len(search.failures)
    try:
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
            if on_progress is not None:
                on_progress(search)
            if tolerance.exceeded(search, before):
                raise RolloutFailed(search.failures, search)
    finally:
        executor.cancel()
        search.forget(search.open_tickets())
