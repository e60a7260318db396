"""Look-ahead: the expected reward of x_0 from x0_hat = E[x_0 | x_t] and the distribution of x_0 about it.

r(x0_hat) is biased if the reward is not linear: a posterior mean is smooth even if its samples are rough (spectral
collapse). A reward can define its own look-ahead r~, which accounts for the residual x_0 - x0_hat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Scorer
from sadt_ray.numerics.clean_law import CleanLaw
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
        of_law: (law of x_0 given x_t, problem [B]) -> ``Ahead``, used instead where the law is known; None for none.
        differentiable: whether gradients flow to x0_hat, of a sum from some of its terms at least.
        how: what it does, in words.
    """

    function: Callable[[Tensor, int, np.ndarray], Ahead]
    multiply_adds: int = 0
    reward_calls: int = 0
    of_law: Callable[[CleanLaw, np.ndarray], Ahead] | None = None
    differentiable: bool = True
    how: str = "the reward's own look-ahead"

    def __call__(
        self, clean: Tensor, position: int, problem: Int[np.ndarray, " B"], law: CleanLaw | None = None
    ) -> Ahead:
        if self.of_law is not None and law is not None:
            return self.of_law(law, problem)
        return self.function(clean, position, problem)


@runtime_checkable
class LooksAhead(Protocol):
    """A scorer with its own look-ahead."""

    def look_ahead(self, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
        """Make r~ for every position, differentiable in x0_hat.

        Args:
            residuals: draws of x_0 - x0_hat by position. A scorer with ``needs_residuals = False`` may get None.
            num_positions: number of positions of the walk.
            inv_temperature: lambda.
        """


@runtime_checkable
class LooksAheadByLaw(Protocol):
    """A scorer whose look-ahead reads the law of x_0 given x_t."""

    def ahead_of(self, law: CleanLaw, problem: Int[np.ndarray, " B"], inv_temperature: float) -> Ahead:
        """r~ of B rows, differentiable in ``law.mean``: (1/lambda) log E[exp(lambda r(x_0)) | x_t], approximately."""


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


NUM_DRAWS = 64
"""Draws of x_0 given x_t that the look-ahead of a reward without one of its own scores."""


def look_ahead_of(
    scorer: Scorer, residuals: Residuals | None, num_positions: int, inv_temperature: float, draws: int = NUM_DRAWS
) -> LookAhead:
    """The scorer's own look-ahead; else the average over draws of x_0 where their law is known, else r(x0_hat).

    Args:
        residuals: draws of x_0 - x0_hat by position; None where they depend on x0_hat, as under a decoder that is not
            affine. A look-ahead that needs them is replaced by draws.
        draws: of x_0, per row.
    """
    if isinstance(scorer, LooksAhead) and (residuals is not None or not getattr(scorer, "needs_residuals", True)):
        own = scorer.look_ahead(cast(Residuals, residuals), num_positions, inv_temperature)
        return replace(own, differentiable=own.differentiable and (own.of_law is not None or is_differentiable(scorer)))

    def at_clean(clean: Tensor, position: int, problem: np.ndarray) -> Ahead:
        value = clean_score(scorer, clean, problem)
        return Ahead(value, value[:, None])

    if isinstance(scorer, LooksAheadByLaw):

        def by_law(law: CleanLaw, problem: np.ndarray) -> Ahead:
            return scorer.ahead_of(law, problem, inv_temperature)

        return LookAhead(at_clean, of_law=by_law, how="the law of x_0 given x_t")

    def by_draws(law: CleanLaw, problem: np.ndarray) -> Ahead:
        value = mean_over_draws(scorer, law, problem, inv_temperature, draws)
        return Ahead(value, value[:, None])

    gradient, how = is_differentiable(scorer), f"the mean over {draws} draws of x_0 given x_t"
    return LookAhead(at_clean, reward_calls=draws, of_law=by_draws, differentiable=gradient, how=how)


def mean_over_draws(
    scorer: Scorer, law: CleanLaw, problem: Int[np.ndarray, " B"], inv_temperature: float, count: int
) -> Float[Tensor, " B"]:
    """(1/lambda) log (1/K) sum_k exp(lambda r(x_0^k)) over K draws of x_0 given x_t; -inf where none is possible.

    It is differentiable if the scorer is. A draw that cannot be scored counts as impossible.
    """
    lam, found = inv_temperature or 1e-6, torch.empty(len(law), dtype=law.mean.dtype, device=law.mean.device)
    for number, rows, part in law.by_problem(problem):
        drawn = part.draws(count)
        flat = np.full(len(rows) * count, number)
        rewards = clean_score(scorer, drawn.flatten(0, 1), flat).reshape(len(rows), count)
        rewards = torch.nan_to_num(rewards, -torch.inf, posinf=torch.inf, neginf=-torch.inf)
        known = torch.isfinite(rewards).any(1)
        value = torch.logsumexp(torch.where(known[:, None], lam * rewards, 0.0), dim=1) - np.log(count)
        found = found.index_put((rows,), torch.where(known, value / lam, -torch.inf).to(found))
    return found
