"""The profile of a chain that can be summed over, and of one in closed form."""

import itertools

import numpy as np
import pytest

from sadt_ray.analysis.branching import branching_profile, tilt_variance_among_siblings, variance_among_siblings
from sadt_ray.interfaces import Problem, Step
from sadt_ray.numerics.rng import normals
from sadt_ray.processes.markov_chain import MarkovChainProcess

LAM = 2.0
PROBLEMS = [Problem("a", np.zeros(0)), Problem("b", np.zeros(0))]


class TableReward:
    """r of a sequence from a table indexed by its tokens read as a number."""

    oracle = False

    def __init__(self, table, num_tokens):
        self.table, self.num_tokens = table, num_tokens

    def bind(self, problems):
        return lambda samples, problem: self.table[index(samples, self.num_tokens)]


def index(samples, num_tokens):
    return samples @ num_tokens ** np.arange(samples.shape[1] - 1, -1, -1)


def exact_parts(process, table):
    """E Var[m_l | x_{l-1}] for every token, by exhaustive sums."""
    depth, tokens = len(process.probs), range(process.num_tokens)
    mean = {s: table[index(np.array([s]), process.num_tokens)[0]] for s in process.sequences()}
    parts = np.zeros(depth)
    for d in reversed(range(depth)):
        for prefix in itertools.product(tokens, repeat=d):
            p = np.array([process.probability((*prefix, t)) for t in tokens]) / process.probability(prefix)
            below = np.array([mean[(*prefix, t)] for t in tokens])
            mean[prefix] = p @ below
            parts[d] += process.probability(prefix) * (p @ np.square(below - mean[prefix]))
    return parts


def chain_and_reward(depth=4, seed=3):
    process = MarkovChainProcess.random(3, depth, seed)
    table = np.random.default_rng(seed).standard_normal(3**depth)
    return process, table, TableReward(table, 3)


def test_the_variance_decided_at_each_level_is_that_of_exhaustive_sums():
    process, table, reward = chain_and_reward()
    profile = branching_profile(process, PROBLEMS, reward, LAM, parents=1500, siblings=3, completions=4, seed=1)
    exact = exact_parts(process, table)
    each = profile.variance.reshape(4, -1)
    error = each.std(axis=1, ddof=1) / np.sqrt(each.shape[1])
    assert np.all(np.abs(each.mean(1) - exact) < 4 * error)
    assert np.all(error < 0.1 * exact.sum())
    assert profile.total == pytest.approx(exact.sum(), rel=0.1)
    np.testing.assert_allclose(profile.share, exact / exact.sum(), atol=0.05)
    assert profile.share.sum() == pytest.approx(1)


def test_levels_that_are_merged_decide_the_sum_of_their_parts():
    process, table, reward = chain_and_reward()
    exact = exact_parts(process, table)
    merged = branching_profile(process.with_branch_steps("late"), PROBLEMS, reward, LAM, 3000, 3, 4)
    np.testing.assert_allclose(merged.share, np.array([exact[:2].sum(), exact[2], exact[3]]) / exact.sum(), atol=0.05)


def test_the_tilt_of_the_last_level_is_the_exact_spread_of_the_reward_among_siblings():
    process, table, reward = chain_and_reward()
    profile = branching_profile(process, PROBLEMS, reward, LAM, parents=1500, siblings=3, completions=2)
    assert profile.tilt[-1] == pytest.approx(LAM * np.sqrt(exact_parts(process, table)[-1]), rel=0.05)


def test_the_tilt_of_a_gaussian_walk_is_lambda_at_every_level():
    # r = z_1 + z_2 + z_3: lambda V = lambda (sum so far) + a constant, and so is lambda V_K up to noise
    profile = branching_profile(Walk(3), PROBLEMS, SumReward(), 0.5, parents=1500, siblings=4, completions=8)
    np.testing.assert_allclose(profile.tilt, 0.5, rtol=0.05)
    np.testing.assert_allclose(profile.share, 1 / 3, atol=0.03)
    assert np.all(np.abs(profile.share - 1 / 3) < 5 * profile.share_se + 0.03)


def test_a_level_that_decides_nothing_has_no_variance_on_average():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((20_000, 4, 6))  # siblings alike, completions differ
    for estimates in (variance_among_siblings(noise), tilt_variance_among_siblings(noise, 1.0)):
        assert abs(estimates.mean()) < 4 * estimates.std() / np.sqrt(len(estimates))


def test_chains_that_end_early_decide_nothing_afterwards():
    profile = branching_profile(Walk(3, ends_at=1), PROBLEMS, SumReward(), 1.0, parents=50)
    assert profile.share[0] == pytest.approx(1)
    np.testing.assert_array_equal(profile.variance[1:], 0)
    assert profile.nfe == 2 * 50 * (4 + 1)  # the paths and four siblings of each at the first level; all have ended


def test_the_size_of_a_batch_changes_nothing():
    process, _, reward = chain_and_reward(depth=3)
    one, other = (branching_profile(process, PROBLEMS, reward, LAM, parents=5, batch_size=size) for size in (7, 4096))
    np.testing.assert_array_equal(one.variance, other.variance)
    assert one.nfe == other.nfe


@pytest.mark.parametrize("sizes", [{"parents": 0}, {"siblings": 1}, {"completions": 3}, {"completions": 0}])
def test_sizes_that_estimate_nothing_are_refused(sizes):
    process, _, reward = chain_and_reward(depth=2)
    with pytest.raises(ValueError, match="at least 1 parent, 2 siblings"):
        branching_profile(process, PROBLEMS, reward, LAM, **sizes)


def test_a_reward_that_cannot_score_is_reported():
    process, table, _ = chain_and_reward(depth=2)
    with pytest.raises(ValueError, match="cannot score a sample of the prior"):
        branching_profile(process, PROBLEMS, TableReward(np.full_like(table, np.nan), 3), LAM)


def test_a_reward_without_variance_is_refused():
    process, table, _ = chain_and_reward(depth=2)
    with pytest.raises(ValueError, match="-inf"):
        branching_profile(process, PROBLEMS, TableReward(np.full_like(table, -np.inf), 3), LAM)


class SumReward:
    oracle = False

    def bind(self, problems):
        return lambda samples, problem: samples.sum(-1)


class Walk:
    """Independent standard normals, one a level, side by side; ``ends_at``: the level that is x_0 already."""

    def __init__(self, num_levels, ends_at=None):
        self.num_levels, self.ends_at = num_levels, ends_at
        self.state_shape, self.state_dtype = (num_levels,), np.dtype(float)

    def bind(self, problems):
        self.num_problems = len(problems)
        return self

    def root_states(self):
        return np.zeros((self.num_problems, self.num_levels))

    def advance(self, states, levels, problem, seeds):
        states = states.copy()
        rows = np.arange(len(states))
        states[rows, levels] = normals(seeds, levels, 1, float)[:, 0]
        after = levels + 1
        if self.ends_at is not None:
            after = np.where(after >= self.ends_at, self.num_levels, after)
        return Step(states, after, np.ones(len(states), int))

    def decode(self, states, problem):
        return states
