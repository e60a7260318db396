"""When batches were sent, begun and finished, and by whom: what a timeline of a search is drawn from."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

MAX_HELD = 10_000
"""Batches that an executor remembers until somebody asks; older ones are forgotten."""


class BatchTimes(NamedTuple):
    """One batch that came back, or did not. Times are those of ``time.perf_counter`` of the executor's process.

    Attributes:
        worker: its number, from 0.
        sent: when it was handed to the worker, which may have had another to finish first.
        began: when it was rolled out; on other machines ``finished`` less the time in the rollout.
        finished: when its results, or the word of its loss, had arrived.
        weights_version: of the flow that it was rolled out with; 0 without one.
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
        """Of the batches that were finished since the last call."""
