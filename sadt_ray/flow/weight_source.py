"""Weight sources: newer weights of a flow while a search runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import Learner


@runtime_checkable
class WeightSource(Protocol):
    """A source of newer weights while a search runs."""

    def newer_weights(self) -> Flow | None:
        """Weights newer than those of earlier calls; None if there are none. Returns soon."""

    def figures(self) -> Mapping[str, float]:
        """Figures of the learner, for ``metrics.jsonl``."""


class LearnerUpdate(NamedTuple):
    """The answer of a learner."""

    flow: Flow | None  # newer flow; None if there is none
    figures: Mapping[str, float]
    seconds: float  # time since the flow was published
    error: str  # message of the last error; empty if there was none


class InterleavedLearner:
    """A ``WeightSource`` whose learner runs in the process of the search, between its batches.

    An error of the learner ends the learning, not the search.

    Args:
        learner: what trains.
        share: share of the time for the learner.
        clock: seconds from any origin.
    """

    def __init__(self, learner: Learner, share: float = 0.2, clock: Callable[[], float] = time.monotonic) -> None:
        self._learner, self._share, self._clock = learner, share, clock
        self._known, self._next_turn, self._error = -1, -math.inf, ""

    def begin(self, known: int) -> None:
        """Begin another search. ``known`` is the version of its weights, -1 for none."""
        self._known = known
        self._learner.outdo(known)

    def newer_weights(self) -> Flow | None:
        if self._clock() >= self._next_turn and not self._error:
            self._turn()
        flow = self._learner.latest
        if flow is None or flow.version <= self._known:
            return None
        self._known = flow.version
        return flow

    def figures(self) -> Mapping[str, float]:
        return self._learner.figures

    def finish(self) -> LearnerUpdate:
        """End the training, and return the last weights."""
        self._learner.finish()
        return LearnerUpdate(self._learner.latest, self._learner.figures, 0.0, self._error)

    def _turn(self) -> None:
        began = self._clock()
        try:
            self._learner.work()
        except Exception as error:
            self._error = f"{type(error).__name__}: {error}"
        ended = self._clock()
        self._next_turn = ended + (ended - began) * (1 / self._share - 1)
