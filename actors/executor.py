"""Run batches of tickets on Ray workers that may be slow, hang, die and restart."""

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

_MAX_ERRORS = 3  # a worker is restarted after this many errors in a row, because its device may be unusable
_LOOK_ROWS = 2048  # nodes per call of ``look_at``, so that batches do not wait long behind it
_WAIT = 0.5  # longest wait of ``collect``, and time between two pings, in seconds


class WorkersLost(SearchFailed):
    """No worker is left, and none will restart."""


class _Batch(NamedTuple):
    tickets: Tickets
    finished_before: int  # number of finished tickets when the batch was submitted


class _Call(NamedTuple):
    reply: Any  # reference to the results
    batch: _Batch
    sent: float  # time at which it was sent
    weights_version: int


class _Look(NamedTuple):
    reply: Any  # reference to the log flows
    nodes: NodeStates
    version: int  # version of the flow


@dataclass(eq=False)
class _Worker:
    number: int
    remote: RemoteWorker
    ready: bool = False
    ping: Any = None  # pending reply of ``ready``
    ping_at: float = 0.0  # earliest time of the next ping
    failed_pings: int = 0  # number of pings in a row that raised
    answered: bool = False  # whether it has finished a call since its start
    calls: deque[_Call] = field(default_factory=deque)  # in the order in which the worker runs them
    head_since: float = 0.0  # start of the first call, as seen from here
    raised: int = 0  # number of calls in a row that raised
    look: _Look | None = None  # pending call of ``look_at``


class RayExecutor:
    """An ``Executor`` over instances of ``RemoteWorker``.

    Each worker has two calls in flight, so it never waits for the tree. ``spare`` more batches wait here, so a worker
    that finishes gets its next batch before its results are backed up. A worker takes part as soon as it answers
    ``ready``, so the pool may grow, shrink and restart during a search.

    Args:
        workers: workers, ready or not.
        rollout_spec: settings of the rollouts.
        batch_size: number of tickets per call.
        deadline: longest duration of a call, after which its worker is killed and restarted.
        spare: number of batches that wait here.

    Raises:
        WorkersLost: from ``collect``, if no worker is left, for example because the replica cannot be loaded.
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
        self._rollout_spec, self._batch_size = rollout_spec, batch_size
        self._deadline, self._spare = deadline or Deadline(), spare
        self._waiting: deque[_Batch] = deque()
        self._finished: deque[Finished] = deque()
        self._workers = [_Worker(number, worker) for number, worker in enumerate(workers)]
        self._times: deque[BatchTimes] = deque(maxlen=MAX_HELD)
        self._gauges = Gauges()
        self._flow: HeldFlow | None = None
        self._to_look_at: deque[NodeStates] = deque()
        self._looked: list[NodeFlows] = []
        self.last_loss = ""  # message of the last loss of a batch or a worker

    @property
    def batch_size(self) -> int:
        return self._batch_size.value

    @property
    def slots(self) -> int:
        return self.calls_per_worker * self.num_ready + self._spare if self.num_ready else 1

    @property
    def num_ready(self) -> int:
        """Number of workers that take part."""
        return sum(worker.ready for worker in self._workers)

    def submit(self, tickets: Tickets) -> None:
        self._gauges.batch_submitted(len(tickets) / self.batch_size)
        self._waiting.append(_Batch(tickets, self._gauges.tickets_finished))
        self._send()

    def collect(self) -> Sequence[Finished]:
        """Return one finished batch, or none after half a second or when a worker becomes ready."""
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
        """Send these weights with every later call. The calls in flight, two per worker, keep their weights."""
        self._flow = HeldFlow.put(flow)
        self._gauges.flow_in_use(flow.version)

    def look_at(self, nodes: NodeStates) -> None:
        """See ``UsesFlow``. At most one such call per worker is in flight, behind the worker's batches."""
        self._to_look_at = deque(nodes.cut(_LOOK_ROWS))
        self._send_looks()

    def looked_at(self) -> Sequence[NodeFlows]:
        """The finished calls of ``look_at``. A lost call is repeated unless there is a newer flow."""
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
        """Send waiting batches to the workers with the fewest calls."""
        while self._waiting:
            free = [w for w in self._workers if w.ready and len(w.calls) < self.calls_per_worker]
            if not free:
                return
            worker = min(free, key=lambda w: len(w.calls))
            batch = self._waiting.popleft()
            if not worker.calls:
                worker.head_since = time.monotonic()
            reply, version = worker.remote.run(self._rollout_spec, batch.tickets, self._flow), self._version
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
                reply = worker.remote.look_at(self._rollout_spec, nodes, self._flow)
                worker.look = _Look(reply, nodes, self._flow.version)

    def _take_in_look(self, worker: _Worker, look: _Look) -> None:
        worker.look = None
        newest = self._flow is not None and look.version == self._flow.version
        try:
            looked = ray.get(look.reply)
        except RayError as error:  # the worker's batches will show whether it is lost
            self.last_loss = last_line(error)
            if newest and not isinstance(error, RayTaskError):
                self._to_look_at.append(look.nodes)
        else:
            if newest:
                self._looked.append(looked)

    def _wait(self) -> None:
        """Wait until a call finishes, a worker becomes ready, a deadline passes, or the wait is over."""
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
        """Handle the answer to a ping: the worker is ready, is restarting, or is removed."""
        ping, worker.ping = worker.ping, None
        try:
            ray.get(ping)
            worker.ready, worker.failed_pings, worker.answered = True, 0, False
            return
        except ActorDiedError as error:  # it will not restart
            self.last_loss, worker.failed_pings = last_line(error), _MAX_ERRORS
        except RayTaskError as error:  # it could not load its replica this time
            self.last_loss = last_line(error)
            worker.failed_pings += 1
        except RayError:  # it is being restarted
            pass
        worker.ping_at = time.monotonic() + _WAIT
        if worker.failed_pings == _MAX_ERRORS:
            self._workers.remove(worker)

    def _take_in(self, worker: _Worker) -> None:
        """Handle the end of the worker's oldest call: results, an error, or a lost worker."""
        call, now = worker.calls.popleft(), time.monotonic()
        batch = call.batch
        try:
            results = ray.get(call.reply)
        except RayTaskError as error:  # the rollout raised; the worker itself may be fine
            worker.raised += 1
            restart = worker.raised == _MAX_ERRORS
            self._lost(worker, call, last_line(error), restarted=restart)
            if restart:
                worker.remote.restart()
                self._restarting(worker)
        except ObjectLostError as error:  # the results were lost with their node
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
        """Record the times of a call. ``seconds`` is the time that the worker spent on it."""
        now, sent_ago = time.perf_counter(), time.monotonic() - call.sent
        rows, began = len(call.batch.tickets), now - min(seconds, sent_ago)
        times = BatchTimes(worker.number, rows, now - sent_ago, began, now, call.weights_version, lost, restarted)
        self._times.append(times)

    def _restarting(self, worker: _Worker) -> None:
        """Let the worker's other calls wait for another worker. It takes part again once it answers a ping."""
        self._waiting.extendleft(call.batch for call in reversed(worker.calls))
        worker.calls.clear()
        worker.ready, worker.raised = False, 0
        worker.ping_at = time.monotonic() + _WAIT  # a process that is being killed may still answer

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
    """Finished replies, after a wait of at most ``_WAIT`` for the first one."""
    if not awaited:
        time.sleep(_WAIT)
        return []
    there, _ = ray.wait(awaited, num_returns=1, timeout=_WAIT)
    return ray.wait(awaited, num_returns=len(awaited), timeout=0)[0] if there else []


def last_line(error: BaseException) -> str:
    """Last line of an error of Ray, below the tracebacks; at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
