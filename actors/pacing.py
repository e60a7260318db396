"""How many tickets go into a call, and how long a call may take: both learned from the calls so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

_SHORTEST_CALL = 0.020  # seconds; below it the price of a call shows
_NOT_FULL = 1.5  # a device that takes less than this factor for twice the rows was not full
_OBSERVATIONS = 3


@dataclass
class BatchSize:
    """Doubles until a call takes 20 ms and a batch fills the device, then stays.

    Args:
        value: tickets a call at first.
        largest: never more than this; equal to ``value`` for a fixed size.
    """

    value: int
    largest: int
    _seconds: list[float] = field(default_factory=list)
    _half: float | None = None  # median seconds of a batch half as large
    _settled: bool = False

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.value}")

    def observe(self, rows: int, seconds: float) -> None:
        """A call with so many tickets took so long. Calls of other sizes teach nothing."""
        if self._settled or rows != self.value:
            return
        self._seconds.append(seconds)
        if len(self._seconds) < _OBSERVATIONS:
            return
        typical = median(self._seconds)
        if self._half is not None and typical > max(_SHORTEST_CALL, _NOT_FULL * self._half):
            self._settle(self.value if self._half < _SHORTEST_CALL else self.value // 2)
        elif 2 * self.value > self.largest:
            self._settle(self.value)
        else:
            self.value, self._half, self._seconds = 2 * self.value, typical, []

    def _settle(self, value: int) -> None:
        self.value, self._settled = value, True


@dataclass
class Deadline:
    """A call that takes ten times as long as the longest of the last hundred hangs.

    Args:
        first: seconds that a worker is given for its first call: replicas warm up, kernels are compiled.
        shortest: seconds allowed at least, for machines that are busy with something else for a while.
    """

    first: float = 600.0
    shortest: float = 15.0
    factor: float = 10.0
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=100))

    def observe(self, seconds: float) -> None:
        self._seconds.append(seconds)

    @property
    def seconds(self) -> float:
        """Time that a call is given."""
        if not self._seconds:
            return self.first
        return max(self.shortest, self.factor * max(self._seconds))
