"""Rows drawn at random: uniformly or by recency, of every node or of every problem alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


class RowSampler:
    """Draws rows with replacement, each draw costing log R.

    Args:
        rows: to draw from, at least one.
        age: of each row, in any unit.
        half_life: in the same unit: a row so much older is drawn half as often. None for uniformly.
        problem: if given, every problem is drawn alike, and then one of its rows.
    """

    def __init__(
        self,
        rows: Int[np.ndarray, " R"],
        age: Float[np.ndarray, " R"],
        half_life: float | None = None,
        problem: Int[np.ndarray, " R"] | None = None,
    ) -> None:
        if half_life is not None and not half_life > 0:
            raise ValueError(f"half_life must be None or a positive number of rows, got {half_life}")
        group = np.zeros(len(rows), np.int64) if problem is None else problem
        youngest = np.full(group.max() + 1, np.inf)
        np.minimum.at(youngest, group, age)
        weight = np.ones(len(rows)) if half_life is None else np.exp2((youngest[group] - age) / half_life)
        weight /= np.bincount(group, weight)[group]
        self._rows, self._cumulative = rows, np.cumsum(weight)

    def draw(self, n: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        at = np.searchsorted(self._cumulative, rng.random(n) * self._cumulative[-1], side="right")
        return self._rows[np.minimum(at, len(self._rows) - 1)]
