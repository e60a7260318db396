"""The driver's side: workers and a tree owner on a cluster, for as long as a ``with`` block lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple

import ray
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from actors.executor import RayExecutor, WorkersLost, last_line
from actors.learner import RemoteLearner, start_learner
from actors.pacing import Deadline
from actors.rollout_worker import RemoteWorker, start_workers
from actors.tree_owner import SHARE_IN_FLIGHT, BatchPolicy, Sent, TreeOwner
from sadt_ray.engine.loop import SearchResult, SearchStats
from sadt_ray.engine.plan import SearchPlan
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import LearnerSpec
from sadt_ray.flow.weight_source import LearnerUpdate
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.runs.recording import Recording, SearchFailed
from sadt_ray.tree.search import Search

_POLL_EVERY = 0.25  # seconds
_STOP_WITHIN = 60.0  # seconds in which a running batch should end
_FINISH_WITHIN = 60.0  # seconds in which a learner should judge and write what it has
_OWNER_DEATHS = 3  # at the same place
_LOADING_DEATHS = 3  # of one worker, while it loads its replica
_OWNER_THREADS = 4  # the search, stats, stop, and one to spare


class OwnerLost(SearchFailed):
    """The tree owner died again and again without getting further."""


@dataclass(frozen=True)
class WorkerSpec:
    """How many workers, and what each takes of the cluster.

    Attributes:
        num_workers: None for as many as there is room for now.
        cpus, gpus: of each; fractions share a device.
        device: where a worker's replica runs, None for a process that has no device.
    """

    num_workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    device: str | None = None

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")
        if self.cpus < 0 or self.gpus < 0 or self.cpus + self.gpus == 0:
            raise ValueError(f"a worker must take some CPU or GPU, got cpus={self.cpus} and gpus={self.gpus}")

    def size(self, resources: Mapping[str, float], useful: int | None = None, may_grow: bool = True) -> int:
        """Workers on a cluster with these resources, no more than are ``useful`` unless their number is given.

        Raises ValueError when there is room for none, and there will be none either, for all that is known.
        """
        if self.num_workers is not None and may_grow:
            return self.num_workers
        wanted = {"CPU": self.cpus, "GPU": self.gpus}
        room = min(int(resources.get(name, 0) / each) for name, each in wanted.items() if each > 0)
        if room < 1:
            held = ", ".join(f"{resources.get(name, 0):g} {name}" for name in wanted)
            grow = "give num_workers, and it will grow if it can, or " if may_grow else ""
            raise ValueError(
                f"a worker takes {self.cpus:g} CPU and {self.gpus:g} GPU, but the cluster has {held} now; {grow}"
                "let a worker take less"
            )
        if self.num_workers is not None:
            return self.num_workers
        return room if useful is None else min(room, max(useful, 1))


class RaySession:
    """Searches over workers that stay from one search to the next.

    The owner lives on this machine, beside the run directory. Workers are this process's, so an owner that dies does
    not take them along: it is restarted, and goes on from its last checkpoint.

    Args:
        process, reward, problems: what the workers roll out.
        worker_spec: the workers.
        recording: where records and checkpoints go.
        batch_policy: batch sizes.
        resources: of the cluster, from ``cluster.connect``.
        simulations: of the smallest search to come. Unless num_workers is given there are no more workers than a
            twentieth of them keeps busy: more in flight would cost the trees too much.
        flow: that searches which are guided by one begin with.
        learning: for a learner beside the searches.
    """

    def __init__(
        self,
        process: GenerativeProcess,
        reward: Reward,
        problems: Sequence[Problem],
        worker_spec: WorkerSpec,
        recording: Recording,
        batch_policy: BatchPolicy,
        resources: Mapping[str, float],
        simulations: int | None = None,
        deadline: Deadline | None = None,
        flow: Flow | None = None,
        learning: LearnerSpec | None = None,
    ) -> None:
        per_worker = RayExecutor.calls_per_worker * batch_policy.batch_size
        useful = None if simulations is None else int(SHARE_IN_FLIGHT * simulations / per_worker)
        self.num_workers = worker_spec.size(resources, useful)
        self.owner_restarts = 0
        group = get_current_placement_group()  # of a trial of a sweep: its workers stay in it
        place = "SPREAD" if group is None else PlacementGroupSchedulingStrategy(group)
        self.workers = start_workers(
            self.num_workers,
            process,
            reward,
            problems,
            worker_spec.device,
            num_cpus=worker_spec.cpus,
            num_gpus=worker_spec.gpus,
            scheduling_strategy=place,
        )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        owner = ray.remote(TreeOwner).options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=_OWNER_THREADS,
            scheduling_strategy=here,
        )
        self.owner: Any = owner.remote(recording, batch_policy, deadline)
        self._flow = flow
        self.learner: RemoteLearner | None = None
        if learning is not None:
            told = replace(learning, known=0 if flow is None else flow.version)
            self.learner = start_learner(self.workers[0].replica, told, scheduling_strategy=here)

    def wait_for_workers(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Until one worker is ready. On a cluster that grows this takes as long as a machine takes.

        Args:
            on_wait: called now and then. What it raises ends the waiting.

        Raises:
            WorkersLost: when none can be started, or each died again and again while it loaded its replica, with the
                reason of the last one.
        """
        starting, reason = dict(_start(worker) for worker in self.workers), ""
        while starting:
            answered, _ = ray.wait(list(starting), timeout=_POLL_EVERY)
            on_wait()
            for reply in answered:
                start = starting.pop(reply)
                try:
                    ray.get(reply)
                    return
                except (ActorUnavailableError, OutOfMemoryError) as error:  # it died, and is started again
                    deaths = start.deaths + _has_come(start.up)
                    reason = f"it died {deaths} times while it loaded the process and the reward: {last_line(error)}"
                    if deaths < _LOADING_DEATHS:
                        time.sleep(_POLL_EVERY)
                        starting.update([_start(start.worker, deaths)])
                except RayError as error:
                    reason = last_line(error)
        raise WorkersLost(f"no rollout worker can be started: {reason}")

    def __enter__(self) -> RaySession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        ray.kill(self.owner)
        if self.learner is not None:
            ray.kill(self.learner.actor)
        for worker in self.workers:
            worker.end()

    def search(
        self,
        plan: SearchPlan,
        on_stats: Callable[[SearchStats], None] | None = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> SearchResult:
        """Run one search. What ``on_stats`` raises stops it between two batches and comes back in the result.

        Args:
            on_stats: called with how far the search is, now and then.
            on_wait: called now and then also while the owner shows nothing. What it raises stops the search too.

        Raises:
            OwnerLost: when the owner dies three times without getting further.
            CannotResume: see ``run_recorded``.
        """
        furthest, deaths_there = -1, 0
        while True:
            call, done = self.owner.search.remote(plan, self.workers, self._flow, self.learner), -1
            try:
                while not ray.wait([call], timeout=_POLL_EVERY)[0]:
                    on_wait()
                    stats = self._stats()
                    if stats is not None:
                        done = stats.simulations
                        if on_stats is not None:
                            on_stats(stats)
            except BaseException as error:
                return self._stopped(call, plan, error)
            try:
                return _ended(ray.get(call), plan)
            except RayTaskError as error:
                raise (error.cause or error) from None
            except RayActorError as error:
                self.owner_restarts += 1
                furthest, deaths_there = (done, 1) if done > furthest else (furthest, deaths_there + 1)
                if deaths_there == _OWNER_DEATHS:
                    raise OwnerLost(
                        f"the tree owner died {_OWNER_DEATHS} times at {max(done, 0)} simulations: {last_line(error)}"
                    ) from None
                self._wait_for_owner(on_wait)

    def learned(self) -> LearnerUpdate | None:
        """End the learner, which publishes what it has, and return that; None if it does not answer."""
        if self.learner is None:
            return None
        try:
            update: LearnerUpdate = ray.get(self.learner.finish(), timeout=_FINISH_WITHIN)
        except RayError:
            return None
        return update

    def _wait_for_owner(self, on_wait: Callable[[], None]) -> None:
        """Until it is up again."""
        while True:
            reply = self.owner.ready.remote()
            while not ray.wait([reply], timeout=_POLL_EVERY)[0]:
                on_wait()
            try:
                ray.get(reply)
                return
            except ActorUnavailableError:
                time.sleep(_POLL_EVERY)

    def _stats(self) -> SearchStats | None:
        try:
            return ray.get(self.owner.stats.remote(), timeout=5)
        except (GetTimeoutError, RayActorError):
            return None

    def _stopped(self, call: Any, plan: SearchPlan, reason: BaseException) -> SearchResult:
        """Have the search stopped, and say why."""
        try:
            ray.get(self.owner.stop.remote(), timeout=_STOP_WITHIN)
            return _ended(ray.get(call, timeout=_STOP_WITHIN), plan)._replace(error=reason)
        except RayError:
            raise reason from None


class _Start(NamedTuple):
    """A worker that is awaited."""

    worker: RemoteWorker
    up: Any  # reply that comes when its process is there, before the replica is loaded
    deaths: int  # while it loaded the replica


def _start(worker: RemoteWorker, deaths: int = 0) -> tuple[Any, _Start]:
    """The reply that says that the worker is ready, and what belongs to it."""
    up = worker.up()
    return worker.ready(), _Start(worker, up, deaths)


def _has_come(reply: Any) -> bool:
    try:
        ray.get(reply, timeout=0)
    except RayError:
        return False
    return True


def _ended(sent: Sent, plan: SearchPlan) -> SearchResult:
    error = None if sent.failure is None else SearchFailed(sent.failure)
    return SearchResult(Search.restored(sent.state, plan.config), sent.seconds, error)
