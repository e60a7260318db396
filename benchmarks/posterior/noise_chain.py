"""A diffusion chain as a deterministic function of its Gaussian noises, for samplers that move in noise space.

With z_0 the noise of x_T and z_i that of denoising step i, x_0 = f(z_0, ..., z_n) and every z_i is standard normal
under the prior. A posterior over x_0 is then a posterior over z with the density N(z; 0, I) exp(lambda r(f(z))) / Z,
which needs no density of the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.processes.diffusion import DiffusionProcess, KnowsCleanSpread
from sadt_ray.processes.schedule import posterior_coefficients


class Population(NamedTuple):
    """N runs of a chain: their noises, where they lead, and the states in between from which a block starts again."""

    noise: Float[Tensor, "N noises W"]
    entries: Float[Tensor, "N blocks W"]
    samples: Float[Tensor, "N W"]  # in the units of the data
    rewards: Float[Tensor, " N"]  # doubles
    roots: Int[Tensor, " N"]  # which of the first population's runs this one descends from

    def take(self, rows: np.ndarray) -> Population:
        """The runs at ``rows``."""
        index = torch.as_tensor(rows)
        return Population(*(column[index] for column in self))

    def replaced(self, other: Population, where: Bool[Tensor, " N"]) -> Population:
        """This population with the rows of another one at ``where``."""
        chosen = (
            torch.where(where.view(-1, *[1] * (mine.ndim - 1)), new, mine)
            for mine, new in zip(self, other, strict=True)
        )
        return Population(*chosen)


class NoiseChain:
    """One problem's chain and reward as a function of the noises, restartable at the first noise of every block.

    Args:
        process: the prior.
        problem: what it is bound to.
        reward: scores the samples.
        blocks: the first noise of each block, ascending from 0; a block ends where the next one starts.

    Raises:
        ValueError: for blocks that are not ascending numbers of noises from 0.
    """

    def __init__(self, process: DiffusionProcess, problem: Problem, reward: Reward, blocks: Sequence[int]) -> None:
        self.num_steps = process.sampler.num_steps
        self.num_noises, self.width = self.num_steps + 1, process.denoiser.width
        if list(blocks) != sorted({0, *blocks}) or blocks[-1] > self.num_steps:
            raise ValueError(
                f"blocks are the first of the noises 0..{self.num_steps} of each block, ascending from 0, got {blocks}"
            )
        self.blocks = [slice(*ends) for ends in zip(blocks, (*blocks[1:], self.num_noises), strict=True)]
        self._sigmas = process.sampler.sigmas.tolist()
        self._keep, self._spread = posterior_coefficients(process.sampler.sigmas)
        self._noise_scale = process.sampler.noise_scale
        self._denoiser, self._device = process.denoiser, process.device
        self._scorer = reward.bind([problem])
        with torch.inference_mode():
            self._conditioning = self._denoiser.encode([problem], self._device)

    def steps_from(self, block: int) -> int:
        """Evaluations of the denoiser that a run costs from a block's first noise on; noise i enters at step i - 1."""
        return self.num_steps - max(self.blocks[block].start - 1, 0)

    def population(self, noise: Float[Tensor, "N steps+1 W"]) -> Population:
        """Runs from given noises, each its own root."""
        entries = noise.new_zeros(len(noise), len(self.blocks), self.width)
        return self._run(noise, entries, 0, torch.arange(len(noise)))

    def again(self, before: Population, block: int, noise: Float[Tensor, "N steps+1 W"]) -> Population:
        """The runs of ``before`` with other noises from a block's first noise on."""
        return self._run(noise, before.entries.clone(), block, before.roots)

    @torch.inference_mode()
    def _run(self, noise: Tensor, entries: Tensor, block: int, roots: Tensor) -> Population:
        conditioning = tuple(column.expand(len(noise), -1) for column in self._conditioning)
        if block == 0:
            x = self._denoiser.initial(noise[:, 0].to(self._device), self._sigmas[0], conditioning)
        else:
            x = entries[:, block].to(self._device)
        entering = {part.start - 1: number for number, part in enumerate(self.blocks)}
        for step in range(self.num_steps - self.steps_from(block), self.num_steps):
            if step in entering:
                entries[:, entering[step]] = x.cpu()
            x = self._step(x, step, noise[:, step + 1].to(self._device), conditioning)
        samples = self._denoiser.decode(x, conditioning).cpu()
        rewards = self._scorer(samples.numpy(), np.zeros(len(samples), np.int64))
        return Population(noise, entries, samples, torch.as_tensor(rewards, dtype=torch.float64), roots)

    def _step(self, x: Tensor, step: int, noise: Tensor, conditioning: tuple[Tensor, ...]) -> Tensor:
        """``DiffusionChain``'s ancestral step with the noise given."""
        sigma = x.new_tensor([self._sigmas[step]])
        keep, spread = float(self._keep[step]), x.new_tensor(self._noise_scale * self._spread[step])
        denoised = self._denoiser.denoised(x, sigma, conditioning)
        if isinstance(self._denoiser, KnowsCleanSpread):
            clean = self._denoiser.clean_spread(sigma, conditioning)
            spread = torch.sqrt(spread.square() + (self._noise_scale * (1 - keep) * clean).square())
        return torch.lerp(denoised, x, keep) + spread * noise
