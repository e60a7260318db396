"""Messages between a search and its trial, which run in two threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping


class Reports:
    """The newest figures, from the search to the trial, and the request to stop, in the other direction.

    Attributes:
        figures: last figures; empty at first.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.figures: Mapping[str, float] = {}

    def show(self, figures: Mapping[str, float]) -> None:
        """Set the figures that Tune, its schedulers and its loggers see."""
        self.figures = figures

    @property
    def stopped(self) -> bool:
        """Whether the search should end now and keep what it has."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the search to end."""
        self._stop.set()
