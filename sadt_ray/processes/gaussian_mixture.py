"""Gaussian mixtures under variance-exploding noise: exact denoiser, exact reverse chain, closed-form soft values.

The 25 -> 9 benchmark (DTS, arXiv 2506.20701) has a prior of 25 modes, a posterior of 9 modes and the reward
r = log p_post - log p_prior. At lambda = 1 the target is the posterior and Z = 1. The soft value of a noisy state is
then the log ratio of two densities:

    exp V_t(x_t) = E[ p_post(x_0) / p_prior(x_0) | x_t ] = p_post,t(x_t) / p_prior,t(x_t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from scipy.special import logsumexp
from torch import Tensor

from sadt_ray.interfaces import Problem, Scorer, States, Step
from sadt_ray.numerics.rng import normals, uniforms
from sadt_ray.processes.branching import branch_steps_by_name, checked_branch_steps
from sadt_ray.processes.schedule import karras_sigmas

NoiseLevel = float | np.ndarray  # one value for all rows, or [B]


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k w_k N(m_k, sd^2 I).

    Attributes:
        means: means m_k of the components [K, W].
        weights: weights w_k [K]; they sum to one.
        sd: standard deviation of every component in every direction.

    Raises ValueError if weights and means do not match, the weights do not sum to one, or ``sd`` is not positive.
    """

    means: Float[np.ndarray, "K W"]
    weights: Float[np.ndarray, " K"]
    sd: float

    def __post_init__(self) -> None:
        if len(self.means) != len(self.weights) or not np.isclose(np.sum(self.weights), 1) or self.sd <= 0:
            raise ValueError(
                f"a mixture needs as many weights as means ({len(self.weights)} and {len(self.means)}), weights that "
                f"sum to one ({np.sum(self.weights)}) and sd > 0 ({self.sd})"
            )

    def log_joint(self, x: Float[np.ndarray, "B W"], sigma: NoiseLevel) -> Float[np.ndarray, "B K"]:
        """log w_k N(x; m_k, (sd^2 + sigma^2) I) of each component of the noisy mixture."""
        variance = np.broadcast_to(self.sd**2 + np.square(sigma), len(x))[:, None]
        squares = ((x[:, None, :] - self.means) ** 2).sum(-1)
        return np.log(self.weights) - squares / (2 * variance) - x.shape[1] / 2 * np.log(2 * np.pi * variance)

    def log_density(self, x: Float[np.ndarray, "B W"], sigma: NoiseLevel) -> Float[np.ndarray, " B"]:
        """log p_sigma(x), the density of x = x_0 + sigma epsilon."""
        return logsumexp(self.log_joint(x, sigma), axis=1)

    def posterior(self, x: Float[np.ndarray, "B W"], sigma: NoiseLevel) -> Float[np.ndarray, "B K"]:
        """p(component | x) at noise level sigma."""
        log_joint = self.log_joint(x, sigma)
        return np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))

    def nearest_mode(self, x: Float[np.ndarray, "B W"]) -> Int[np.ndarray, " B"]:
        """Index of the component whose mean is closest."""
        return ((x[:, None, :] - self.means) ** 2).sum(-1).argmin(1)


def grid_prior() -> GaussianMixture:
    """The 5 x 5 grid {-10, -5, 0, 5, 10}^2 with sd sqrt(0.3) and equal weights."""
    axis = np.arange(-10.0, 11.0, 5.0)
    means = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return GaussianMixture(means, np.full(25, 1 / 25), float(np.sqrt(0.3)))


def nine_mode_posterior() -> GaussianMixture:
    """Nine modes of the grid with weights 4, 10, 4, 5, 10, 5, 4, 15, 4 (normalised)."""
    means = [(-10, -5), (-5, -10), (-5, 0), (10, -5), (0, 0), (0, 5), (5, -5), (5, 0), (5, 10)]
    weights = np.array([4, 10, 4, 5, 10, 5, 4, 15, 4], float)
    return GaussianMixture(np.array(means, float), weights / weights.sum(), float(np.sqrt(0.3)))


@dataclass(frozen=True)
class DensityRatioReward:
    """r(x_0) = log p_post(x_0) - log p_prior(x_0): at lambda = 1 the posterior is the target and Z = 1."""

    prior: GaussianMixture
    posterior: GaussianMixture
    oracle: bool = False

    def bind(self, problems: Sequence[Problem]) -> Scorer:
        return lambda samples, problem: self.soft_value(samples, 0.0)

    def soft_value(self, x: Float[np.ndarray, "B W"], sigma: float) -> Float[np.ndarray, " B"]:
        """V_t(x_t) at lambda = 1 in closed form."""
        return self.posterior.log_density(x, sigma) - self.prior.log_density(x, sigma)


class GaussianMixtureProcess:
    """The exact reverse chain of a mixture: x_s | x_t is itself a mixture of Gaussians, for any s < t.

    Given component k, x_s ~ N(m_k + (u_s / u_t)(x_t - m_k), u_s (sigma_t^2 - sigma_s^2) / u_t), u = sd^2 + sigma^2.
    There is no discretisation error, so every closed form holds exactly. One draw leads from a branch level to the
    next. It counts as many evaluations as a sampler would need: one per step of the schedule.

    Args:
        mixture: distribution of x_0.
        num_steps, sigma_min, sigma_max: Karras schedule. x_T is drawn from the noisy mixture.
        branch_steps: numbers of steps or the name of a preset, as for ``DiffusionProcess``.
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        num_steps: int = 100,
        sigma_min: float = 0.02,
        sigma_max: float = 80.0,
        branch_steps: Sequence[int] | str = "published",
    ) -> None:
        self.mixture = mixture
        self._schedule = (num_steps, sigma_min, sigma_max)
        self.sigmas = karras_sigmas(num_steps, sigma_min, sigma_max)
        if isinstance(branch_steps, str):
            self.branch_steps = branch_steps_by_name(branch_steps, self.sigmas)
        else:
            self.branch_steps = checked_branch_steps(branch_steps, num_steps)

    @property
    def num_levels(self) -> int:
        return len(self.branch_steps)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.mixture.means.shape[1],)

    @property
    def state_dtype(self) -> np.dtype:
        return np.dtype(np.float64)

    def level_sigma(self, level: int) -> float:
        """Noise level of the states at a branch level, 1 to num_levels."""
        return float(self.sigmas[self.branch_steps[level - 1]])

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> GaussianMixtureProcess:
        return GaussianMixtureProcess(self.mixture, *self._schedule, branch_steps)

    def bind(self, problems: Sequence[Problem]) -> MixtureChain:
        return MixtureChain(self, len(problems))


class MixtureChain:
    """The process bound to problems. All problems have the same distribution."""

    def __init__(self, process: GaussianMixtureProcess, num_problems: int) -> None:
        self._mixture = process.mixture
        self._num_problems = num_problems
        self._steps = np.array((0, *process.branch_steps))
        self._variance = process.mixture.sd**2 + process.sigmas[self._steps] ** 2  # u of each level; the root has x_T's

    def root_states(self) -> States:
        return np.zeros((self._num_problems, self._mixture.means.shape[1]))

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Draw x_s given x_t exactly; from the root, draw from the noisy mixture at s."""
        u_t, u_s = self._variance[levels], self._variance[levels + 1]
        sigma_t = np.sqrt(u_t - self._mixture.sd**2)
        root = (levels == 0)[:, None]
        component_probs = np.where(root, self._mixture.weights, self._mixture.posterior(states, sigma_t))
        pick = uniforms(seeds, levels, 1)
        component = np.minimum((pick > np.cumsum(component_probs, axis=1)).sum(1), component_probs.shape[1] - 1)
        mean = self._mixture.means[component]
        shrink, spread = u_s / u_t, np.sqrt(u_s * (u_t - u_s) / u_t)
        centre = np.where(root, mean, mean + shrink[:, None] * (states - mean))
        spread = np.where(levels == 0, np.sqrt(u_s), spread)
        noise = normals(seeds, levels, states.shape[1], np.float64)
        nfe = self._steps[levels + 1] - self._steps[levels]
        return Step(centre + spread[:, None] * noise, levels + 1, nfe)

    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> np.ndarray:
        return states

    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """The state and the logarithm of its standard deviation."""
        return np.column_stack([states, 0.5 * np.log(self._variance[levels])])


class MixtureDenoiser:
    """D(x; sigma) = E[x_0 | x] = sum_k p(k | x) (m_k + sd^2 / (sd^2 + sigma^2) (x - m_k)), for ``DiffusionProcess``.

    The denoiser is exact. A diffusion chain that uses it still has the discretisation error of its sampler.
    """

    def __init__(self, mixture: GaussianMixture) -> None:
        self._mixture = mixture
        self.width = mixture.means.shape[1]

    def encode(self, problems: Sequence[Problem], device: torch.device) -> tuple[Tensor, ...]:
        return (torch.zeros(len(problems), 0, device=device),)

    def initial(
        self, noise: Float[Tensor, "B W"], sigma: float, conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B W"]:
        """Gaussian x_T with mean zero and variance sigma^2 + the mixture's variance, averaged over directions."""
        spread = float(np.sqrt(self._mixture.sd**2 + (self._mixture.weights @ self._mixture.means**2).mean()))
        return noise * float(np.hypot(sigma, spread))

    def denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B W"]:
        x_np, sigma_np = x.double().cpu().numpy(), sigma.double().cpu().numpy()
        expected_mean = self._mixture.posterior(x_np, sigma_np) @ self._mixture.means
        shrink = (self._mixture.sd**2 / (self._mixture.sd**2 + sigma_np**2))[:, None]
        return torch.as_tensor(expected_mean + shrink * (x_np - expected_mean), dtype=x.dtype, device=x.device)

    def decode(self, x: Float[Tensor, "B W"], conditioning: tuple[Tensor, ...]) -> Tensor:
        return x

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B F"]:
        return torch.column_stack([x, sigma])
