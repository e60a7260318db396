"""A waste-free SMC sampler in noise space: from the prior to exp(lambda r) in steps, each followed by Markov moves.

Inverse temperatures 0 = l_0 < l_1 < ... < lambda, each as far from the last as the effective sample size allows. After
each step M chains are resampled and moved, and **all** states of all chains become the next particles (*waste-free*,
Dau & Chopin, JRSS B 2022), so that everything that was computed is averaged over in

    log Z = sum_k log (1/N) sum_i exp((l_k - l_{k-1}) r_i).

A move draws one block of noises anew by preconditioned Crank-Nicolson (Cotter et al., Statistical Science 2013),
z' = sqrt(1 - c^2) z + c xi, accepted with probability min(1, exp(l (r' - r))). The size c of every block follows its
acceptance rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor

from sadt_ray.numerics.logspace import effective_sample_size, log_mean_exp, normalised
from sadt_ray.smc.tempering.noise_chain import FromNoise, Population

_FIRST_STEP, _LARGEST_STEP = 0.5, 1.0  # of c; 1 is an independent draw
_ADAPTATION = 0.5  # of log c, for an acceptance rate that is off by 1


@dataclass(frozen=True)
class AnnealingConfig:
    """Sizes of the sampler.

    Attributes:
        chains: M, moved side by side.
        sweeps: states that a chain contributes at an inverse temperature on the way; a sweep moves every block once.
        final_sweeps: the same where samples are wanted.
        ess: share of the particles to which the weights of a step may fall.
        acceptance: rate that the step sizes aim at.
    """

    chains: int = 1024
    sweeps: int = 96
    final_sweeps: int = 256
    ess: float = 0.5
    acceptance: float = 0.25


class Annealing:
    """A population on its way from the prior to ever higher inverse temperatures.

    ``particles`` are of equal weight: sweep after sweep, the chains in order. ``log_z`` belongs to ``lam``, ``nfe`` is
    what was spent so far.
    """

    def __init__(self, chain: FromNoise, config: AnnealingConfig, seed: int) -> None:
        self._chain, self._config = chain, config
        self._generator = torch.Generator().manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self.step_sizes = np.full(len(chain.blocks), _FIRST_STEP)
        first = config.chains * config.sweeps
        self.particles = chain.population(self.normals(first, chain.num_noises))
        self.lam, self.log_z, self.num_tempered, self.nfe = 0.0, 0.0, 0, first * chain.steps_from(0)

    @property
    def rewards(self) -> Float[np.ndarray, " N"]:
        return self.particles.rewards.numpy()

    def anneal_to(self, lam: float) -> None:
        """Raise the inverse temperature to ``lam`` and sample there."""
        while self.lam < lam:
            left = lam - self.lam
            step = self._largest_step(left)
            chains = self._reweighted(step)
            self.lam = lam if step == left else self.lam + step
            self.particles = self._moved(chains, self._config.sweeps if self.lam < lam else self._config.final_sweeps)

    def evenly_spaced(self, sweeps: int) -> Population:
        """The chains' states at so many sweeps, the last one among them."""
        held = len(self.rewards) // self._config.chains
        chosen = np.linspace(held - 1, 0, min(sweeps, held), endpoint=False).round().astype(int)
        return self.particles.take((chosen[:, None] * self._config.chains + np.arange(self._config.chains)).ravel())

    def resampled(self, weights: Float[np.ndarray, " N"], size: int) -> Int[np.ndarray, " size"]:
        """Rows drawn systematically, in random order."""
        places = (np.arange(size) + self._rng.random()) / size
        return self._rng.permutation(np.searchsorted(np.cumsum(weights), places).clip(0, len(weights) - 1))

    def normals(self, rows: int, noises: int) -> Float[Tensor, "rows noises W"]:
        """Fresh standard normals."""
        return torch.randn(rows, noises, self._chain.width, generator=self._generator)

    def _largest_step(self, most: float) -> float:
        """The largest step of the inverse temperature, up to ``most``, that leaves enough effective samples."""

        def surplus(step: float) -> float:
            return effective_sample_size(normalised(step * self.rewards)) / len(self.rewards) - self._config.ess

        return most if surplus(most) >= 0 else float(brentq(surplus, 1e-9 * most, most, rtol=1e-3))

    def _reweighted(self, step: float) -> Population:
        """Chains drawn from the particles after a step of the inverse temperature."""
        log_weights = step * self.rewards
        self.log_z += float(log_mean_exp(log_weights))
        self.num_tempered += 1
        return self.particles.take(self.resampled(normalised(log_weights), self._config.chains))

    def _moved(self, chains: Population, sweeps: int) -> Population:
        """All states of the chains over so many sweeps, the first one included."""
        states = [chains]
        for _ in range(sweeps - 1):
            for block in range(len(self._chain.blocks)):
                chains = self._move(chains, block)
            states.append(chains)
        return side_by_side(states)

    def _move(self, chains: Population, block: int) -> Population:
        """One Crank-Nicolson move of a block's noises, accepted or not chain by chain."""
        levels, step = self._chain.blocks[block], self.step_sizes[block]
        fresh = self.normals(len(chains.noise), levels.stop - levels.start)
        proposed = crank_nicolson(self._chain, chains, block, step, fresh)
        self.nfe += len(chains.noise) * self._chain.steps_from(block)
        log_ratio = self.lam * (proposed.rewards - chains.rewards)
        accepted = torch.rand(len(chains.noise), generator=self._generator, dtype=torch.float64).log() < log_ratio
        error = float(accepted.double().mean()) - self._config.acceptance
        self.step_sizes[block] = min(step * np.exp(_ADAPTATION * error), _LARGEST_STEP)
        return chains.replaced(proposed, accepted)


def crank_nicolson(chain: FromNoise, before: Population, block: int, step: float, fresh: Tensor) -> Population:
    """The runs of ``before`` with a block's noises z replaced by sqrt(1 - step^2) z + step fresh."""
    noise, levels = before.noise.clone(), chain.blocks[block]
    noise[:, levels] = np.sqrt(1 - step**2) * noise[:, levels] + step * fresh
    return chain.again(before, block, noise)


def side_by_side(states: Sequence[Population]) -> Population:
    """All runs of several populations as one."""
    return Population(*(torch.cat(columns) for columns in zip(*states, strict=True)))
