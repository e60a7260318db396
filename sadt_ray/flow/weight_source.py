"""Weight sources: newer weights of a flow while a search runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import FLOW, Learner


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

    def facts(self) -> dict[str, float]:
        """The figures without their prefix, for ``summary.json``."""
        return {name.removeprefix("learner_"): value for name, value in self.figures.items()}

    def describe(self, run: Path) -> str:
        """What the learner came to, in a sentence or two."""
        error = f" It stopped at an error: {self.error}" if self.error else ""
        steps, rows = self.figures.get("learner_steps", 0), self.figures.get("learner_rows", 0)
        if not steps:
            return f"The learner found too little to learn from: {rows:,.0f} states.{error}"
        judged = ""
        if "learner_validation" in self.figures:
            losses = self.figures["learner_validation"], self.figures["learner_base"]
            judged = ", held-out loss {:.3f}, {:.3f} of the look-ahead alone".format(*losses)
        cost = f"It cost {self.figures.get('learner_nfe', 0):,.0f} evaluations that are not in the table."
        if self.flow is None:
            out = "No version was better on the windows held out than what it began with, so none was used"
        else:
            out = f"Version {self.flow.version} of the flow is in {run / FLOW}"
        return f"{out}: {steps:,.0f} steps on {rows:,.0f} states{judged}. {cost}{error}"


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
