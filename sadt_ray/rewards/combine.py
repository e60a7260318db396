"""Rewards added up: r = sum_k w_k r_k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem, Reward, Scorer


class WeightedSum:
    """r(x) = sum_k w_k r_k(x); of no terms, 0 everywhere: the prior itself is the target.

    An oracle as soon as one of its terms is. A term of weight 0 is left out and costs nothing.
    Raises ValueError for a weight that is not a finite number.
    """

    def __init__(self, *terms: tuple[float, Reward]) -> None:
        for weight, reward in terms:
            if not np.isfinite(weight):
                raise ValueError(f"the weight of {reward!r} must be a finite number, got {weight}")
        self.terms = tuple((float(weight), reward) for weight, reward in terms if weight != 0)
        self.oracle = any(reward.oracle for _, reward in self.terms)

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {reward!r}" for weight, reward in self.terms) or "0"

    def bind(self, problems: Sequence[Problem]) -> SumScorer:
        """Bind every term. Raises what a term raises."""
        return SumScorer([(weight, reward.bind(problems)) for weight, reward in self.terms])


class SumScorer:
    """A weighted sum bound to problems."""

    def __init__(self, terms: Sequence[tuple[float, Scorer]]) -> None:
        self.terms = tuple(terms)

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of a batch: every term scores it once. Raises what a term raises, and ValueError for a shape."""
        total = np.zeros(len(samples))
        for weight, scorer in self.terms:
            rewards = np.asarray(scorer(samples, problem), dtype=float)
            if rewards.shape != total.shape:
                raise ValueError(f"{scorer!r} returned shape {rewards.shape} for {len(samples)} samples")
            total += weight * rewards
        return total
