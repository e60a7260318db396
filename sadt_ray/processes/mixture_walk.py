"""Walks down the exact chain of a mixture: single steps where a twist chooses, longer leaps elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import Problem, States
from sadt_ray.numerics.rng import normals, uniforms
from sadt_ray.processes.gaussian_mixture import GaussianMixtureProcess, MixtureChain
from sadt_ray.processes.walk import Choice, View, chosen

_WAVES = 2 * np.pi / np.array([40.0, 20.0, 10.0, 5.0])


class WalkedMixtureProcess(GaussianMixtureProcess):
    """A ``GaussianMixtureProcess`` with positions between its branch levels.

    Args:
        walk_steps: steps of the schedule at which a walk stops, ascending; branch steps are added.
    """

    def __init__(self, *args: object, walk_steps: Sequence[int], **settings: object) -> None:
        super().__init__(*args, **settings)  # type: ignore[arg-type]
        self._walk_steps = tuple(walk_steps)
        self.walk_steps = tuple(sorted({*walk_steps, *self.branch_steps}))

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> WalkedMixtureProcess:
        return WalkedMixtureProcess(self.mixture, *self._schedule, branch_steps, walk_steps=self._walk_steps)

    def bind(self, problems: Sequence[Problem]) -> WalkedMixtureChain:
        return WalkedMixtureChain(self, len(problems))


class WalkedMixtureChain(MixtureChain):
    """The process bound to problems. Candidates share the one evaluation that gives the law of the next state."""

    supports_guidance = False
    can_choose = True

    def __init__(self, process: WalkedMixtureProcess, num_problems: int) -> None:
        super().__init__(process, num_problems)
        self.mixture = process.mixture
        self.steps = np.array((0, *process.walk_steps))  # step of each position; the root counts as x_T
        self.variance = process.mixture.sd**2 + process.sigmas[self.steps] ** 2
        self.level_positions = np.append(0, 1 + np.searchsorted(process.walk_steps, process.branch_steps))

    def walk(self, states: States, position: int, problem: Int[np.ndarray, " B"]) -> MixtureWalk:
        return MixtureWalk(self, states, position, problem)


class MixtureWalk:
    """A walk of B rows."""

    def __init__(
        self, chain: WalkedMixtureChain, states: States, position: int, problem: Int[np.ndarray, " B"]
    ) -> None:
        self._chain, self._states, self._problem, self.position = chain, states, np.asarray(problem), position
        self._nfe = np.zeros(len(states), np.int64)

    def states(self) -> States:
        return self._states

    def look(self, gradient: bool = False) -> View:
        return self._view(self.position, self._states, self._problem)

    def evaluate(self) -> None:
        """Does nothing: copies of a row share no evaluation."""

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        self._states, self._problem, self._nfe = self._states[rows], self._problem[rows], self._nfe[rows]

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Tensor:
        raise ValueError("the exact steps of a mixture have no guidance; use a method without gradients")

    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """Move to the next position. A leap over several steps of the schedule always comes from the prior."""
        leap = int(self._chain.steps[self.position + 1] - self._chain.steps[self.position])
        count = 1 if choice is None or leap != 1 else choice.candidates
        candidates = self._drawn(seeds, count)
        self._nfe += leap
        self.position += 1
        if choice is None or count == 1:
            self._states = candidates[:, 0]
            return None
        rows = np.repeat(np.arange(len(seeds)), count)
        view = self._view(self.position, candidates.reshape(len(rows), -1), self._problem[rows])
        log_weights = choice.log_twist(view).double().cpu().numpy().reshape(-1, count)
        pick, log_ratio = chosen(log_weights, seeds, self.position - 1)
        self._states = candidates[np.arange(len(pick)), pick]
        return log_ratio

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        spent, self._nfe = self._nfe, np.zeros(len(self._states), np.int64)
        return spent

    def _drawn(self, seeds: np.ndarray, count: int) -> Float[np.ndarray, "B count W"]:
        """Draw from p(x_s | x_t) exactly; at the root, draw from the noisy mixture. See ``GaussianMixtureProcess``."""
        mixture, (u_t, u_s) = self._chain.mixture, self._chain.variance[self.position : self.position + 2]
        batch, width = self._states.shape
        stream = np.full(batch, self.position)
        pick = uniforms(seeds, stream, count)
        if self.position == 0:
            share, spread = np.broadcast_to(mixture.weights, (batch, len(mixture.weights))), np.sqrt(u_s)
        else:
            share = mixture.posterior(self._states, np.sqrt(u_t - mixture.sd**2))
            spread = np.sqrt(u_s * (u_t - u_s) / u_t)
        cumulative = np.cumsum(share, axis=1)[:, None, :-1]
        mean = mixture.means[(pick[:, :, None] > cumulative).sum(-1)]
        centre = mean if self.position == 0 else mean + u_s / u_t * (self._states[:, None] - mean)
        return centre + spread * normals(seeds, stream, count * width, np.float64).reshape(batch, count, width)

    def _view(self, position: int, states: States, problem: Int[np.ndarray, " N"]) -> View:
        log_sd = 0.5 * np.log(self._chain.variance[position])
        return View(position, problem, None, lambda: torch.as_tensor(_features(states, log_sd), dtype=torch.float32))


def _features(states: States, log_sd: float) -> Float[np.ndarray, "B F"]:
    """The state, the log of its standard deviation, and sines and cosines with periods 40, 20, 10 and 5."""
    phases = (states[:, :, None] * _WAVES).reshape(len(states), -1)
    return np.column_stack([states, np.full(len(states), log_sd), np.sin(phases), np.cos(phases)])
