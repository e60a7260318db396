"""What a reward knows of x_0 before there is one: from x0_hat = E[x_0 | x_t] and how x_0 scatters about it.

r(x0_hat) misleads where the reward is not linear: a posterior mean is smooth, whatever its samples are (spectral
collapse). A reward that knows its own shape says better: r~, with the scatter taken into account.
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
    """What B rows promise."""

    value: Float[Tensor, " B"]  # r~
    features: Float[Tensor, "B F"]  # what it was made of, for a network that knows better


@dataclass(frozen=True)
class LookAhead:
    """r~ of B rows at one position.

    Attributes:
        function: x0_hat [B, T] in the units of the data, position, problem [B] -> what they promise.
        multiply_adds: of one row, in round figures: what it is charged by.
        reward_calls: evaluations of the reward itself, a row.
    """

    function: Callable[[Tensor, int, np.ndarray], Ahead]
    multiply_adds: int = 0
    reward_calls: int = 0

    def __call__(self, clean: Tensor, position: int, problem: Int[np.ndarray, " B"]) -> Ahead:
        return self.function(clean, position, problem)


@runtime_checkable
class LooksAhead(Protocol):
    """A scorer with a look-ahead of its own."""

    def look_ahead(self, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
        """r~ at every position, differentiable in x0_hat."""


@runtime_checkable
class Differentiable(Protocol):
    """A scorer that gradients flow through."""

    def score_tensor(self, x: Tensor, problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]: ...


def clean_score(scorer: Scorer, clean: Tensor, problem: Int[np.ndarray, " B"]) -> Float[Tensor, " B"]:
    """r(x0_hat), differentiable where the scorer is; NaN where another scorer cannot tell."""
    if isinstance(scorer, Differentiable):
        return scorer.score_tensor(clean, torch.as_tensor(problem, device=clean.device))
    rewards, _ = score_checked(scorer, clean.detach().cpu().numpy(), problem)
    return torch.as_tensor(rewards, dtype=clean.dtype, device=clean.device)


def is_differentiable(scorer: Scorer) -> bool:
    """Whether gradients flow through all of a scorer. A sum says so itself, for its terms."""
    return bool(getattr(scorer, "differentiable", isinstance(scorer, Differentiable)))


def look_ahead_of(scorer: Scorer, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
    """The scorer's own look-ahead, or r(x0_hat) for one that has none."""
    if isinstance(scorer, LooksAhead):
        return scorer.look_ahead(residuals, num_positions, inv_temperature)

    def at_clean(clean: Tensor, position: int, problem: np.ndarray) -> Ahead:
        value = clean_score(scorer, clean, problem)
        return Ahead(value, value[:, None])

    return LookAhead(at_clean, reward_calls=1)
