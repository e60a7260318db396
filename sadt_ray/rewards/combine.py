"""Weighted sums of rewards: r = sum_k w_k r_k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Problem, Reward, Scorer
from sadt_ray.numerics.clean_law import CleanLaw
from sadt_ray.rewards.look_ahead import (
    Ahead,
    LookAhead,
    Residuals,
    clean_score,
    is_differentiable,
    look_ahead_of,
    margins,
)


class WeightedSum:
    """r(x) = sum_k w_k r_k(x). Without terms r = 0, so the target is the prior itself.

    The sum is an oracle if one of its terms is. A term of weight 0 is left out and costs nothing.

    Args:
        terms: pairs of weight and reward.

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
        """Bind all terms. Raises what a term raises."""
        return SumScorer([(weight, reward.bind(problems)) for weight, reward in self.terms])


class SumScorer:
    """A weighted sum bound to problems."""

    needs_residuals = False

    def __init__(self, terms: Sequence[tuple[float, Scorer]]) -> None:
        self.terms = tuple(terms)

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of samples [B, ...]. Raises what a term raises, and ValueError for a term of another shape."""
        total = np.zeros(len(samples))
        for weight, scorer in self.terms:
            rewards = np.asarray(scorer(samples, problem), dtype=float)
            if rewards.shape != total.shape:
                raise ValueError(f"{scorer!r} returned shape {rewards.shape} for {len(samples)} samples")
            total += weight * rewards
        return total

    def margin(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """The smallest margin of the terms, each in units of its own; +inf without a term that has one."""
        terms = [margins(scorer, samples, problem) for _, scorer in self.terms]
        return np.min([np.full(len(samples), np.inf), *terms], axis=0)

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow through every term."""
        return all(is_differentiable(scorer) for _, scorer in self.terms)

    @property
    def feature_groups(self) -> int:
        """Feature groups of the first term that has some. The features of that term come first."""
        return 0 if self._grouped is None else getattr(self.terms[self._grouped][1], "feature_groups", 0)

    @property
    def _grouped(self) -> int | None:
        found = [number for number, (_, term) in enumerate(self.terms) if getattr(term, "feature_groups", 0)]
        return found[0] if found else None

    def score_tensor(self, x: Tensor, problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Rewards as a function of a tensor. Gradients flow through the differentiable terms."""
        rows = problem.cpu().numpy()
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for weight, scorer in self.terms:
            total = total + weight * clean_score(scorer, x, rows)
        return total

    def look_ahead(self, residuals: Residuals | None, num_positions: int, inv_temperature: float) -> LookAhead:
        """Weighted sum of the look-aheads of all terms; see ``look_ahead_of`` for terms without one of their own."""
        terms = [
            (weight, look_ahead_of(scorer, residuals, num_positions, weight * inv_temperature))
            for weight, scorer in self.terms
        ]

        order = sorted(range(len(terms)), key=lambda number: number != self._grouped)

        def joined(parts: Sequence[Ahead], like: Tensor) -> Ahead:
            weighted = [weight * part.value for (weight, _), part in zip(terms, parts, strict=True)]
            value = sum(weighted, torch.zeros_like(like[:, 0]))
            features = [parts[number].features for number in order] or [value[:, None]]
            return Ahead(value, torch.cat(features, dim=-1))

        def ahead(clean: Tensor, position: int, problem: np.ndarray) -> Ahead:
            return joined([term(clean, position, problem) for _, term in terms], clean.flatten(1))

        def of_law(law: CleanLaw, problem: np.ndarray) -> Ahead:
            return joined([term(law.clean, law.position, problem, law) for _, term in terms], law.mean)

        return LookAhead(
            function=ahead,
            multiply_adds=sum(term.multiply_adds for _, term in terms),
            reward_calls=max((term.reward_calls for _, term in terms), default=0),
            of_law=of_law,
            differentiable=any(term.differentiable for _, term in terms) or not terms,
            how=" + ".join(dict.fromkeys(term.how for _, term in terms)),
        )
