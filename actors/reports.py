"""What a search and its trial tell each other, from one thread to the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any


class Reports:
    """The newest figures one way, the wish to stop the other way.

    Attributes:
        figures: that were shown last; empty before.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self.figures: Mapping[str, float] = {}

    def show(self, figures: Mapping[str, Any]) -> None:
        """What is a number of these is what Tune, its schedulers and its loggers see."""
        self.figures = {name: value for name, value in figures.items() if isinstance(value, int | float)}

    @property
    def stopped(self) -> bool:
        """Whether the search should end now and keep what it has."""
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()
