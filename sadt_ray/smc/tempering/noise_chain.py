"""A diffusion chain as a deterministic function of its Gaussian noises, for samplers that move in noise space.

With z_0 the noise of x_T and z_i that of denoising step i, x_0 = f(z_0, ..., z_n) and every z_i is standard normal
under the prior. A posterior over x_0 is then a posterior over z with the density N(z; 0, I) exp(lambda r(f(z))) / Z,
which needs no density of the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadt_ray.interfaces import Chain, Scorer
from sadt_ray.processes.diffusion import DiffusionChain, KnowsCleanSpread
from sadt_ray.processes.joint import JointChain
from sadt_ray.processes.schedule import posterior_coefficients
from sadt_ray.rewards.checked import score_checked
from sadt_ray.rewards.look_ahead import margins


class Population(NamedTuple):
    """N runs of a chain: their noises, where they lead, and the states in between from which a block starts again."""

    noise: Float[Tensor, "N noises W"]
    entries: Float[Tensor, "N blocks W"]
    clean: Float[Tensor, "N W"]  # x_0 in the coordinates of the states
    samples: Float[Tensor, "N ..."]  # in the units of the data
    rewards: Float[Tensor, " N"]  # doubles
    margins: Float[Tensor, " N"]  # doubles; +inf without a hard condition, negative wherever the reward is -inf
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


@runtime_checkable
class FromNoise(Protocol):
    """Samples with their rewards as a function of ``num_noises`` standard normal vectors of length ``width``."""

    blocks: list[slice]
    num_noises: int
    width: int

    def steps_from(self, block: int) -> int: ...

    def population(self, noise: Tensor) -> Population: ...

    def again(self, before: Population, block: int, noise: Tensor) -> Population: ...


class CannotScore(ValueError):
    """A sample got neither a reward nor a margin; the message says why."""


class Parts(NamedTuple):
    """The independent diffusion chains that make up one problem's sample: one, or the channels of a joint problem."""

    chain: DiffusionChain
    numbers: Int[np.ndarray, " C"]  # of the chain's problems
    joint: bool

    @classmethod
    def of(cls, chain: Chain, problem: int) -> Parts:
        """Raises ValueError for a chain that is not a function of Gaussian noises."""
        if isinstance(chain, DiffusionChain):
            return cls(chain, np.array([problem]), False)
        if isinstance(chain, JointChain) and isinstance(chain.chain, DiffusionChain):
            return cls(chain.chain, np.arange(chain.num_parts) + problem * chain.num_parts, True)
        raise ValueError(
            f"{type(chain).__name__} is not a function of Gaussian noises, in which this method moves; use a diffusion "
            "prior, or a method that needs none, such as smc-debiased or sweep"
        )

    def conditioning(self, rows: int) -> tuple[Tensor, ...]:
        """For so many samples, part by part: rows * C rows."""
        return self.chain.gather(np.tile(self.numbers, rows))

    def apart(self, joined: Float[Tensor, "N CW"]) -> Float[Tensor, "NC W"]:
        return joined.reshape(-1, self.chain.denoiser.width)

    def joined(self, apart: Float[Tensor, "NC W"]) -> Float[Tensor, "N CW"]:
        return apart.reshape(len(apart) // len(self.numbers), -1)

    def samples(self, clean: Float[Tensor, "NC W"], conditioning: tuple[Tensor, ...]) -> Tensor:
        """In the units of the data: [N, ...], or [N, C, ...] of a joint problem."""
        decoded = self.chain.denoiser.decode(clean, conditioning)
        return decoded.reshape(-1, len(self.numbers), *decoded.shape[1:]) if self.joint else decoded


def scored(scorer: Scorer, samples: np.ndarray, problem: int) -> tuple[Tensor, Tensor]:
    """Rewards and margins of one problem's samples. The margin is negative where the reward is -inf and nowhere else.

    Raises CannotScore naming the first sample without a reward.
    """
    numbers = np.full(len(samples), problem)
    rewards, failures = score_checked(scorer, samples, numbers)
    if failures:
        raise CannotScore(failures[min(failures)])
    try:
        margin = margins(scorer, samples, numbers)
    except Exception as error:
        raise CannotScore(f"the margin raised {type(error).__name__}: {error}") from error
    ruled_out = np.isneginf(rewards)
    margin = np.where(ruled_out, np.where(margin < 0, margin, -np.inf), np.maximum(margin, 0.0))
    return torch.as_tensor(rewards), torch.as_tensor(margin)


class NoiseChain:
    """One problem's chain and reward as a function of the noises, restartable at the first noise of every block.

    Args:
        chain: of the prior, bound.
        scorer: of the samples, bound to the same problems.
        problem: which of these.
        blocks: the first noise of each block, ascending from 0; a block ends where the next one starts.

    Raises:
        ValueError: for blocks that are not ascending numbers of noises from 0, or a chain that is not a function of
            Gaussian noises.
    """

    def __init__(self, chain: Chain, scorer: Scorer, problem: int, blocks: Sequence[int]) -> None:
        self._parts, self._scorer, self._problem = Parts.of(chain, problem), scorer, problem
        sampler = self._parts.chain.sampler
        self.num_steps = sampler.num_steps
        self.num_noises, self.width = self.num_steps + 1, self._parts.chain.denoiser.width * len(self._parts.numbers)
        if list(blocks) != sorted({0, *blocks}) or blocks[-1] > self.num_steps:
            raise ValueError(
                f"blocks are the first of the noises 0..{self.num_steps} of each block, ascending from 0, got {blocks}"
            )
        self.blocks = [slice(*ends) for ends in zip(blocks, (*blocks[1:], self.num_noises), strict=True)]
        self._sigmas = sampler.sigmas.tolist()
        self._keep, self._spread = posterior_coefficients(sampler.sigmas)
        self._noise_scale = sampler.noise_scale
        self._denoiser = self._parts.chain.denoiser

    @property
    def evaluations(self) -> int:
        """Of the denoiser, in a run of the whole chain."""
        return self.num_steps * len(self._parts.numbers)

    def steps_from(self, block: int) -> int:
        """Evaluations of the denoiser that a run costs from a block's first noise on; noise i enters at step i - 1."""
        return (self.num_steps - self._first_step(block)) * len(self._parts.numbers)

    def population(self, noise: Float[Tensor, "N steps+1 W"]) -> Population:
        """Runs from given noises, each its own root."""
        entries = noise.new_zeros(len(noise), len(self.blocks), self.width)
        return self._run(noise, entries, 0, torch.arange(len(noise)))

    def again(self, before: Population, block: int, noise: Float[Tensor, "N steps+1 W"]) -> Population:
        """The runs of ``before`` with other noises from a block's first noise on."""
        return self._run(noise, before.entries.clone(), block, before.roots)

    def _first_step(self, block: int) -> int:
        return max(self.blocks[block].start - 1, 0)

    @torch.inference_mode()
    def _run(self, noise: Tensor, entries: Tensor, block: int, roots: Tensor) -> Population:
        parts, chain = self._parts, self._parts.chain
        conditioning = parts.conditioning(len(noise))
        if block == 0:
            x = self._denoiser.initial(parts.apart(noise[:, 0]).to(chain.device), self._sigmas[0], conditioning)
        else:
            x = parts.apart(entries[:, block]).to(chain.device)
        entering = {part.start - 1: number for number, part in enumerate(self.blocks)}
        for step in range(self._first_step(block), self.num_steps):
            if step in entering:
                entries[:, entering[step]] = parts.joined(x.cpu())
            x = self._step(x, step, parts.apart(noise[:, step + 1]).to(chain.device), conditioning)
        samples = parts.samples(x, conditioning).cpu()
        rewards, margin = scored(self._scorer, samples.numpy(), self._problem)
        return Population(noise, entries, parts.joined(x.cpu()), samples, rewards, margin, roots)

    def _step(self, x: Tensor, step: int, noise: Tensor, conditioning: tuple[Tensor, ...]) -> Tensor:
        """``DiffusionChain``'s ancestral step with the noise given."""
        sigma = x.new_tensor([self._sigmas[step]])
        keep, spread = float(self._keep[step]), x.new_tensor(self._noise_scale * self._spread[step])
        denoised = self._denoiser.denoised(x, sigma, conditioning)
        if isinstance(self._denoiser, KnowsCleanSpread):
            clean = self._denoiser.clean_spread(sigma, conditioning)
            spread = torch.sqrt(spread.square() + (self._noise_scale * (1 - keep) * clean).square())
        return torch.lerp(denoised, x, keep) + spread * noise
