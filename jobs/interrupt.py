"""Ctrl-C between two batches, so that everything told is recorded; a second one stops at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class InterruptGuard:
    """While it is entered, the first Ctrl-C is only remembered; ``check`` raises it where stopping does no harm."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> InterruptGuard:
        self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was asked for."""
        if self._asked:
            raise KeyboardInterrupt
