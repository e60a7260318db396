"""Gauges of an executor: the load of the workers, and the age of the weights in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Gauges:
    """Counts since the last ``read``. Only ``tickets_finished`` and ``lost_batches`` are totals."""

    tickets_finished: int = 0
    lost_batches: int = 0
    clock: Callable[[], float] = time.monotonic
    _since: float = 0.0
    _busy_seconds: float = 0.0
    _fills: list[float] = field(default_factory=list)
    _staleness: list[float] = field(default_factory=list)
    _flows: list[tuple[int, float]] = field(default_factory=list)  # each version with the time of its first use
    _behind: list[float] = field(default_factory=list)
    _lags: list[float] = field(default_factory=list)
    _longest_lag: float = 0.0

    def __post_init__(self) -> None:
        self._since = self.clock()

    def batch_submitted(self, fill: float) -> None:
        """Count a batch. ``fill`` is its number of tickets divided by the batch size."""
        self._fills.append(fill)

    def batch_finished(self, rows: int, seconds: float, finished_before: int) -> None:
        """Count a finished batch.

        Args:
            rows: number of its tickets.
            seconds: time in the rollout.
            finished_before: ``tickets_finished`` when the batch was sent.
        """
        self._busy_seconds += seconds
        self._staleness.append(self.tickets_finished - finished_before)
        self.tickets_finished += rows

    def flow_in_use(self, version: int) -> None:
        """Note that later batches are sent with this version of the weights."""
        self._flows.append((version, self.clock()))

    def weights_used(self, version: int) -> None:
        """Note that a batch that used this version of the weights has finished."""
        newer = [since for number, since in self._flows if number > version]
        lag = self.clock() - newer[0] if newer else 0.0
        self._behind.append(len(newer))
        self._lags.append(lag)
        self._longest_lag = max(self._longest_lag, lag)

    def read(self, workers: int, queue_depth: int, batch_size: int) -> dict[str, float]:
        """Return the gauges by their names in ``metrics.jsonl``, and reset the counts.

        workers: number of workers that take part. utilisation: share of their time in rollouts. queue_depth: number of
        batches that wait for a worker. batch_fill: tickets per batch, divided by ``batch_size``. staleness: number of
        tickets that finished between the sending of a batch and its return, that is, the growth of the tree in the
        meantime. lost_batches: number of lost batches so far.

        With a flow: weights_version: newest version in use. weights_behind: number of versions between the weights of a
        batch and the newest ones at its return. weights_lag: seconds for which newer weights had been in use then, at
        most the duration of two calls. longest_weights_lag: largest lag of all batches so far.
        """
        now = self.clock()
        held = {
            "workers": float(workers),
            "utilisation": min(1.0, self._busy_seconds / max(workers * (now - self._since), 1e-9)),
            "queue_depth": float(queue_depth),
            "batch_size": float(batch_size),
            "batch_fill": _mean(self._fills),
            "staleness": _mean(self._staleness),
            "lost_batches": float(self.lost_batches),
        }
        if self._flows:
            held |= {
                "weights_version": float(self._flows[-1][0]),
                "weights_behind": _mean(self._behind),
                "weights_lag": _mean(self._lags),
                "longest_weights_lag": self._longest_lag,
            }
        self._since, self._busy_seconds, self._fills, self._staleness = now, 0.0, [], []
        self._behind, self._lags = [], []
        return held


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
