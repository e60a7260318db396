"""The branching profile: at which steps of a chain the reward is decided, and so where a tree should branch.

For levels l = 1..L below the root let m_l = E[r | x_l] under the prior, m_0 = E[r] and m_L = r. The m_l are a
martingale, so the variance of the reward is a sum over levels (law of total variance):

    Var[r] = sum_l E Var[m_l | x_{l-1}].

At a level with a large term, siblings differ in their expected reward, so nodes belong just above it. The spread of
lambda V among siblings, the *tilt* in nats, measures what a search can gain there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Chain, GenerativeProcess, Problem, Reward, Scorer, States, Tickets
from sadt_ray.numerics.logspace import soft_backup_sampled
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.rewards.checked import score_checked
from sadt_ray.rollout.rollout import rollout

_PATHS, _SIBLINGS, _COMPLETIONS = range(3)  # purposes of a seed


@dataclass(frozen=True)
class BranchingProfile:
    """Variance that is decided between one branch level and the next. Row l - 1 of an array is level l of the process.

    Attributes:
        variance: unbiased estimates of Var[m_l | x_{l-1}] in squared units of the reward, for each level, problem and
            parent state x_{l-1}. A single estimate may be negative.
        tilt_variance: the same for lambda V_K in squared nats, with V_K = (1/lambda) log-mean-exp of lambda r over K
            completions of a sibling. V_K tends to V from below as K grows; V has no unbiased estimator.
        nfe: function evaluations of the profile.
    """

    variance: Float[np.ndarray, "L P N"]
    tilt_variance: Float[np.ndarray, "L P N"]
    nfe: int

    @property
    def total(self) -> float:
        """Variance of the reward given the problem: the sum over levels, averaged over problems."""
        return float(self._by_problem.sum(0).mean())

    @property
    def share(self) -> Float[np.ndarray, " L"]:
        """Share of the variance that is decided on the way to each level, over all problems. The shares sum to one."""
        return self._by_problem.mean(1) / self.total

    @property
    def share_se(self) -> Float[np.ndarray, " L"]:
        """Standard error of ``share`` over problems (delta method of a ratio of means); NaN for a single problem."""
        by_problem, problems = self._by_problem, self.variance.shape[1]
        residual = (by_problem - self.share[:, None] * by_problem.sum(0)) / self.total
        spread = np.sqrt(np.square(residual).sum(1) / max(problems - 1, 1) / problems)
        return spread if problems > 1 else np.full_like(spread, np.nan)

    @property
    def tilt(self) -> Float[np.ndarray, " L"]:
        """Standard deviation of lambda V_K among siblings, in nats; 0 if the variance estimate is negative."""
        return np.sqrt(np.maximum(self.tilt_variance.mean((1, 2)), 0))

    @property
    def _by_problem(self) -> Float[np.ndarray, "L P"]:
        return self.variance.mean(2)


def branching_profile(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    inv_temperature: float,
    parents: int = 16,
    siblings: int = 4,
    completions: int = 32,
    seed: int = 0,
    batch_size: int = 4096,
) -> BranchingProfile:
    """Estimate the profile by nested simulation: N parents per problem and level, J siblings each, K completions each.

    Give the process the branch steps of interest, ``"every"`` if it has this preset. The cost is P N J K evaluations
    for every pair of levels l <= l': about P N J K T^2 / 2 for a chain of T steps.

    Args:
        process, problems, reward: task.
        inv_temperature: lambda of the tilt.
        parents, siblings, completions: N, J and K.
        seed: seed of all draws.
        batch_size: number of rows that run together.

    Raises:
        ValueError: for fewer than one parent, two siblings or two completions, an odd number of completions, or a
            reward that cannot score a sample.
    """
    if parents < 1 or siblings < 2 or completions < 2 or completions % 2:
        raise ValueError(
            "a profile needs at least 1 parent, 2 siblings and an even number of completions, got "
            f"{parents}, {siblings} and {completions}"
        )
    simulation = _Simulation(process.bind(problems), reward.bind(problems), process.num_levels, seed, batch_size)
    states = simulation.chain.root_states()
    problem = np.repeat(np.arange(len(problems)), parents)
    states, levels = states[problem], np.zeros(len(problem), np.int64)
    shape = (len(problems) * parents, siblings, completions)
    variance, tilt_variance = [], []
    for level in range(1, process.num_levels + 1):
        parent, child_problem = np.repeat(np.arange(len(problem)), siblings), np.repeat(problem, siblings)
        children, child_levels = simulation.advance(states[parent], levels[parent], child_problem, level, _SIBLINGS)
        rewards = simulation.complete(children, child_levels, child_problem, completions, level).reshape(shape)
        if not np.isfinite(rewards).all():
            raise ValueError(
                "a sample has reward -inf, so the variance is infinite; use a reward that is always finite"
            )
        variance.append(variance_among_siblings(rewards))
        tilt_variance.append(tilt_variance_among_siblings(rewards, inv_temperature))
        states, levels = simulation.advance(states, levels, problem, level, _PATHS)
    by_parent = (process.num_levels, len(problems), parents)
    return BranchingProfile(np.reshape(variance, by_parent), np.reshape(tilt_variance, by_parent), simulation.nfe)


def variance_among_siblings(rewards: Float[np.ndarray, "... J K"]) -> Float[np.ndarray, ...]:
    """Unbiased estimate of Var[E[r | sibling]] from K completions of each of J siblings.

    This is the estimator of one-way analysis of variance: the sample variance of the siblings' means, minus (mean
    sample variance within siblings) / K, the part that is due to the finite number of completions.
    """
    within = rewards.var(axis=-1, ddof=1).mean(-1)
    return rewards.mean(-1).var(axis=-1, ddof=1) - within / rewards.shape[-1]


def tilt_variance_among_siblings(
    rewards: Float[np.ndarray, "... J K"], inv_temperature: float
) -> Float[np.ndarray, ...]:
    """Unbiased estimate of Var[E[lambda V_{K/2} | sibling]] in squared nats.

    The two halves of a sibling's completions are independent given the sibling. So the covariance of their soft values
    across siblings is the variance of the common part, without the noise of V_{K/2}.
    """
    half = rewards.shape[-1] // 2
    first = inv_temperature * soft_backup_sampled(rewards[..., :half], inv_temperature)
    second = inv_temperature * soft_backup_sampled(rewards[..., half:], inv_temperature)
    product = (first - first.mean(-1, keepdims=True)) * (second - second.mean(-1, keepdims=True))
    return product.sum(-1) / (rewards.shape[-2] - 1)


@dataclass
class _Simulation:
    """The chain with a separate seed for every draw."""

    chain: Chain
    scorer: Scorer
    num_levels: int
    seed: int
    batch_size: int
    nfe: int = 0

    def advance(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"], level: int, purpose: int
    ) -> tuple[States, Int[np.ndarray, " B"]]:
        """Draw the next level. A row whose chain has ended does not change."""
        states, levels = states.copy(), levels.copy()
        seeds = self._seeds(len(levels), level, purpose)
        live = np.flatnonzero(levels < self.num_levels)
        for rows in self._batches(live):
            step = self.chain.advance(states[rows], levels[rows], problem[rows], seeds[rows])
            states[rows], levels[rows] = step.states, step.levels
            self.nfe += int(step.nfe.sum())
        return states, levels

    def complete(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        completions: int,
        level: int,
    ) -> Float[np.ndarray, "B K"]:
        """Rewards of K independent completions of each state. A state at x_0 is scored once."""
        rewards = np.empty((len(levels), completions))
        ended = np.flatnonzero(levels >= self.num_levels)
        for rows in self._batches(ended):
            scored, messages = score_checked(self.scorer, self.chain.decode(states[rows], problem[rows]), problem[rows])
            _raise_first(list(messages.values()))
            rewards[rows] = scored[:, None]
        flat, seeds = rewards.reshape(-1), self._seeds(rewards.size, level, _COMPLETIONS)
        going = np.flatnonzero(np.repeat(levels < self.num_levels, completions))
        for rows in self._batches(going):
            at = rows // completions
            results = rollout(
                self.chain,
                self.scorer,
                self.num_levels,
                Tickets(np.arange(len(at)), problem[at], at, levels[at], states[at], seeds[rows]),
            )
            _raise_first([failure.message for failure in results.failures])
            flat[rows] = results.rewards
            self.nfe += int(results.nfe.sum())
        return rewards

    def _seeds(self, count: int, level: int, purpose: int) -> np.ndarray:
        return derive_seeds(self.seed, 3 * level + purpose, np.arange(count))

    def _batches(self, rows: Int[np.ndarray, " n"]) -> list[Int[np.ndarray, " b"]]:
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]


def _raise_first(messages: list[str]) -> None:
    if messages:
        raise ValueError(f"the reward cannot score a sample of the prior: {messages[0]}")
