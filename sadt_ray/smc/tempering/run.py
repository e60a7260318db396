"""One run of adaptively tempered SMC in noise space: from the prior to the target, level by level, in a given budget.

The target is prior(z) 1[m(z) >= 0] exp(lambda r(z)) / Z, m the margin of a hard condition. There are two kinds of
levels. While few particles satisfy the condition, tempering by lambda is of no use; *subset simulation* (Au & Beck,
Probabilistic Engineering Mechanics 2001) raises a floor u_1 < u_2 < ... < 0 of the margin instead, each u the margin
that a share p of the particles reaches. Then lambda rises, each step as far as the effective sample size allows. After
each level M chains are resampled and moved, and all their states are the next particles (*waste-free*, Dau & Chopin,
JRSS B 2022):

    log Z = sum_k log (1/N_k) sum_i pi_{k+1}(z_i) / pi_k(z_i),        pi_k = 1[m >= u_k] exp(lambda_k r)

A move draws one block of noises anew by preconditioned Crank-Nicolson, see ``annealing``. Where the chain has a
gradient, as the draft of a prior has, a move is Hamiltonian: a momentum v ~ N(0, I), and leapfrog steps whose drift
rotates (z, v), which is exact for the prior (Beskos et al., Stochastic Processes and their Applications 2011).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri_exp
from torch import Tensor

from sadt_ray.numerics.logspace import effective_sample_size, log_mean_exp, normalised
from sadt_ray.numerics.rng import derive_seeds, normals, uniforms
from sadt_ray.smc.config import Tempering
from sadt_ray.smc.tempering.annealing import crank_nicolson, side_by_side
from sadt_ray.smc.tempering.noise_chain import FromNoise, Population

_DRAWS, _ROWS = 11, 12  # streams of seeds
_FIRST_STEP, _LARGEST_STEP, _ADAPTATION = 0.5, 1.0, 0.5  # of the size of moves, see ``annealing``
_FIRST_ANGLE, _LARGEST_ANGLE, _HAMILTONIAN_ACCEPTANCE = 0.2, math.pi / 4, 0.75
_FIRST_SHARE = 8  # the budget is so many times the draws from the prior
_FEWEST_CHAINS, _FEWEST_RUNS = 4, 8  # of a level
_LAST_SHARE = 2  # the last level, whose particles are returned, is worth so many others
_OVERDRAFT = 1.5  # times the budget, for a hard condition that is nearly reached
_MOST_LEVELS = 100


@runtime_checkable
class HasGradient(Protocol):
    """A chain with gradients that cost no evaluation, if its reward has some."""

    @property
    def differentiable(self) -> bool: ...

    def gradient(self, noise: Float[Tensor, "N noises W"]) -> Float[Tensor, "N noises W"]:
        """Of the reward."""


class Draws:
    """Random numbers that follow from a seed and the number of the call: the same on every machine."""

    def __init__(self, seed: int) -> None:
        self._seed, self._calls = seed, 0

    def normals(self, rows: int, noises: int, width: int) -> Float[Tensor, "rows noises width"]:
        """Standard normals."""
        seeds = np.repeat(derive_seeds(self._next(), _ROWS, np.arange(rows)), noises)
        drawn = normals(seeds, np.tile(np.arange(noises), rows), width)
        return torch.from_numpy(drawn.reshape(rows, noises, width))

    def uniforms(self, count: int) -> Float[np.ndarray, " count"]:
        """Numbers in (0, 1)."""
        return uniforms(np.array([self._next()], np.uint64), np.zeros(1, np.int64), count)[0]

    def _next(self) -> int:
        self._calls += 1
        return int(derive_seeds(self._seed, _DRAWS, np.array([self._calls]))[0])


@dataclass(frozen=True)
class Target:
    """A density relative to the prior: exp(lambda r) where the margin is at least ``floor``, 0 elsewhere.

    Attributes:
        floor: least margin; -inf for none.
        inv_temperature: lambda.
        reward_below: stands for the reward of a run that violates the condition but reaches the floor.
    """

    floor: float = -math.inf
    inv_temperature: float = 0.0
    reward_below: float = -math.inf

    def log_density(self, runs: Population) -> Float[np.ndarray, " N"]:
        if self.inv_temperature == 0:
            log_density = np.zeros(len(runs.rewards))
        else:
            log_density = self.inv_temperature * self.rewards(runs)
        return np.where(runs.margins.numpy() >= self.floor, log_density, -np.inf)

    def rewards(self, runs: Population) -> Float[np.ndarray, " N"]:
        """As the density reads them."""
        rewards = runs.rewards.numpy()
        return np.where(np.isneginf(rewards), self.reward_below, rewards)


@dataclass(frozen=True)
class Weighted:
    """Weighted runs of a target.

    Attributes:
        runs: N runs; none if no run of positive density was found.
        weights: sum to one.
        log_z: log of the target's mean under the prior; -inf if no run was found.
        target: what they are samples of.
    """

    runs: Population
    weights: Float[np.ndarray, " N"]
    log_z: float
    target: Target

    @classmethod
    def of(cls, runs: Population, log_weights: Float[np.ndarray, " N"], log_z: float, target: Target) -> Weighted:
        """Of weights before they are normalised, whose mean is the last factor of Z; none if all of them are 0."""
        if np.isneginf(log_weights).all():
            return cls(runs.take(np.zeros(0, np.int64)), np.zeros(0), -math.inf, target)
        return cls(runs, normalised(log_weights), log_z + float(log_mean_exp(log_weights)), target)


def systematic(weights: Float[np.ndarray, " N"], size: int, draws: Draws) -> Int[np.ndarray, " size"]:
    """Rows drawn systematically by their weights, in ascending order."""
    places = (np.arange(size) + draws.uniforms(1)[0]) / size
    return np.searchsorted(np.cumsum(weights), places).clip(0, len(weights) - 1)


class TemperedRun:
    """A population on its way from the prior to a target.

    Args:
        chain: what is moved.
        goal: the target.
        config: sizes of levels and moves.
        budget: in runs of the whole chain; part of a run counts as its share of the evaluations. Of a chain that costs
            none, in samples.
        draws: of all random numbers.

    ``spent`` is in units of the budget, ``nfe`` in evaluations, and ``reward_calls`` in samples scored. ``hard`` says
    whether the prior violates the condition of the target.
    """

    def __init__(self, chain: FromNoise, goal: Target, config: Tempering, budget: float, draws: Draws) -> None:
        self._chain, self._goal, self._config, self._budget, self._draws = chain, goal, config, budget, draws
        self._target, self._log_z, self._next_block = Target(), 0.0, 0
        self._floors: list[tuple[float, float]] = []  # with the log-probability of each
        whole = chain.steps_from(0)
        self._costs = [chain.steps_from(block) / whole if whole else 1.0 for block in range(len(chain.blocks))]
        self._step_sizes, self._angle = np.full(len(chain.blocks), _FIRST_STEP), _FIRST_ANGLE
        self.spent, self.nfe, self.reward_calls, self.hard = 0.0, 0, 0, False

    @property
    def left(self) -> float:
        """Of the budget, in runs."""
        return self._budget - self.spent

    def run(self) -> Weighted:
        """Samples of the target; none if 1.5 times the budget finds no sample that satisfies a hard condition."""
        runs = self._from_prior(max(min(self._budget / _FIRST_SHARE, self._budget), 2 * _FEWEST_RUNS))
        self.hard = bool((runs.margins < self._goal.floor).any())
        if self._next(runs) == self._goal and self.left >= 1:  # so near the prior that weights suffice
            runs = side_by_side([runs, self._from_prior(self.left)])
        for _ in range(_MOST_LEVELS):
            target = self._next(runs)
            log_weights = target.log_density(runs) - self._target.log_density(runs)
            done = target == self._goal and (self._target == Target() or self.left < self._least)
            if done or np.isneginf(log_weights).all():
                return Weighted.of(runs, log_weights, self._log_z, target)
            runs = self._level(runs, target, log_weights)
            if target == self._goal:
                return Weighted(runs, np.full(len(runs.rewards), 1 / len(runs.rewards)), self._log_z, target)
        return Weighted.of(runs, np.full(len(runs.rewards), -np.inf), self._log_z, self._goal)

    @property
    def _hamiltonian(self) -> bool:
        chain = self._chain
        return self._config.leapfrog > 0 and not self.hard and isinstance(chain, HasGradient) and chain.differentiable

    @property
    def _cost(self) -> float:
        """The average cost of a move."""
        return self._config.leapfrog + 2.0 if self._hamiltonian else float(np.mean(self._costs))

    @property
    def _least(self) -> float:
        """The cost of the smallest level."""
        return _FEWEST_CHAINS * self._cost

    def _from_prior(self, count: float) -> Population:
        noise = self._draws.normals(int(count), self._chain.num_noises, self._chain.width)
        self._charge(int(count), 0)
        return self._chain.population(noise)

    def _charge(self, rows: int, block: int) -> None:
        self.spent += rows * self._costs[block]
        self.nfe += rows * self._chain.steps_from(block)
        self.reward_calls += rows

    def _next(self, runs: Population) -> Target:
        """The next target on the way; the goal itself where nothing better can be reached or paid for."""
        goal, margins = self._goal, runs.margins.numpy()
        reached = margins >= goal.floor
        if reached.mean() < self._config.level_share:
            above = np.sort(margins[margins > self._target.floor])
            if self.left < (1 - _OVERDRAFT) * self._budget or (len(above) == 0 and self._target == Target()):
                return goal
            if len(above) == 0:  # no move was accepted: move on here, by smaller steps
                return self._target
            kept = np.sort(margins)[len(margins) - math.ceil(self._config.level_share * len(margins))]
            floor = kept if kept > self._target.floor else above[0]
            return Target(min(float(floor), goal.floor), 0.0, goal.reward_below)
        if self.left < self._least:
            return goal
        step = self._largest_step(goal.rewards(runs)[reached], goal.inv_temperature - self._target.inv_temperature)
        lam = self._target.inv_temperature + step
        return (
            goal
            if step == goal.inv_temperature - self._target.inv_temperature
            else Target(goal.floor, lam, goal.reward_below)
        )

    def _largest_step(self, rewards: Float[np.ndarray, " n"], most: float) -> float:
        """The largest step of lambda, up to ``most``, that leaves enough effective samples of those given."""

        def surplus(step: float) -> float:
            return effective_sample_size(normalised(step * rewards)) / len(rewards) - self._config.ess

        return most if surplus(most) >= 0 else float(brentq(surplus, 1e-9 * most, most, rtol=1e-3))

    def _level(self, runs: Population, target: Target, log_weights: Float[np.ndarray, " N"]) -> Population:
        """Weight, resample and move."""
        levels = 0 if target == self._goal else self._levels_after(runs, target)
        self._log_z += float(log_mean_exp(log_weights))
        if target.inv_temperature == 0:
            self._floors.append((target.floor, self._log_z))
        budget = self.left if target == self._goal else max(self.left / (levels - 1 + _LAST_SHARE), _FEWEST_RUNS)
        cost, move = self._cost, self._hamiltonian_move if self._hamiltonian else self._move
        count = max(_FEWEST_CHAINS, int(budget / (cost * self._config.moves)))
        chains = runs.take(systematic(normalised(log_weights), count, self._draws))
        self._target = target
        states = [chains]
        for _ in range(max(round(budget / (cost * count)), 1)):
            states.append(move(states[-1]))
        return side_by_side(states)

    def _levels_after(self, runs: Population, target: Target) -> float:
        """A guess of the levels that follow the next one, at least 1."""
        if target.inv_temperature > 0:
            before = self._target.inv_temperature or target.inv_temperature / 2
            ratio = math.log(self._goal.inv_temperature / target.inv_temperature)
            return max(math.ceil(ratio / math.log(target.inv_temperature / before)), 1)
        log_share = math.log(self._config.level_share)
        margin = float(np.median(runs.margins.numpy()))
        (low, before), high = self._floors[-1] if self._floors else (margin, math.log(0.5)), target.floor
        after = self._log_z + math.log(float((runs.margins.numpy() >= high).mean()))
        if not (np.isfinite([low, high]).all() and low < high < self._goal.floor and after < before):
            return 1
        slope = (ndtri_exp(after) - ndtri_exp(before)) / (high - low)  # as if the margin were Gaussian
        at_goal = float(log_ndtr(ndtri_exp(after) + slope * (self._goal.floor - high)))
        return min(max((at_goal - after) / log_share, 1.0), _MOST_LEVELS)

    def _move(self, chains: Population) -> Population:
        """One Crank-Nicolson move of the next block's noises, accepted or not chain by chain."""
        block, count = self._next_block, len(chains.rewards)
        self._next_block = (block + 1) % len(self._chain.blocks)
        levels, step = self._chain.blocks[block], float(self._step_sizes[block])
        fresh = self._draws.normals(count, levels.stop - levels.start, self._chain.width)
        self._charge(count, block)
        proposed = crank_nicolson(self._chain, chains, block, step, fresh)
        moved, rate = self._accepted(chains, proposed, np.zeros(count))
        self._step_sizes[block] = min(step * math.exp(_ADAPTATION * (rate - self._config.acceptance)), _LARGEST_STEP)
        return moved

    def _hamiltonian_move(self, chains: Population) -> Population:
        """One Hamiltonian move of all noises."""
        assert isinstance(self._chain, HasGradient)
        noise, (count, noises, width) = chains.noise, chains.noise.shape
        momentum = self._draws.normals(count, noises, width)
        before = (noise.square() + momentum.square()).double().sum((1, 2))
        kick = self._angle * self._target.inv_temperature / 2
        cos, sin = math.cos(self._angle), math.sin(self._angle)
        gradient = self._chain.gradient(noise)
        for _ in range(self._config.leapfrog):
            momentum = momentum + kick * gradient
            noise, momentum = cos * noise + sin * momentum, cos * momentum - sin * noise
            gradient = self._chain.gradient(noise)
            momentum = momentum + kick * gradient
        after = (noise.square() + momentum.square()).double().sum((1, 2))
        self._charge(count, 0)
        self.spent += (self._config.leapfrog + 1) * count
        self.reward_calls += (self._config.leapfrog + 1) * count
        moved, rate = self._accepted(chains, self._chain.again(chains, 0, noise), ((before - after) / 2).numpy())
        change = math.exp(_ADAPTATION * (rate - _HAMILTONIAN_ACCEPTANCE))
        self._angle = min(self._angle * change, _LARGEST_ANGLE)
        return moved

    def _accepted(
        self, chains: Population, proposed: Population, log_ratio: Float[np.ndarray, " N"]
    ) -> tuple[Population, float]:
        """The chains after acceptance or rejection, and the mean acceptance probability.

        Args:
            log_ratio: of the densities of the proposals, beside that of the targets.
        """
        log_ratio = log_ratio + self._target.log_density(proposed) - self._target.log_density(chains)
        accepted = np.log(self._draws.uniforms(len(log_ratio))) < log_ratio
        rate = float(np.exp(np.minimum(log_ratio, 0.0)).mean())
        return chains.replaced(proposed, torch.from_numpy(accepted)), rate
