"""Walking down a chain step by step with someone looking: what particle sweeps need of a process.

A *walk* takes a batch of rows, all at one position, to x_0. At every position the rows can be looked at (a ``View``),
copied and dropped (``take``) and moved on (``step``), where the step may be drawn from a proposal q that guided along a
gradient instead of from the prior p; ``step`` then returns log p/q. Positions are the finest steps that a chain has:
0 is the root, ``num_positions`` - 1 is x_0; branch levels are some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from scipy.special import logsumexp
from torch import Tensor

from sadt_ray.interfaces import Chain, States
from sadt_ray.numerics.rng import uniforms

_CHOICE_STREAM = 1 << 25  # and the position


@dataclass(frozen=True)
class View:
    """B rows at one position, as a twist sees them.

    Attributes:
        position: of all rows.
        problem: of each row.
        clean: x0_hat = E[x_0 | x_t] in the units of the data, float32 [B, ...]: of the denoiser, or its cheap draft
            (``draft_denoised``); None where the chain cannot tell.
        features: of the states, [B, F], made when called.
    """

    position: int
    problem: Int[np.ndarray, " B"]
    clean: Tensor | None
    features: Callable[[], Tensor]


class Choice(NamedTuple):
    """Several candidates a row, of which one goes on, with probability proportional to psi.

    The ratio p/q of the one that was chosen is the mean of psi over its candidates, divided by its own: unbiased for
    any psi, as importance sampling in the space of all candidates. It is the step of SVDD (Li et al., *Derivative-free
    guidance in continuous and discrete diffusion models with soft value-based decoding*, 2024), with the weight that
    makes it exact.
    """

    candidates: int
    log_twist: Callable[[View], Tensor]


@runtime_checkable
class Walk(Protocol):
    """B rows on their way down."""

    @property
    def position(self) -> int: ...

    def states(self) -> States:
        """[B, *state_shape]."""

    def look(self, gradient: bool = False) -> View:
        """The rows as they are. With ``gradient``, ``clean`` is a leaf that gradients can be asked for."""

    def evaluate(self) -> None:
        """Spend now what the next step will need, before rows are copied that share it."""

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        """Go on with these rows, each as often as it is named."""

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Tensor:
        """Of log psi, computed from a ``look`` with ``gradient``, for ``step``."""

    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """To the next position, from the prior; returns log p/q of a proposal that guided or chooses."""

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        """Evaluations of each row since this was last asked."""


@runtime_checkable
class Walks(Protocol):
    """A chain with walks of its own; any other chain walks from branch level to branch level."""

    @property
    def level_positions(self) -> Int[np.ndarray, " levels"]:
        """Position of every branch level, the root's 0 first."""

    @property
    def supports_guidance(self) -> bool:
        """Whether steps can follow a gradient."""

    @property
    def can_choose(self) -> bool:
        """Whether several candidates can be looked at for the price of one."""

    def walk(self, states: States, position: int, problem: Int[np.ndarray, " B"]) -> Walk: ...


@runtime_checkable
class KnowsResiduals(Protocol):
    """A chain that knows how x_0 scatters about x0_hat."""

    def residuals(self, position: int, count: int) -> Float[np.ndarray, "P count T"]:
        """Draws of x_0 - x0_hat given a state at the position, for every problem, in the units of the data."""


def level_positions(chain: Chain, num_levels: int) -> Int[np.ndarray, " levels"]:
    """Where the branch levels of any chain lie among its positions."""
    return chain.level_positions if isinstance(chain, Walks) else np.arange(num_levels + 1)


def supports_guidance(chain: Chain) -> bool:
    """Whether the steps of the chain's walks can follow a gradient."""
    return isinstance(chain, Walks) and chain.supports_guidance


def can_choose(chain: Chain) -> bool:
    """Whether the steps of the chain's walks can choose among candidates."""
    return isinstance(chain, Walks) and chain.can_choose


def walk_from(chain: Chain, states: States, position: int, problem: Int[np.ndarray, " B"]) -> Walk:
    """The chain's own walk, or one by ``advance``."""
    if isinstance(chain, Walks):
        return chain.walk(states, position, problem)
    return LevelWalk(chain, states, position, problem)


def chosen(
    log_weights: Float[np.ndarray, "B K"], seeds: UInt64[np.ndarray, " B"], position: int
) -> tuple[Int[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """One candidate a row with probability softmax(log w), and log (mean w / its w)."""
    log_total = logsumexp(log_weights, axis=1, keepdims=True)
    cumulative = np.exp(log_weights - log_total).cumsum(1)
    u = uniforms(seeds, np.full(len(seeds), _CHOICE_STREAM + position), 1) * cumulative[:, -1:]
    pick = np.minimum((cumulative < u).sum(1), log_weights.shape[1] - 1)
    log_mean = log_total[:, 0] - np.log(log_weights.shape[1])
    return pick, log_mean - log_weights[np.arange(len(pick)), pick]


class LevelWalk:
    """A walk by ``Chain.advance``: positions are branch levels, there is no x0_hat, and steps do not lean."""

    def __init__(self, chain: Chain, states: States, position: int, problem: Int[np.ndarray, " B"]) -> None:
        self._chain, self._states, self._problem = chain, states, np.asarray(problem)
        self.position = position
        self._nfe = np.zeros(len(states), np.int64)

    def states(self) -> States:
        return self._states

    def look(self, gradient: bool = False) -> View:
        return View(self.position, self._problem, None, self._features)

    def evaluate(self) -> None:
        """There is nothing to share: a step is one draw."""

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        self._states, self._problem, self._nfe = self._states[rows], self._problem[rows], self._nfe[rows]

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Tensor:
        raise ValueError(f"{type(self._chain).__name__} has no gradients; use a method without them")

    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """Raises ValueError for a chain whose rows do not stay in step, as those that end early do not."""
        levels = np.full(len(self._states), self.position)
        step = self._chain.advance(self._states, levels, self._problem, seeds)
        self.position += 1
        if np.any(step.levels != self.position):
            raise ValueError(f"a row jumped from level {self.position - 1} to {step.levels.max()}; sweeps need steps")
        self._states = step.states
        self._nfe = self._nfe + step.nfe
        return None

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        spent, self._nfe = self._nfe, np.zeros(len(self._states), np.int64)
        return spent

    def _features(self) -> Tensor:
        levels = np.full(len(self._states), self.position)
        return torch.as_tensor(self._chain.features(self._states, levels, self._problem), dtype=torch.float32)
