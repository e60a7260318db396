"""Where newer weights of a flow come from while a search runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from sadt_ray.flow.flow import Flow
from sadt_ray.learner import Learner


class Teacher(Protocol):
    """Where newer weights come from while a search runs."""

    def news(self) -> Flow | None:
        """Weights newer than those that were given before, if there are any. Does not keep its caller waiting long."""

    def figures(self) -> Mapping[str, float]:
        """How far the learner is, for ``metrics.jsonl``."""


class Turns:
    """A ``Teacher`` that takes turns with a search in one process: its learner works for a fifth of the time."""

    def __init__(self, learner: Learner, share: float = 0.2, clock: Callable[[], float] = time.monotonic) -> None:
        self._learner, self._share, self._clock = learner, share, clock
        self._next_turn, self._known = -math.inf, 0

    def news(self) -> Flow | None:
        began = self._clock()
        if began >= self._next_turn:
            self._learner.work()
            ended = self._clock()
            self._next_turn = ended + (ended - began) * (1 / self._share - 1)
        flow = self._learner.latest
        if flow is None or flow.version <= self._known:
            return None
        self._known = flow.version
        return flow

    def figures(self) -> Mapping[str, float]:
        return self._learner.figures()
