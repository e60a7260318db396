"""Twists of a particle system: estimates of the soft value of a state before x_0 is known.

A twist gives log psi_t(x_t), an approximation of lambda V_t(x_t). A better approximation makes the weights of the
particles more equal. The weights correct for any error of the twist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.config import load_function, name_of
from sadt_ray.interfaces import Chain, Scorer
from sadt_ray.processes.walk import KnowsLaw, KnowsResiduals, View
from sadt_ray.rewards.look_ahead import LookAhead, LooksAhead, clean_score, is_differentiable, look_ahead_of

LOWEST = -1e4  # nats


def bounded(log_twist: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Replace values that are not finite, and values below ``LOWEST``, by ``LOWEST``.

    A particle system treats ``LOWEST`` as unknown and gives such a particle the lowest known value (see
    ``nothing_ruled_out``): a twist must not rule out a state that the reward has not scored.
    """
    return torch.nan_to_num(log_twist, LOWEST, LOWEST, LOWEST).clamp_min(LOWEST)


@runtime_checkable
class Twist(Protocol):
    """log psi at every position between the root and x_0, for bound problems."""

    @property
    def idle(self) -> bool:
        """Whether psi = 1 everywhere, so that there is nothing to evaluate."""

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow to x0_hat."""

    @property
    def reward_calls(self) -> int:
        """Reward evaluations per row."""

    @property
    def nfe(self) -> float:
        """Cost per row without the denoiser, in evaluations of the denoiser."""

    @property
    def tilt(self) -> Float[np.ndarray, " positions"] | None:
        """Standard deviation of log psi among siblings at every position; None if it is not known."""

    def __call__(self, view: View) -> Float[Tensor, " B"]:
        """log psi of each row."""


@dataclass(frozen=True)
class NoTwist:
    """psi = 1: particles get their weights at x_0 alone, as in importance sampling."""

    idle = True
    differentiable = False
    reward_calls = 0
    nfe = 0.0
    tilt = None

    def __call__(self, view: View) -> Float[Tensor, " B"]:
        return torch.zeros(len(view.problem))


@dataclass(frozen=True)
class CleanTwist:
    """log psi = lambda r(x0_hat): Feynman-Kac steering (Singhal et al. 2025); with gradients TDS (Wu et al. 2023)."""

    scorer: Scorer
    lam: float
    idle = False
    reward_calls = 1
    nfe = 0.0
    tilt = None

    @property
    def differentiable(self) -> bool:
        return is_differentiable(self.scorer)

    def __call__(self, view: View) -> Float[Tensor, " B"]:
        """log psi of each row. Raises ValueError for a chain without x0_hat."""
        return bounded(self.lam * clean_score(self.scorer, clean_of(view), view.problem))


@dataclass(frozen=True)
class DebiasedTwist:
    """log psi = lambda r~, the reward's own look-ahead, which accounts for the residual x_0 - x0_hat."""

    look_ahead: LookAhead
    lam: float
    differentiable: bool = True
    nfe: float = 0.0
    idle = False
    tilt = None

    @property
    def reward_calls(self) -> int:
        """Reward evaluations per row: 0 if the reward has its own look-ahead."""
        return self.look_ahead.reward_calls

    def __call__(self, view: View) -> Float[Tensor, " B"]:
        ahead = self.look_ahead(clean_of(view), view.position, view.problem, view.law)
        return bounded(self.lam * ahead.value)


@dataclass(frozen=True)
class FunctionTwist:
    """A twist made of a function of your own.

    Args:
        function: the rows, all at one position -> log psi of each, [B], in nats: an estimate of lambda V. NaN or -inf
            means that nothing is known of a row. The function is not called for the root and for x_0.
        differentiable: whether gradients flow from the answer to ``View.clean``, so that proposals can follow them.
        reward_calls: evaluations of the reward per row.
        nfe: function evaluations per row beside those of the denoiser; what they cost counts against the budget.
    """

    function: Callable[[View], Any]
    differentiable: bool = False
    reward_calls: int = 0
    nfe: float = 0.0
    idle = False
    tilt = None

    def __call__(self, view: View) -> Float[Tensor, " B"]:
        """Raises ValueError for an answer of another shape."""
        log_twist = torch.as_tensor(self.function(view))
        if log_twist.shape != (len(view.problem),):
            raise ValueError(
                f"the twist {name_of(self.function)} must return {len(view.problem)} numbers, one per row; it returned "
                f"the shape {tuple(log_twist.shape)}"
            )
        return bounded(log_twist)


def custom_twist(
    factory: str | Callable[..., Any], chain: Chain, scorer: Scorer, num_positions: int, lam: float
) -> Twist:
    """The twist that a factory of a user's own makes, or the factory called ``module:function``.

    Raises ValueError if what it returns is not a twist, naming what it lacks.
    """
    make = load_function(factory, "twist") if isinstance(factory, str) else factory
    twist = make(chain, scorer, num_positions, lam)
    members = ("idle", "differentiable", "reward_calls", "nfe", "tilt", "__call__")
    missing = [member for member in members if not hasattr(twist, member)]
    if missing:
        raise ValueError(
            f"{name_of(factory)} must return a twist, such as sadt_ray.smc.twists.FunctionTwist; it returned "
            f"{type(twist).__name__}, which has no {', '.join(missing)}"
        )
    return twist


def can_look_ahead(chain: Chain, scorer: Scorer) -> bool:
    """Whether there is a look-ahead from the states of the chain: see ``debiased_look_ahead``."""
    if isinstance(chain, KnowsLaw):
        return chain.knows_law
    return isinstance(scorer, LooksAhead) and isinstance(chain, KnowsResiduals)


def debiased_look_ahead(chain: Chain, scorer: Scorer, num_positions: int, lam: float) -> LookAhead:
    """Make r~ for every position. Raises ValueError for a chain that does not know the law of x_0 given x_t."""
    if not isinstance(chain, KnowsResiduals):
        raise ValueError(
            f"{type(chain).__name__} does not know the distribution of x_0 about x0_hat; use the twist 'clean'"
        )
    affine = not isinstance(chain, KnowsLaw) or chain.decodes_affinely
    residuals = (lambda at: chain.residuals(at, NUM_RESIDUALS)) if affine else None
    return look_ahead_of(scorer, residuals, num_positions, lam)


def debiased_twist(chain: Chain, scorer: Scorer, num_positions: int, lam: float) -> DebiasedTwist:
    """Make the twist lambda r~. Raises ValueError for a chain without ``residuals``."""
    look_ahead = debiased_look_ahead(chain, scorer, num_positions, lam)
    cost = relative_cost(chain, look_ahead.multiply_adds)
    return DebiasedTwist(look_ahead, lam, look_ahead.differentiable, cost)


def relative_cost(chain: Chain, multiply_adds: int) -> float:
    """Cost of a twist per row, in evaluations of the denoiser; 0 if the chain does not know its own cost."""
    cost = getattr(chain, "relative_cost", None)
    return cost(multiply_adds) if cost is not None else 0.0


NUM_RESIDUALS = 256
"""Number of residual draws per problem and position that a look-ahead uses."""


def clean_of(view: View) -> Tensor:
    """x0_hat of the rows. Raises ValueError if the chain has none."""
    if view.clean is None:
        raise ValueError("this process cannot predict x0_hat; use a method without look-ahead, such as snis or dts")
    return view.clean
