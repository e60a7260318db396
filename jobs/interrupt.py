"""Ctrl-C or a polite kill between two batches, so that everything told is recorded; a second one stops at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Protocol, runtime_checkable

from sadt_ray.engine.loop import SearchStats


class Interrupted(KeyboardInterrupt):
    """Someone asked the program to stop.

    Attributes:
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, as shells have it.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(reason)

    @classmethod
    def by_signal(cls, number: int) -> Interrupted:
        name = {signal.SIGINT: "Ctrl-C"}.get(signal.Signals(number), signal.Signals(number).name)
        return cls(name, 128 + number)


@runtime_checkable
class Watch(Protocol):
    """Whoever watches a run, and may stop it: ``stats`` and ``check`` raise Interrupted where that does no harm.

    It is entered when the run begins, after all that can be wrong with the input has been looked at.
    """

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...

    def stats(self, stats: SearchStats) -> None:
        """Called with how far a search is, now and then."""

    def check(self) -> None:
        """Called now and then, also while a search shows nothing."""


class InterruptGuard:
    """A watch over signals: while it is entered, the first is only remembered; ``check`` raises it.

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
            raise Interrupted.by_signal(number)
        self._asked = number

    def stats(self, stats: SearchStats) -> None:
        self.check()

    def check(self) -> None:
        """Raise Interrupted if it was asked for."""
        if self._asked is not None:
            raise Interrupted.by_signal(self._asked)
