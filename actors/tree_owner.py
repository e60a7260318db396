"""The owner's side: the forest, and the one loop that grows it with whatever workers there are."""

from __future__ import annotations

import copyreg
import socket
import threading
from collections.abc import Sequence
from typing import NamedTuple

from actors.executor import RayExecutor
from actors.learner import RemoteLearner, RemoteWeightSource
from actors.metrics import Meters
from actors.pacing import BatchSize, Deadline
from actors.rollout_worker import RemoteWorker
from sadt_ray.engine.loop import Observer, SearchResult, SearchStats, run
from sadt_ray.engine.plan import SearchPlan, default_batch_size
from sadt_ray.flow.flow import Flow
from sadt_ray.runs.recording import Recording, SearchFailed, run_recorded
from sadt_ray.tree.search import Search

_LARGEST_BATCH = 4096
SHARE_IN_FLIGHT = 0.05  # of a search's simulations; more would cost its trees too much quality

copyreg.pickle(
    Search, lambda search: (Search.restored, (search.state(), search.config))
)  # how a search travels to its driver


class BatchPolicy(NamedTuple):
    """How an owner sizes the batches of its workers.

    Attributes:
        batch_size: tickets per call, at first.
        fixed: whether that stays so; else batches grow until calls are long enough and devices full.
    """

    batch_size: int
    fixed: bool = False


class Stopped(Exception):
    """Someone asked the owner to stop between two batches."""


class TreeOwner:
    """Runs one search at a time over workers, recording and checkpointing it as it grows.

    A plain class; ``actors.session`` makes a Ray actor of it, with threads of its own for ``stats`` and ``stop``. An
    owner that was killed and restarted resumes a search from its last checkpoint when it is asked for it again.

    Args:
        recording: where records and checkpoints go; None for searches that leave nothing, and begin anew after a
            restart.
        batch_policy: how batches are sized.
        deadline: how long a call may take, see ``RayExecutor``.
    """

    def __init__(
        self, recording: Recording | None, batch_policy: BatchPolicy, deadline: Deadline | None = None
    ) -> None:
        self._recording, self._batch_policy, self._deadline = recording, batch_policy, deadline or Deadline()
        self._stop = threading.Event()
        self._stats: SearchStats | None = None

    def ready(self) -> str:
        """The name of the machine."""
        return socket.gethostname()

    def search(
        self,
        plan: SearchPlan,
        workers: Sequence[RemoteWorker],
        flow: Flow | None = None,
        learner: RemoteLearner | None = None,
    ) -> SearchResult:
        """Grow the forest to the end of its budgets, until ``stop``, or until it cannot go on.

        Args:
            flow: to begin with, for a plan that is guided by one.
            learner: may have a newer flow at any time.

        Returns:
            The search. An error that ended it early travels as a ``SearchFailed`` with its words.
        """
        self._stats = None
        first = self._first_batch(plan)
        size = BatchSize(first, self._largest_batch(plan, first, len(workers)))
        executor = RayExecutor(workers, plan.rollout_spec, size, self._deadline)
        if flow is not None and plan.smc.twist == "flow":
            executor.use_flow(flow)
        source = None if learner is None else RemoteWeightSource(learner, -1 if flow is None else flow.version)
        observers: list[Observer] = [self, Meters(plan.name)]
        try:
            if self._recording is None:
                result = run(plan, executor, observers)
            else:
                result = run_recorded(plan, executor, self._recording, observers, source)
        finally:
            self._stop.clear()
        if result.error is None:
            return result
        return result._replace(error=SearchFailed(f"{type(result.error).__name__}: {result.error}"))

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        """Remember how far the search is. Raises Stopped if it was asked to stop."""
        self._stats = stats
        if self._stop.is_set():
            raise Stopped

    def stats(self) -> SearchStats | None:
        """How far the search is; None before its first batch."""
        return self._stats

    def stop(self) -> None:
        """End the search at hand between two batches."""
        self._stop.set()

    def _first_batch(self, plan: SearchPlan) -> int:
        """Particle systems have many rows per ticket."""
        if self._batch_policy.fixed or plan.smc.particles == 1:
            return self._batch_policy.batch_size
        return default_batch_size(len(plan.names), plan.smc.particles)

    def _largest_batch(self, plan: SearchPlan, first: int, num_workers: int) -> int:
        if self._batch_policy.fixed:
            return first
        slots = RayExecutor.calls_per_worker * num_workers + 1
        return min(max(int(SHARE_IN_FLIGHT * plan.simulations / slots), first), _LARGEST_BATCH)
