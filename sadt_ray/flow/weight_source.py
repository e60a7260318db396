"""Where newer weights of a flow come from while a search runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import Learner


@runtime_checkable
class WeightSource(Protocol):
    """Where newer weights come from while a search runs."""

    def newer_weights(self) -> Flow | None:
        """Weights newer than those that were given before, if there are any. Does not keep its caller waiting long."""

    def figures(self) -> Mapping[str, float]:
        """How far the learner is, for ``metrics.jsonl``."""


class LearnerUpdate(NamedTuple):
    """What a learner answers."""

    flow: Flow | None  # if there is a newer one than was known
    figures: Mapping[str, float]
    seconds: float  # since it was published
    error: str  # what went wrong last, if anything


class InterleavedLearner:
    """A ``WeightSource`` that takes turns with a search in one process: its learner works for a fifth of the time.

    What the learner raises ends the learning, not the search.

    Args:
        share: of the time.
    """

    def __init__(self, learner: Learner, share: float = 0.2, clock: Callable[[], float] = time.monotonic) -> None:
        self._learner, self._share, self._clock = learner, share, clock
        self._known, self._next_turn, self._error = -1, -math.inf, ""

    def begin(self, known: int) -> None:
        """Another search begins, with weights of this version, or -1 for none."""
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
        """End the training, and publish what there is."""
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
