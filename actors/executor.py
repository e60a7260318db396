"""Batches of tickets over rollout workers that may be slow, hang, die and come back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.exceptions import ActorDiedError, ObjectLostError, RayError, RayTaskError

from actors.gauges import Gauges
from actors.pacing import BatchSize, Deadline
from actors.rollout_worker import HeldFlow, RemoteWorker
from sadt_ray.engine.executor import MAX_HELD, BatchTimes, Finished, NodeFlows, NodeStates
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import Tickets
from sadt_ray.rollout.spec import RolloutSpec
from sadt_ray.runs.recording import SearchFailed

_SICK = 3  # calls in a row that raised, after which a worker is restarted: its device may be in no state to go on
_LOOK_ROWS = 2048  # nodes looked at in one call, so that batches do not wait long behind it
_PATIENCE = 0.5  # seconds that ``collect`` waits before it lets its caller look around, and between two pings


class WorkersLost(SearchFailed):
    """No worker is left, and none will come back."""


class _Batch(NamedTuple):
    tickets: Tickets
    finished_before: int  # tickets that had come back when it was submitted


class _Call(NamedTuple):
    reply: Any  # that holds the results
    batch: _Batch
    sent: float
    weights_version: int


class _Look(NamedTuple):
    reply: Any  # that holds what the flow says
    nodes: NodeStates
    version: int  # of the flow


@dataclass(eq=False)
class _Worker:
    number: int
    remote: RemoteWorker
    ready: bool = False
    ping: Any = None  # reply of ``ready`` that is waited for
    ping_at: float = 0.0  # not asked before
    refusals: int = 0  # pings in a row that raised
    answered: bool = False  # a call since it was started
    calls: deque[_Call] = field(default_factory=deque)  # a worker runs them in this order
    head_since: float = 0.0  # when the first of them began, as far as can be seen from here
    raised: int = 0  # calls in a row
    look: _Look | None = None  # beside its calls


class RayExecutor:
    """An ``Executor`` over ``RemoteWorker``s.

    Two calls are in flight a worker, so that it never waits for the tree, and ``spare`` batches wait here, so that
    whoever comes back first is sent on before its results are backed up. A worker takes part as soon as it has
    answered ``ready``, so the pool may grow, shrink and restart while a search runs.

    Args:
        workers: ready or not.
        rollout_spec: how the search's tickets are rolled out.
        batch_size: tickets a call.
        deadline: how long a call may take before its worker is killed and restarted.

    Raises:
        WorkersLost: by ``collect``, when every worker died for good, for example because the replica cannot be loaded.
    """

    calls_per_worker = 2

    def __init__(
        self,
        workers: Iterable[RemoteWorker],
        rollout_spec: RolloutSpec,
        batch_size: BatchSize,
        deadline: Deadline | None = None,
        spare: int = 1,
    ) -> None:
        self._rolling, self._batch_size, self._deadline, self._spare = (
            rollout_spec,
            batch_size,
            deadline or Deadline(),
            spare,
        )
        self._waiting: deque[_Batch] = deque()
        self._finished: deque[Finished] = deque()
        self._workers = [_Worker(number, worker) for number, worker in enumerate(workers)]
        self._times: deque[BatchTimes] = deque(maxlen=MAX_HELD)
        self._gauges = Gauges()
        self._flow: HeldFlow | None = None
        self._to_look_at: deque[NodeStates] = deque()
        self._looked: list[NodeFlows] = []
        self.last_loss = ""  # what happened to the last worker that was lost

    @property
    def batch_size(self) -> int:
        return self._batch_size.value

    @property
    def slots(self) -> int:
        return self.calls_per_worker * self.num_ready + self._spare if self.num_ready else 1

    @property
    def num_ready(self) -> int:
        """Workers that take part."""
        return sum(worker.ready for worker in self._workers)

    def submit(self, tickets: Tickets) -> None:
        self._gauges.batch_submitted(len(tickets) / self.batch_size)
        self._waiting.append(_Batch(tickets, self._gauges.tickets_finished))
        self._send()

    def collect(self) -> Sequence[Finished]:
        """One batch that is finished, or none after half a second, or when a worker has become ready."""
        if not self._finished:
            self._wait()
        return [self._finished.popleft()] if self._finished else []

    def cancel(self) -> None:
        self._waiting.clear()
        self._finished.clear()
        self._to_look_at.clear()
        for worker in self._workers:
            worker.calls.clear()
            worker.look = None

    def use_flow(self, flow: Flow) -> None:
        """Every call that is sent from now on takes these weights along; those in flight, two a worker, have others."""
        self._flow = HeldFlow.put(flow)
        self._gauges.flow_in_use(flow.version)

    def look_at(self, nodes: NodeStates) -> None:
        """See ``UsesFlow``. In calls of their own, one a worker at most, behind the batches that it has."""
        self._to_look_at = deque(nodes.cut(_LOOK_ROWS))
        self._send_looks()

    def looked_at(self) -> Sequence[NodeFlows]:
        """What has been answered. Nodes whose call was lost are looked at again, unless there is a newer flow."""
        for worker in self._workers:
            if worker.look is not None and ray.wait([worker.look.reply], timeout=0)[0]:
                self._take_in_look(worker, worker.look)
        self._send_looks()
        looked, self._looked = self._looked, []
        return looked

    def gauges(self) -> Mapping[str, float]:
        """See ``Gauges.read``."""
        return self._gauges.read(self.num_ready, len(self._waiting), self.batch_size)

    def batch_times(self) -> list[BatchTimes]:
        """See ``TimesBatches``."""
        times = list(self._times)
        self._times.clear()
        return times

    def _send(self) -> None:
        """Give waiting batches to the workers that have the least to do."""
        while self._waiting:
            free = [w for w in self._workers if w.ready and len(w.calls) < self.calls_per_worker]
            if not free:
                return
            worker = min(free, key=lambda w: len(w.calls))
            batch = self._waiting.popleft()
            if not worker.calls:
                worker.head_since = time.monotonic()
            reply, version = worker.remote.run(self._rolling, batch.tickets, self._flow), self._version
            worker.calls.append(_Call(reply, batch, time.monotonic(), version))

    @property
    def _version(self) -> int:
        return 0 if self._flow is None else self._flow.version

    def _send_looks(self) -> None:
        if self._flow is None:
            return
        for worker in self._workers:
            if worker.ready and worker.look is None and self._to_look_at:
                nodes = self._to_look_at.popleft()
                reply = worker.remote.look_at(self._rolling, nodes, self._flow)
                worker.look = _Look(reply, nodes, self._flow.version)

    def _take_in_look(self, worker: _Worker, look: _Look) -> None:
        worker.look = None
        newest = self._flow is not None and look.version == self._flow.version
        try:
            looked = ray.get(look.reply)
        except RayError as error:  # its calls will tell what is wrong with the worker
            self.last_loss = last_line(error)
            if newest and not isinstance(error, RayTaskError):
                self._to_look_at.append(look.nodes)
        else:
            if newest:
                self._looked.append(looked)

    def _wait(self) -> None:
        """Until something happened: a call is finished, a worker ready, a deadline over, or patience."""
        if not self._workers:
            raise WorkersLost(f"no rollout worker is left: {self.last_loss}")
        self._ping()
        busy = {w.calls[0].reply: w for w in self._workers if w.calls}
        starting = {w.ping: w for w in self._workers if w.ping is not None}
        happened = _replies([*busy, *starting])
        for reply in happened:
            if reply in starting:
                self._welcome(starting[reply])
            else:
                self._take_in(busy[reply])
        self._restart_hanging()
        self._send()

    def _ping(self) -> None:
        for worker in self._workers:
            if not worker.ready and worker.ping is None and time.monotonic() >= worker.ping_at:
                worker.ping = worker.remote.ready()

    def _welcome(self, worker: _Worker) -> None:
        """A worker answered, or will never."""
        ping, worker.ping = worker.ping, None
        try:
            ray.get(ping)
            worker.ready, worker.refusals, worker.answered = True, 0, False
            return
        except ActorDiedError as error:  # it was ended for good
            self.last_loss, worker.refusals = last_line(error), _SICK
        except RayTaskError as error:  # it cannot load its replica, this time
            self.last_loss = last_line(error)
            worker.refusals += 1
        except RayError:  # it is being restarted
            pass
        worker.ping_at = time.monotonic() + _PATIENCE
        if worker.refusals == _SICK:
            self._workers.remove(worker)

    def _take_in(self, worker: _Worker) -> None:
        """The worker's oldest call is over, for better or worse."""
        call, now = worker.calls.popleft(), time.monotonic()
        batch = call.batch
        try:
            results = ray.get(call.reply)
        except RayTaskError as error:  # the rollout raised: the worker may be well, or not
            worker.raised += 1
            sick = worker.raised == _SICK
            self._lost(worker, call, last_line(error), restarted=sick)
            if sick:
                worker.remote.restart()
                self._restarting(worker)
        except ObjectLostError as error:  # the results died with their node
            self._lost(worker, call, last_line(error))
        except RayError as error:  # the worker died, was out of memory, or cannot be reached
            self._lost(worker, call, f"its worker was lost: {last_line(error)}", restarted=True)
            self._restarting(worker)
        else:
            worker.raised, worker.answered = 0, True
            self._batch_size.observe(len(batch.tickets), results.seconds)
            self._deadline.observe(now - worker.head_since)
            self._gauges.batch_finished(len(batch.tickets), results.seconds, batch.finished_before)
            self._gauges.weights_used(results.weights_version)
            self._timed(worker, call, results.seconds)
            self._finished.append(Finished(batch.tickets, results))
        worker.head_since = now

    def _lost(self, worker: _Worker, call: _Call, message: str, restarted: bool = False) -> None:
        self.last_loss = message
        self._gauges.lost_batches += 1
        self._timed(worker, call, time.monotonic() - worker.head_since, lost=True, restarted=restarted)
        self._finished.append(Finished(call.batch.tickets, None, message))

    def _timed(self, worker: _Worker, call: _Call, seconds: float, lost: bool = False, restarted: bool = False) -> None:
        """``seconds``: that the worker had been at it."""
        now, sent_ago = time.perf_counter(), time.monotonic() - call.sent
        rows, began = len(call.batch.tickets), now - min(seconds, sent_ago)
        times = BatchTimes(worker.number, rows, now - sent_ago, began, now, call.weights_version, lost, restarted)
        self._times.append(times)

    def _restarting(self, worker: _Worker) -> None:
        """Its other calls will fail too and are not to blame; it takes part again once it answers."""
        self._waiting.extendleft(call.batch for call in reversed(worker.calls))
        worker.calls.clear()
        worker.ready, worker.raised = False, 0
        worker.ping_at = time.monotonic() + _PATIENCE  # what is being killed could still answer

    def _restart_hanging(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            limit = self._deadline.seconds if worker.answered else self._deadline.first
            if worker.calls and now - worker.head_since > limit:
                worker.remote.restart()
                hung = f"its worker hung: no answer in {limit:.0f} s"
                self._lost(worker, worker.calls.popleft(), hung, restarted=True)
                self._restarting(worker)


def _replies(awaited: list[Any]) -> list[Any]:
    """Those that are there, after waiting a while for one."""
    if not awaited:
        time.sleep(_PATIENCE)
        return []
    there, _ = ray.wait(awaited, num_returns=1, timeout=_PATIENCE)
    return ray.wait(awaited, num_returns=len(awaited), timeout=0)[0] if there else []


def last_line(error: BaseException) -> str:
    """What an error of Ray says in the end, below the tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
