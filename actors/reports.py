"""What a search and its trial tell each other, from one thread to the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping


class Reports:
    """The newest figures one way, the wish to stop the other way.

    Attributes:
        figures: that were shown last; empty before.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.figures: Mapping[str, float] = {}

    def show(self, figures: Mapping[str, float]) -> None:
        """What Tune, its schedulers and its loggers see."""
        self.figures = figures

    @property
    def stopped(self) -> bool:
        """Whether the search should end now and keep what it has."""
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()
