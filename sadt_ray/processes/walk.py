"""Walks: a chain step by step, as a particle system runs it.

A *walk* takes a batch of rows to x_0. All rows are at one position. At every position a caller can look at the rows
(``look`` gives a ``View``), copy and drop rows (``take``) and move them on (``step``). A step is drawn from the prior
p, or from a proposal q that follows a gradient or chooses among candidates; ``step`` then returns log p/q.

Positions count the finest steps of the chain: 0 is the root, ``num_positions`` - 1 is x_0. Each branch level has a
position.
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
from sadt_ray.numerics.clean_law import CleanLaw
from sadt_ray.numerics.rng import uniforms

_CHOICE_STREAM = 1 << 25  # plus the position: the stream of the draw among candidates


@dataclass(frozen=True)
class View:
    """B rows at one position: the input of a twist.

    Attributes:
        position: position of all rows.
        problem: problem of each row.
        clean: x0_hat = E[x_0 | x_t] in the units of the data, float32 [B, ...]. It comes from the denoiser or from its
            cheap draft (``draft_denoised``). None if the chain cannot predict x_0.
        features: function that computes the features [B, F] of the states.
        law: law of x_0 given x_t, about the same x0_hat; None if the chain does not know it.
    """

    position: int
    problem: Int[np.ndarray, " B"]
    clean: Tensor | None
    features: Callable[[], Tensor]
    law: CleanLaw | None = None


class Choice(NamedTuple):
    """A step that draws several candidates per row and chooses one with probability proportional to psi.

    The ratio p/q of the chosen candidate is the mean of psi over the candidates, divided by psi of the chosen one. This
    is unbiased for any psi: it is importance sampling in the space of all candidates. It is the step of SVDD (Li et
    al., *Derivative-free guidance in continuous and discrete diffusion models with soft value-based decoding*, 2024),
    with the weight that makes it exact.

    Attributes:
        candidates: number of candidates per row.
        log_twist: log psi of the candidates.
    """

    candidates: int
    log_twist: Callable[[View], Tensor]


@runtime_checkable
class Walk(Protocol):
    """B rows at one position, on their way to x_0."""

    @property
    def position(self) -> int:
        """Position of all rows."""

    def states(self) -> States:
        """The states [B, *state_shape]."""

    def look(self, gradient: bool = False) -> View:
        """A view of the rows. With ``gradient``, ``clean`` is a leaf tensor for ``Walk.gradient``."""

    def evaluate(self) -> None:
        """Do the evaluation that the next step needs now, so that copies of a row share it."""

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        """Keep these rows alone. A row that is named twice is copied."""

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Tensor:
        """Gradient of log psi with respect to x0_hat. ``log_twist`` was computed from ``look(gradient=True)``."""

    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """Move all rows to the next position.

        Args:
            seeds: one seed per row.
            gradient: gradient that the proposal follows; None for the prior.
            choice: how to choose among several candidates; None for one candidate.

        Returns:
            log p/q of each row; None if the step was drawn from the prior.
        """

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        """Function evaluations of each row since the last call."""


@runtime_checkable
class StartsFromNoise(Protocol):
    """A walk at the root whose x_T is a function of standard normal noise, so that x_T can be proposed too."""

    @property
    def noise_width(self) -> int:
        """Number of standard normal numbers per row."""

    def view_from(self, noise: Float[Tensor, "B width"]) -> View:
        """The view of x_T made of this noise, by the draft of x0_hat: no evaluation. Gradients flow to ``noise``."""

    def start(self, noise: Float[Tensor, "B width"]) -> None:
        """Move all rows from the root to the x_T made of this noise."""


@runtime_checkable
class Walks(Protocol):
    """A chain with walks of its own. Any other chain walks from branch level to branch level (``LevelWalk``)."""

    @property
    def level_positions(self) -> Int[np.ndarray, " levels"]:
        """Position of each branch level, from the root (0) to x_0."""

    @property
    def supports_guidance(self) -> bool:
        """Whether steps can follow a gradient."""

    @property
    def can_choose(self) -> bool:
        """Whether steps can choose among candidates at the cost of one."""

    def walk(self, states: States, position: int, problem: Int[np.ndarray, " B"]) -> Walk:
        """Start a walk of B rows at a position."""


@runtime_checkable
class KnowsResiduals(Protocol):
    """A chain that knows the distribution of x_0 about x0_hat."""

    def residuals(self, position: int, count: int) -> Float[np.ndarray, "P count T"]:
        """Draws of x_0 - x0_hat given a state at the position: ``count`` per problem, in the units of the data."""


@runtime_checkable
class KnowsLaw(Protocol):
    """A chain whose views may have the law of x_0 given x_t."""

    @property
    def knows_law(self) -> bool:
        """Whether they have."""

    @property
    def decodes_affinely(self) -> bool:
        """Whether decoding is affine, so that ``residuals`` do not depend on x0_hat."""


def level_positions(chain: Chain, num_levels: int) -> Int[np.ndarray, " levels"]:
    """Position of each branch level of any chain, from the root (0) to x_0."""
    return chain.level_positions if isinstance(chain, Walks) else np.arange(num_levels + 1)


def supports_guidance(chain: Chain) -> bool:
    """Whether the chain's walks can follow a gradient."""
    return isinstance(chain, Walks) and chain.supports_guidance


def can_choose(chain: Chain) -> bool:
    """Whether the chain's walks can choose among candidates."""
    return isinstance(chain, Walks) and chain.can_choose


def starts_from_noise(chain: Chain) -> bool:
    """Whether the chain's walks start from noise, see ``StartsFromNoise``."""
    first = np.zeros(1, np.int64)
    return isinstance(chain, Walks) and isinstance(chain.walk(chain.root_states()[:1], 0, first), StartsFromNoise)


def walk_from(chain: Chain, states: States, position: int, problem: Int[np.ndarray, " B"]) -> Walk:
    """Start the chain's own walk, or a ``LevelWalk`` if it has none."""
    if isinstance(chain, Walks):
        return chain.walk(states, position, problem)
    return LevelWalk(chain, states, position, problem)


def chosen(
    log_weights: Float[np.ndarray, "B K"], seeds: UInt64[np.ndarray, " B"], position: int
) -> tuple[Int[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Draw one of K candidates per row with probability softmax(log w).

    Returns:
        The candidate of each row, 0 to K - 1, and log (mean w / w of the candidate).
    """
    log_total = logsumexp(log_weights, axis=1, keepdims=True)
    cumulative = np.exp(log_weights - log_total).cumsum(1)
    u = uniforms(seeds, np.full(len(seeds), _CHOICE_STREAM + position), 1) * cumulative[:, -1:]
    pick = np.minimum((cumulative < u).sum(1), log_weights.shape[1] - 1)
    log_mean = log_total[:, 0] - np.log(log_weights.shape[1])
    return pick, log_mean - log_weights[np.arange(len(pick)), pick]


class LevelWalk:
    """A walk by ``Chain.advance``. Positions are branch levels; there is no x0_hat and no guidance."""

    def __init__(self, chain: Chain, states: States, position: int, problem: Int[np.ndarray, " B"]) -> None:
        self._chain, self._states, self._problem = chain, states, np.asarray(problem)
        self.position = position
        self._nfe = np.zeros(len(states), np.int64)

    def states(self) -> States:
        return self._states

    def look(self, gradient: bool = False) -> View:
        return View(self.position, self._problem, None, self._features)

    def evaluate(self) -> None:
        """Does nothing: a step is one draw, and copies share no evaluation."""

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        self._states, self._problem, self._nfe = self._states[rows], self._problem[rows], self._nfe[rows]

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Tensor:
        raise ValueError(f"{type(self._chain).__name__} has no gradients; use a method without them")

    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """Draw the next branch level from the prior. Raises ValueError if a row ends early."""
        levels = np.full(len(self._states), self.position)
        step = self._chain.advance(self._states, levels, self._problem, seeds)
        self.position += 1
        if np.any(step.levels != self.position):
            raise ValueError(
                f"a row jumped from level {self.position - 1} to {step.levels.max()}; a particle system needs rows "
                "that reach every level"
            )
        self._states = step.states
        self._nfe = self._nfe + step.nfe
        return None

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        spent, self._nfe = self._nfe, np.zeros(len(self._states), np.int64)
        return spent

    def _features(self) -> Tensor:
        levels = np.full(len(self._states), self.position)
        return torch.as_tensor(self._chain.features(self._states, levels, self._problem), dtype=torch.float32)
