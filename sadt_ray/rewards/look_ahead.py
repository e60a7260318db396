"""Look-ahead: the expected reward of x_0 from x0_hat = E[x_0 | x_t] and the distribution of x_0 about it.

r(x0_hat) is biased if the reward is not linear: a posterior mean is smooth even if its samples are rough (spectral
collapse). A reward can define its own look-ahead r~, which accounts for the residual x_0 - x0_hat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Scorer
from sadt_ray.rewards.checked import score_checked

Residuals = Callable[[int], np.ndarray]  # position -> draws [P, R, T] of x_0 - x0_hat


class Ahead(NamedTuple):
    """The look-ahead of B rows."""

    value: Float[Tensor, " B"]  # r~
    features: Float[Tensor, "B F"]  # inputs of a flow network that improves on r~


@dataclass(frozen=True)
class LookAhead:
    """r~ of B rows at one position.

    Attributes:
        function: (x0_hat [B, T] in the units of the data, position, problem [B]) -> ``Ahead``.
        multiply_adds: approximate number of multiply-adds per row, for the count of costs.
        reward_calls: number of reward evaluations per row.
    """

    function: Callable[[Tensor, int, np.ndarray], Ahead]
    multiply_adds: int = 0
    reward_calls: int = 0

    def __call__(self, clean: Tensor, position: int, problem: Int[np.ndarray, " B"]) -> Ahead:
        return self.function(clean, position, problem)


@runtime_checkable
class LooksAhead(Protocol):
    """A scorer with its own look-ahead."""

    def look_ahead(self, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
        """Make r~ for every position, differentiable in x0_hat.

        Args:
            residuals: draws of x_0 - x0_hat by position.
            num_positions: number of positions of the walk.
            inv_temperature: lambda.
        """


@runtime_checkable
class Differentiable(Protocol):
    """A scorer with gradients."""

    def score_tensor(self, x: Tensor, problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Rewards as a function of a tensor. Gradients flow to ``x``."""


@runtime_checkable
class HasMargin(Protocol):
    """A scorer of a hard condition that says how far a sample is from satisfying it."""

    def margin(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Positive or zero where the condition holds and the reward is not -inf, negative elsewhere; the larger, the
        better satisfied. In units of the scorer's own choice; +inf where there is nothing to satisfy."""


def margins(scorer: Scorer, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """The scorer's margin of each sample; +inf of a scorer that has none.

    Raises ValueError for margins of another shape, or NaN.
    """
    if not isinstance(scorer, HasMargin) or not callable(scorer.margin):  # a setting may have this name too
        return np.full(len(samples), np.inf)
    found = np.asarray(scorer.margin(samples, problem), dtype=float)
    if found.shape != (len(samples),) or np.isnan(found).any():
        raise ValueError(
            f"the margin of {type(scorer).__name__} must be one number per sample, not NaN; for {len(samples)} samples "
            f"it returned shape {found.shape} with {int(np.isnan(found).sum())} NaN"
        )
    return found


def clean_score(scorer: Scorer, clean: Tensor, problem: Int[np.ndarray, " B"]) -> Float[Tensor, " B"]:
    """r(x0_hat). It is differentiable if the scorer is; otherwise a failure of the scorer gives NaN."""
    if isinstance(scorer, Differentiable):
        return scorer.score_tensor(clean, torch.as_tensor(problem, device=clean.device))
    rewards, _ = score_checked(scorer, clean.detach().cpu().numpy(), problem)
    return torch.as_tensor(rewards, dtype=clean.dtype, device=clean.device)


def is_differentiable(scorer: Scorer) -> bool:
    """Whether gradients flow through the scorer. A sum has its own ``differentiable`` for its terms."""
    return bool(getattr(scorer, "differentiable", isinstance(scorer, Differentiable)))


def look_ahead_of(scorer: Scorer, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
    """The scorer's own look-ahead, or r(x0_hat) if it has none."""
    if isinstance(scorer, LooksAhead):
        return scorer.look_ahead(residuals, num_positions, inv_temperature)

    def at_clean(clean: Tensor, position: int, problem: np.ndarray) -> Ahead:
        value = clean_score(scorer, clean, problem)
        return Ahead(value, value[:, None])

    return LookAhead(at_clean, reward_calls=1)
