"""The number of tickets per call, and the deadline of a call: both adapt to the calls so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

_SHORTEST_CALL = 0.020  # seconds; in a shorter call the overhead matters
_NOT_FULL = 1.5  # the device was not full if twice the rows take less than this factor of the time
_OBSERVATIONS = 3  # calls per batch size


@dataclass
class BatchSize:
    """A batch size that doubles until a call takes 20 ms and a batch fills the device.

    Args:
        value: number of tickets per call; at first the initial value.
        largest: largest value; equal to ``value`` for a fixed size.

    Raises ValueError if ``value`` is less than 1.
    """

    value: int
    largest: int
    _seconds: list[float] = field(default_factory=list)
    _half: float | None = None  # median seconds for half the batch size
    _settled: bool = False

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.value}")

    def observe(self, rows: int, seconds: float) -> None:
        """Take the duration of a call into account. Calls with another number of tickets are ignored."""
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
    """The deadline of a call: ten times the longest duration of the last hundred calls.

    Args:
        first: deadline of a worker's first call, in seconds; it includes the warm-up and the compilation of kernels.
        shortest: smallest deadline, in seconds, in case the machine is busy for a while.
        factor: factor on the longest duration.
    """

    first: float = 600.0
    shortest: float = 15.0
    factor: float = 10.0
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=100))

    def observe(self, seconds: float) -> None:
        """Take the duration of a call into account."""
        self._seconds.append(seconds)

    @property
    def seconds(self) -> float:
        """Deadline of a call."""
        if not self._seconds:
            return self.first
        return max(self.shortest, self.factor * max(self._seconds))
