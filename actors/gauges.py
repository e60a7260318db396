"""How busy the workers have been: what an executor counts between two looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Gauges:
    """Counts since the last ``read``, but for ``tickets_finished`` and ``lost_batches``, which never go back."""

    tickets_finished: int = 0
    lost_batches: int = 0
    clock: Callable[[], float] = time.monotonic
    _since: float = 0.0
    _busy_seconds: float = 0.0
    _fills: list[float] = field(default_factory=list)
    _staleness: list[float] = field(default_factory=list)
    _flows: list[tuple[int, float]] = field(default_factory=list)  # versions, and since when each is in use
    _behind: list[float] = field(default_factory=list)
    _lags: list[float] = field(default_factory=list)
    _longest_lag: float = 0.0

    def __post_init__(self) -> None:
        self._since = self.clock()

    def batch_submitted(self, fill: float) -> None:
        """``fill``: its tickets over the batch size."""
        self._fills.append(fill)

    def batch_finished(self, rows: int, seconds: float, finished_before: int) -> None:
        """``seconds``: time in the rollout; ``finished_before``: ``tickets_finished`` when the batch was sent."""
        self._busy_seconds += seconds
        self._staleness.append(self.tickets_finished - finished_before)
        self.tickets_finished += rows

    def flow_in_use(self, version: int) -> None:
        """Batches are sent with these weights from now on."""
        self._flows.append((version, self.clock()))

    def weights_used(self, version: int) -> None:
        """A batch came back that was rolled out with these."""
        newer = [since for number, since in self._flows if number > version]
        lag = self.clock() - newer[0] if newer else 0.0
        self._behind.append(len(newer))
        self._lags.append(lag)
        self._longest_lag = max(self._longest_lag, lag)

    def read(self, workers: int, queue_depth: int, batch_size: int) -> dict[str, float]:
        """The gauges, by the names of ``metrics.jsonl``, counting anew from here.

        workers: that take part. utilisation: share of their time spent in rollouts. queue_depth: batches that wait for
        a worker. batch_fill: tickets a batch over ``batch_size``. staleness: tickets that came back between the sending
        of a batch and its return, that is how many simulations the tree had grown meanwhile. lost_batches: so far.

        Once there is a flow: weights_version: of the newest in use. weights_behind: versions between the weights of a
        batch and the newest when it came back. weights_lag: seconds for which newer ones had been in use by then, at
        most what two calls take; longest_weights_lag: of all batches so far.
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
