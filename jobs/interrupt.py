"""Ctrl-C or a polite kill between two batches, so that everything told is recorded; a second one stops at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Someone asked the program to stop.

    Attributes:
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, as shells have it.
    """

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__({signal.SIGINT: "Ctrl-C"}.get(signal.Signals(number), signal.Signals(number).name))


class InterruptGuard:
    """While it is entered, the first signal is only remembered; ``check`` raises it where stopping does no harm.

    SIGTERM is what ``ray job stop``, systemd and batch queues send.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None:
            raise Interrupted(number)
        self._asked = number

    def check(self) -> None:
        """Raise Interrupted if it was asked for."""
        if self._asked is not None:
            raise Interrupted(self._asked)
