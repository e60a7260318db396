"""The owner's side: the forest, and the one loop that grows it with whatever workers there are."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import NamedTuple

from actors.executor import RayExecutor
from actors.learner import RemoteLearner, RemoteWeightSource
from actors.metrics import Meters
from actors.pacing import BatchSize, Deadline
from actors.rollout_worker import RemoteWorker
from sadt_ray.engine.loop import SearchStats
from sadt_ray.engine.plan import SearchPlan, default_batch_size
from sadt_ray.flow.flow import Flow
from sadt_ray.runs.recording import Recording, run_recorded
from sadt_ray.tree.search import Search
from sadt_ray.tree.state import SearchState

_LARGEST_BATCH = 4096
SHARE_IN_FLIGHT = 0.05  # of a search's simulations; more would cost its trees too much quality


class BatchPolicy(NamedTuple):
    """How an owner feeds its workers.

    Attributes:
        batch_size: tickets a call, at first.
        fixed: whether that stays so; else batches grow until calls are long enough and devices full.
    """

    batch_size: int
    fixed: bool = False


class Sent(NamedTuple):
    """A search that is over, as it travels."""

    state: SearchState
    seconds: float
    failure: str | None  # what ended it early


class Stopped(Exception):
    """Someone asked the owner to stop between two batches."""


class TreeOwner:
    """Runs one search at a time over workers, recording and checkpointing it as it grows.

    A plain class; ``actors.session`` makes a Ray actor of it, with threads of its own for ``stats`` and ``stop``. An
    owner that was killed and restarted resumes a search from its last checkpoint when it is asked for it again.

    Args:
        recording: where records and checkpoints go.
        batch_policy: batch sizes.
        deadline: see ``RayExecutor``.
    """

    def __init__(self, recording: Recording, batch_policy: BatchPolicy, deadline: Deadline | None = None) -> None:
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
    ) -> Sent:
        """Grow the forest to the end of its budgets, until ``stop``, or until it cannot go on.

        Args:
            flow: to begin with, for a plan that is guided by one.
            learner: may have a newer one at any time.
        """
        self._stats = None
        first = self._first_batch(plan)
        size = BatchSize(first, self._largest_batch(plan, first, len(workers)))
        executor = RayExecutor(workers, plan.rollout_spec, size, self._deadline)
        if flow is not None and plan.smc.twist == "flow":
            executor.use_flow(flow)
        weight_source = None if learner is None else RemoteWeightSource(learner, -1 if flow is None else flow.version)
        meters = Meters(plan.name)

        try:
            ended = run_recorded(plan, executor, self._recording, [self, meters], weight_source)
        finally:
            self._stop.clear()
        failure = None if ended.error is None else f"{type(ended.error).__name__}: {ended.error}"
        return Sent(ended.search.state(), ended.seconds, failure)

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
        """Sweeps have many rows a ticket."""
        if self._batch_policy.fixed or plan.smc.particles == 1:
            return self._batch_policy.batch_size
        return default_batch_size(len(plan.names), plan.smc.particles)

    def _largest_batch(self, plan: SearchPlan, first: int, num_workers: int) -> int:
        if self._batch_policy.fixed:
            return first
        slots = RayExecutor.calls_per_worker * num_workers + 1
        return min(max(int(SHARE_IN_FLIGHT * plan.simulations / slots), first), _LARGEST_BATCH)
