"""A diffusion prior as a frozen Markov chain: Karras noise levels, ancestral steps, branch levels along the way.

    x_T ~ the noisy prior at sigma_max,    x_{i+1} ~ q(x_{i+1} | x_i, x_0 = D(x_i; sigma_i, c)),    i = 0..n-1

The chain knows its denoiser only by the ``Denoiser`` protocol: a trained network and an exact mixture step alike.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import Path, Problem, States, Step
from sadt_ray.processes.branching import branch_steps_by_name, checked_branch_steps
from sadt_ray.processes.schedule import karras_sigmas, posterior_coefficients
from sadt_ray.rng import normals

Conditioning = tuple[Tensor, ...]  # one row a problem, or a row of the batch once gathered


@runtime_checkable
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
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B W"]: ...

    def decode(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Tensor:
        """Clean states in the units of the data."""

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B F"]:
        """What a flow network may know of a state, without an evaluation of the denoiser."""


@runtime_checkable
class KnowsCleanSpread(Protocol):
    """A denoiser that knows how uncertain x_0 is. Its ancestral steps then carry that uncertainty along:

    Var(x_next | x) = spread^2 + (1 - keep)^2 Var(x_0 | x), the law of total variance over x_0 in q(x_next | x, x_0).
    Leaving the second term out, as DDPM does, loses variance when steps are few (Bao et al., *Analytic-DPM*, ICLR
    2022); with it the chain is exact for a Gaussian x_0 in any number of steps.
    """

    def clean_spread(self, sigma: Float[Tensor, " #B"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
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
    def sigmas(self) -> Float[np.ndarray, " levels"]:
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

    def with_device(self, device: str | torch.device) -> DiffusionProcess:
        """The same prior with a copy of its denoiser on another device."""
        denoiser = copy.deepcopy(self.denoiser)
        if isinstance(denoiser, torch.nn.Module):
            denoiser.to(device)
        return DiffusionProcess(denoiser, self.sampler, self.branch_steps, device)

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

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Each row's next branch level. Noise of denoising step i is stream i + 1 of the row's seed, x_T's stream 0."""
        levels = np.asarray(levels)
        path = self._run(states, levels, levels + 1, problem, seeds)
        out = np.empty_like(path.states)
        out[path.rows] = path.states
        return Step(out, levels + 1, path.nfe)

    def run_down(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Path:
        """Every row to x_0, with the states at all branch levels on the way."""
        levels = np.asarray(levels)
        return self._run(states, levels, np.full_like(levels, len(self._done) - 1), problem, seeds)

    @torch.inference_mode()
    def _run(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        goals: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Path:
        """From level ``levels`` to level ``goals``, in step: a row joins when the others arrive at its noise level.

        Rows are ordered by where they start. Whoever starts earlier does not finish later, so the moving rows are
        always a slice, and all of them are at one noise level.
        """
        if np.any(levels >= len(self._done) - 1):
            raise ValueError(f"level {int(levels.max())} is x_0 already; a chain goes on from levels below it")
        if len(levels) == 0:
            nothing = np.zeros(0, np.int64)
            return Path(nothing, nothing, np.zeros((0, self._denoiser.width), np.float32), nothing)
        order = np.argsort(levels, kind="stable")
        levels, goals, seeds = levels[order], goals[order], np.asarray(seeds)[order]
        first, last = self._done[levels], self._done[goals]
        conditioning = self._gather(np.asarray(problem)[order])
        x = self._start(np.asarray(states)[order], int(np.sum(levels == 0)), seeds, conditioning)
        rows, row_levels, row_states = [], [], []
        for level in range(int(levels[0]) + 1, int(goals[-1]) + 1):
            for step in range(max(self._done[level - 1], first[0]), self._done[level]):
                moving = slice(int(np.searchsorted(last, step, "right")), int(np.searchsorted(first, step, "right")))
                part = conditioning if moving == slice(0, len(x)) else tuple(column[moving] for column in conditioning)
                x[moving] = self._step(x[moving], step, seeds[moving], part)
            passing = slice(np.searchsorted(goals, level, "left"), np.searchsorted(levels, level, "left"))
            rows.append(order[passing])
            row_levels.append(np.full(len(rows[-1]), level))
            row_states.append(x[passing].cpu().numpy().copy())
        nfe = np.empty_like(first)
        nfe[order] = last - first
        return Path(np.concatenate(rows), np.concatenate(row_levels), np.concatenate(row_states), nfe)

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
        self, states: States, num_roots: int, seeds: UInt64[np.ndarray, " B"], conditioning: Conditioning
    ) -> Tensor:
        """The batch on the device; its first rows are roots and become draws of x_T."""
        x = self._tensor(states.copy())
        if num_roots:
            noise = self._tensor(normals(seeds[:num_roots], np.zeros(num_roots, np.int64), x.shape[1]))
            roots = tuple(column[:num_roots] for column in conditioning)
            x[:num_roots] = self._denoiser.initial(noise, self._sigma_max, roots)
        return x

    def _step(self, x: Tensor, step: int, seeds: UInt64[np.ndarray, " B"], conditioning: Conditioning) -> Tensor:
        """One ancestral step of rows at the same noise level."""
        sigma, keep, spread = self._step_table[:, step, None]
        denoised = self._denoiser.denoised(x, sigma, conditioning)
        if self._clean_spread is not None:
            clean = self._clean_spread(sigma, conditioning)
            spread = torch.sqrt(spread.square() + ((self._noise_scale * (1 - keep)) * clean).square())
        elif step == self._step_table.shape[1] - 1:  # x_0 = D: no noise is needed
            return denoised
        noise = self._tensor(normals(seeds, np.full(len(seeds), step + 1), x.shape[1]))
        return torch.lerp(denoised, x, keep).addcmul_(noise, spread)

    def _gather(self, problem: Int[np.ndarray, " B"]) -> Conditioning:
        index = self._index(problem)
        return tuple(column[index] for column in self._conditioning)

    def _index(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self._device)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, np.float32), device=self._device)
