"""The contract of an executor: whoever takes batches of tickets and brings back their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import Failure, Results, States, Tickets

MAX_HELD = 10_000
"""Batch times that an executor keeps until somebody asks for them; older ones are dropped."""


class Finished(NamedTuple):
    """A submitted batch that came back."""

    tickets: Tickets  # as submitted
    results: Results | None  # of the tickets that succeeded; None if the batch was lost as a whole
    loss: str = ""  # why it was lost

    def failures(self) -> Sequence[Failure]:
        """The tickets that brought no result."""
        if self.results is not None:
            return self.results.failures
        ids, problems = self.tickets.id.tolist(), self.tickets.problem.tolist()
        return [Failure(ticket, problem, self.loss) for ticket, problem in zip(ids, problems, strict=True)]


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
        """Wait for submitted batches to finish, but not for long: the answer may be empty, so that callers can do
        other things between two calls.

        Every batch is returned exactly once, also one whose worker died.
        """

    def cancel(self) -> None:
        """Drop every batch that was submitted and not collected."""

    def gauges(self) -> Mapping[str, float]:
        """How busy it has been since the last call."""


class NodeStates(NamedTuple):
    """Nodes between root and x_0 whose log flow is wanted."""

    node: Int[np.ndarray, " B"]
    state: States
    level: Int[np.ndarray, " B"]
    problem: Int[np.ndarray, " B"]

    def cut(self, rows: int) -> list[NodeStates]:
        """The same nodes in pieces of at most ``rows``."""
        return [NodeStates(*(c[i : i + rows] for c in self)) for i in range(0, len(self.node), rows)]


class NodeFlows(NamedTuple):
    """The log flow of nodes."""

    node: Int[np.ndarray, " B"]
    problem: Int[np.ndarray, " B"]
    log_flow: Float[np.ndarray, " B"]
    nfe: int  # function evaluations that each node cost


@runtime_checkable
class UsesFlow(Protocol):
    """An executor that can be given newer weights of F_phi while it runs."""

    def use_flow(self, flow: Flow) -> None:
        """Roll tickets out with these weights, from the next batch on."""

    def look_at(self, nodes: NodeStates) -> None:
        """Have the log flow of nodes computed beside the batches, instead of that of the nodes asked for before."""

    def looked_at(self) -> Sequence[NodeFlows]:
        """The log flows that were computed since the last call."""


class BatchTimes(NamedTuple):
    """One batch that came back, or was lost. Times are those of ``time.perf_counter`` of the executor's process.

    Attributes:
        worker: its number, from 0.
        rows: tickets of the batch.
        sent: when it was handed to the worker, which may have had another batch to finish first.
        began: when its rollouts began; on other machines ``finished`` less the duration of the rollouts.
        finished: when its results, or the news of its loss, had arrived.
        weights_version: version of the flow that it was rolled out with; 0 without a flow.
        lost: whether it brought no results.
        restarted: whether its worker was lost with it, or restarted.
    """

    worker: int
    rows: int
    sent: float
    began: float
    finished: float
    weights_version: int = 0
    lost: bool = False
    restarted: bool = False


@runtime_checkable
class TimesBatches(Protocol):
    """An executor that keeps the times of its batches."""

    def batch_times(self) -> list[BatchTimes]:
        """Times of the batches that were finished since the last call."""
