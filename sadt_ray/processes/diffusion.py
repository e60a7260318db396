"""A diffusion prior as a frozen Markov chain: Karras noise levels, ancestral steps, branch levels along the way.

    x_T ~ the noisy prior at sigma_max,    x_{i+1} ~ q(x_{i+1} | x_i, x_0 = D(x_i; sigma_i, c)),    i = 0..n-1

The chain knows its denoiser only by the ``Denoiser`` protocol: a trained network and an exact mixture step alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import Problem, States, Step
from sadt_ray.processes.branching import branch_steps_by_name, checked_branch_steps
from sadt_ray.processes.schedule import karras_sigmas, posterior_coefficients
from sadt_ray.rng import normals

Conditioning = tuple[Tensor, ...]  # one row a problem, or a row of the batch once gathered


class Denoiser(Protocol):
    """D(x; sigma, c) = E[x_0 | x_0 + sigma * epsilon = x, c], with the units of its states."""

    @property
    def width(self) -> int:
        """Length of a state."""

    def encode(self, problems: Sequence[Problem], device: torch.device) -> Conditioning:
        """What the other methods need of each problem: tensors of P rows. Raises ValueError naming a problem."""

    def initial(self, noise: Float[Tensor, "B W"], sigma: float, conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """x_T at noise level ``sigma`` from standard normal ``noise``."""

    def denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " B"], conditioning: Conditioning
    ) -> Float[Tensor, "B W"]: ...

    def decode(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Tensor:
        """Clean states in the units of the data."""

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " B"], conditioning: Conditioning
    ) -> Float[Tensor, "B F"]:
        """What a flow network may know of a state, without an evaluation of the denoiser."""


@runtime_checkable
class KnowsCleanSpread(Protocol):
    """A denoiser that knows how uncertain x_0 is. Its ancestral steps then carry that uncertainty along:

    Var(x_next | x) = spread^2 + (1 - keep)^2 Var(x_0 | x), the law of total variance over x_0 in q(x_next | x, x_0).
    Leaving the second term out, as DDPM does, loses variance when steps are few (Bao et al., *Analytic-DPM*, ICLR
    2022); with it the chain is exact for a Gaussian x_0 in any number of steps.
    """

    def clean_spread(self, sigma: Float[Tensor, " B"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """sd(x_0 | x) along each coordinate, of coordinates that are independent given x."""


@dataclass(frozen=True)
class SamplerConfig:
    """How the chain is discretised. Every step costs one evaluation of the denoiser.

    Attributes:
        num_steps: denoising steps from sigma_max to 0.
        sigma_min, sigma_max, rho: the Karras schedule, in the units of the states.
        noise_scale: factor on the noise of every step; slightly above 1 makes up for a denoiser that was trained to
            shrink (Karras et al. 2022, S_noise).
    """

    num_steps: int = 16
    sigma_min: float = 0.02
    sigma_max: float = 5.0
    rho: float = 7.0
    noise_scale: float = 1.0

    @property
    def sigmas(self) -> Float[np.ndarray, " num_steps+1"]:
        return karras_sigmas(self.num_steps, self.sigma_min, self.sigma_max, self.rho)


class DiffusionProcess:
    """The ``GenerativeProcess`` of a denoiser. Immutable: the ``with_`` methods return another one.

    Args:
        denoiser: what is stepped.
        sampler: its discretisation.
        branch_steps: numbers of denoising steps after which a state becomes a tree node, ascending, the last one
            ``num_steps``; 0 stands for x_T itself. Or the name of a preset in ``branching.PRESETS``.
        device: where the tensors live.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sampler: SamplerConfig | None = None,
        branch_steps: Sequence[int] | str = "published",
        device: str | torch.device = "cpu",
    ) -> None:
        self.denoiser = denoiser
        self.sampler = sampler or SamplerConfig()
        self.device = torch.device(device)
        if isinstance(branch_steps, str):
            self.branch_steps = branch_steps_by_name(branch_steps, self.sampler.sigmas)
        else:
            self.branch_steps = checked_branch_steps(branch_steps, self.sampler.num_steps)

    @property
    def num_levels(self) -> int:
        return len(self.branch_steps)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.denoiser.width,)

    @property
    def state_dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> DiffusionProcess:
        """The same prior with other branch levels."""
        return DiffusionProcess(self.denoiser, self.sampler, branch_steps, self.device)

    def with_sampler(self, branch_steps: Sequence[int] | str = "published", **changes: Any) -> DiffusionProcess:
        """The same denoiser discretised differently: ``changes`` are fields of ``SamplerConfig``."""
        return DiffusionProcess(self.denoiser, replace(self.sampler, **changes), branch_steps, self.device)

    def bind(self, problems: Sequence[Problem]) -> DiffusionChain:
        """Encode every problem's conditioning, once. Raises ValueError naming a problem that does not fit."""
        if not problems:
            raise ValueError("bind got no problems; give at least one")
        with torch.inference_mode():
            return DiffusionChain(self, self.denoiser.encode(problems, self.device), len(problems))


class DiffusionChain:
    """A diffusion process bound to problems. Level l > 0 is the state after ``branch_steps[l - 1]`` denoising steps."""

    def __init__(self, process: DiffusionProcess, conditioning: Conditioning, num_problems: int) -> None:
        self._denoiser = process.denoiser
        self._device = process.device
        self._conditioning = conditioning
        self._num_problems = num_problems
        sigmas = process.sampler.sigmas
        keep, spread = posterior_coefficients(sigmas)
        self._sigma_max = float(sigmas[0])
        self._step_table = self._tensor(np.stack([sigmas[:-1], keep, spread * process.sampler.noise_scale]))
        self._noise_scale = process.sampler.noise_scale
        self._clean_spread = self._denoiser.clean_spread if isinstance(self._denoiser, KnowsCleanSpread) else None
        self._done = np.array((0, *process.branch_steps))  # denoising steps behind a state of each level
        self._level_sigma = self._tensor(sigmas[self._done])

    def root_states(self) -> States:
        """Zeros: nothing is sampled yet at the root, the dummy x_{T+1} of DTS."""
        return np.zeros((self._num_problems, self._denoiser.width), np.float32)

    @torch.inference_mode()
    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Each row's next branch level. Noise of denoising step i is stream i + 1 of the row's seed; x_T's is stream 0.

        Rows are ordered by the steps that lie before them, so that those still moving are always a leading slice.
        """
        levels = np.asarray(levels)
        if np.any(levels >= len(self._done) - 1):
            raise ValueError(f"level {int(levels.max())} is x_0 already; advance takes levels below it")
        nfe = self._done[levels + 1] - self._done[levels]
        order = np.argsort(-nfe, kind="stable")
        seeds, first, steps = np.asarray(seeds)[order], self._done[levels][order], nfe[order]
        conditioning = self._gather(np.asarray(problem)[order])
        x = self._start(np.asarray(states)[order], levels[order] == 0, seeds, conditioning)
        moving = np.searchsorted(-steps, -np.arange(steps.max()), side="left")
        for done, count in enumerate(moving):
            part = conditioning if count == len(x) else tuple(column[:count] for column in conditioning)
            x[:count] = self._step(x[:count], first[:count] + done, seeds[:count], part)
        out = np.empty((len(x), x.shape[1]), np.float32)
        out[order] = x.cpu().numpy()
        return Step(out, levels + 1, nfe)

    @torch.inference_mode()
    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, "B W"]:
        """Samples in the units of the problems' contexts."""
        return self._denoiser.decode(self._tensor(states), self._gather(problem)).cpu().numpy()

    @torch.inference_mode()
    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """The denoiser's features of the states at their noise levels; no evaluation of the denoiser."""
        sigma = self._level_sigma[self._index(levels)]
        return self._denoiser.features(self._tensor(states), sigma, self._gather(problem)).cpu().numpy()

    @torch.inference_mode()
    def predict_clean(self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]) -> States:
        """x0_hat = D(x_t; sigma_t, c), one evaluation a row. Roots look ahead from the mean of x_T; x_0 is itself."""
        levels, conditioning = np.asarray(levels), self._gather(problem)
        x = self._tensor(states)
        sigma = self._level_sigma[self._index(levels)]
        root, clean = self._tensor(levels == 0).bool(), sigma == 0
        start = self._denoiser.initial(torch.zeros_like(x), self._sigma_max, conditioning)
        x = torch.where(root[:, None], start, x)
        denoised = self._denoiser.denoised(x, torch.where(clean, self._step_table[0, -1], sigma), conditioning)
        return torch.where(clean[:, None], x, denoised).cpu().numpy()

    def _start(
        self, states: States, root: np.ndarray, seeds: UInt64[np.ndarray, " B"], conditioning: Conditioning
    ) -> Tensor:
        """The batch on the device, roots replaced by draws of x_T."""
        x = self._tensor(states)
        if root.any():
            rows = np.flatnonzero(root)
            index = self._index(rows)
            noise = self._tensor(normals(seeds[rows], np.zeros(len(rows), np.int64), x.shape[1]))
            x[index] = self._denoiser.initial(noise, self._sigma_max, tuple(column[index] for column in conditioning))
        return x

    def _step(
        self, x: Tensor, step: Int[np.ndarray, " B"], seeds: UInt64[np.ndarray, " B"], conditioning: Conditioning
    ) -> Tensor:
        """One ancestral step of rows that each stand at a denoising step of their own."""
        sigma, keep, spread = self._step_table[:, self._index(step), None]
        denoised = self._denoiser.denoised(x, sigma[:, 0], conditioning)
        if self._clean_spread is not None:
            clean = self._clean_spread(sigma[:, 0], conditioning)
            spread = torch.sqrt(spread.square() + ((self._noise_scale * (1 - keep)) * clean).square())
        elif step.min() == self._step_table.shape[1] - 1:  # every row arrives at x_0 = D: no noise is needed
            return denoised
        noise = self._tensor(normals(seeds, step + 1, x.shape[1]))
        return torch.lerp(denoised, x, keep).addcmul_(noise, spread)

    def _gather(self, problem: Int[np.ndarray, " B"]) -> Conditioning:
        index = self._index(problem)
        return tuple(column[index] for column in self._conditioning)

    def _index(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self._device)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, np.float32), device=self._device)
