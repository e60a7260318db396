"""Who runs the tickets, and the one loop that drives any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from sadt_ray.interfaces import Failure, GenerativeProcess, Problem, Results, Reward, States, Tickets
from sadt_ray.rollout import rollout
from sadt_ray.tree.search import Search


@runtime_checkable
class Executor(Protocol):
    """Runs batches of tickets. ``slots`` batches of ``batch_size`` tickets keep it busy."""

    @property
    def batch_size(self) -> int: ...

    @property
    def slots(self) -> int: ...

    def root_states(self) -> States:
        """The roots that a search over the executor's problems begins with."""

    def submit(self, tickets: Tickets) -> None:
        """Take a batch; returns at once if the executor is remote."""

    def collect(self) -> Sequence[Results]:
        """Wait until at least one submitted batch is finished; every batch is returned exactly once."""

    def cancel(self) -> None:
        """Drop every batch that was submitted and not collected."""


class SerialExecutor:
    """Runs each batch in this process, when it is collected."""

    slots = 1

    def __init__(
        self, process: GenerativeProcess, reward: Reward, problems: Sequence[Problem], batch_size: int = 64
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self._chain = process.bind(problems)
        self._scorer = reward.bind(problems)
        self._num_levels = process.num_levels
        self._waiting: list[Tickets] = []

    def root_states(self) -> States:
        return self._chain.root_states()

    def submit(self, tickets: Tickets) -> None:
        self._waiting.append(tickets)

    def collect(self) -> Sequence[Results]:
        return [rollout(self._chain, self._scorer, self._num_levels, self._waiting.pop(0))]

    def cancel(self) -> None:
        self._waiting.clear()


class RolloutFailed(RuntimeError):
    """A rollout brought no result. What was told until then is in ``search``, whose samples can be drawn."""

    def __init__(self, failures: Sequence[Failure], search: Search) -> None:
        self.failures = tuple(failures)
        self.search = search
        first = failures[0]
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(f"ticket {first.ticket} of problem {search.names[first.problem]!r}: {first.message}{more}")


def run_search(search: Search, executor: Executor, on_progress: Callable[[Search], None] | None = None) -> None:
    """Ask, run and tell until every problem has spent its budget.

    Args:
        on_progress: called after every batch of results, for progress bars, trajectories and checkpoints. What it
            raises ends the search between two batches, with everything told.

    Raises:
        RolloutFailed: when a ticket brought a failure, after everything collected with it was told. Tickets still in
            flight are forgotten then, as they are when the caller interrupts the loop.
    """
    running = 0
    try:
        while True:
            while running < executor.slots and len(tickets := search.ask(executor.batch_size)):
                executor.submit(tickets)
                running += 1
            if running == 0:
                return
            failures: list[Failure] = []
            for results in executor.collect():
                running -= 1
                search.tell(results)
                failures.extend(results.failures)
                if on_progress is not None:
                    on_progress(search)
            if failures:
                raise RolloutFailed(failures, search)
    finally:
        executor.cancel()
        search.forget(search.open_tickets())
