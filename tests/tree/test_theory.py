"""What DTS promises, against exact sums and closed forms: its law, its estimate of Z, its limits."""

import numpy as np
import pytest
from scipy import stats

from sadt_ray.config import SearchConfig
from sadt_ray.numerics.logspace import soft_backup_sampled
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.gaussian_mixture import DensityRatioReward, grid_prior, nine_mode_posterior

from .forests import markov, mixture, problems, searched

LAM = 1.5


def target_of(process, reward, lam):
    """p(x_0) exp(lam r(x_0)) / Z of every sequence, and Z."""
    prior = np.array([process.probability(sequence) for sequence in process.sequences()])
    tilted = prior * np.exp(lam * np.array([reward(sequence) for sequence in process.sequences()]))
    return tilted / tilted.sum(), tilted.sum(), prior


def index_of(process, samples):
    """Number of each sequence among ``process.sequences()``; padding counts as 0."""
    return np.maximum(samples, 0) @ process.num_tokens ** np.arange(process.state_shape[0] - 1, -1, -1)


def one_draw_each(forest, process, rng):
    return np.array([index_of(process, one.draw(1, rng))[0] for one in forest.samples()])


def p_value(draws, law):
    """Chi-square with the outcomes that are expected less than five times taken together."""
    counts, expected = np.bincount(draws, minlength=len(law)), len(draws) * law
    common = expected >= 5
    together = np.append(counts[common], counts[~common].sum()), np.append(expected[common], expected[~common].sum())
    return stats.chisquare(*together).pvalue


class EndingAtZero:
    """A Markov chain whose sequences end with the first token 0, so that siblings have subtrees of unequal size."""

    def __init__(self, process):
        self.inner, self.num_levels, self.state_shape = process, process.num_levels, process.state_shape
        self.num_tokens = process.num_tokens

    def bind(self, problems):
        chain = self.inner.bind(problems)
        inner_advance = chain.advance

        def advance(states, levels, problem, seeds):
            step = inner_advance(states, levels, problem, seeds)
            ended = np.take_along_axis(step.states, levels[:, None], axis=1)[:, 0] == 0
            return step._replace(levels=np.where(ended, self.num_levels, step.levels))

        chain.advance = advance
        return chain


@pytest.fixture(scope="module")
def independent_searches():
    """600 searches of 400 simulations: samples become one of 27 numbers, all that follows a 0 being 0.

    A chi-square test on one draw of each, at the level 1e-3, lets the prior, or a log-sum-exp in place of the
    log-mean-exp, pass with probability below 1e-6: the noncentralities are 150 and 410 at 14 degrees of
    freedom (DTS: 4).
    """
    process, reward = markov(num_tokens=3, depth=3, seed=6, scale=0.6)
    ended = np.array([([*s[: s.index(0)], 0, 0, 0])[:3] if 0 in s else s for s in process.sequences()])
    p = np.bincount(index_of(process, ended), [process.probability(s) for s in process.sequences()], minlength=27)
    tilted = p * np.exp(LAM * reward(np.array(process.sequences())))
    config = SearchConfig(n_rollouts=400, inv_temperature=LAM, widen_c=1.0, widen_alpha=0.5)
    forest = searched(config, EndingAtZero(process), _PaddedWithZeros(reward), count=600, batch_size=600)
    return process, forest, tilted / tilted.sum(), p, np.log(tilted.sum())


class _PaddedWithZeros:
    oracle = False

    def __init__(self, reward):
        self.reward = reward

    def bind(self, problems):
        return lambda samples, problem: self.reward(np.maximum(samples, 0))


def test_the_draw_of_dts_has_the_exact_target_as_its_law(independent_searches):
    process, forest, target, _, _ = independent_searches
    assert p_value(one_draw_each(forest, process, np.random.default_rng(0)), target) > 1e-3


def test_the_chi_square_test_would_have_noticed_the_prior(independent_searches):
    process, forest, _, prior, _ = independent_searches
    assert p_value(one_draw_each(forest, process, np.random.default_rng(0)), prior) < 1e-6


def test_the_chi_square_test_would_have_noticed_a_log_sum_exp_backup(independent_searches):
    """The same trees, values summed where they should be averaged: nodes with many leaves win."""
    process, forest, target, _, _ = independent_searches
    rng = np.random.default_rng(0)
    weight, parent = np.exp(LAM * forest.tree.column("value")), forest.tree.column("parent")
    weight[forest.tree.column("num_children") > 0] = 0.0
    for node in range(len(forest.tree) - 1, forest.tree.num_roots - 1, -1):
        weight[parent[node]] += weight[node]
    draws = []
    for node in range(forest.tree.num_roots):
        while len(children := forest.tree.children(node)):
            node = rng.choice(children, p=weight[children] / weight[children].sum())
        draws.append(index_of(process, forest.states.values[node]))
    assert p_value(np.array(draws), target) < 1e-6


def test_the_root_value_is_log_z_within_its_error(independent_searches):
    """Boltzmann selection leaves a small negative bias, for which .06 is allowed beside the noise."""
    _, forest, _, _, exact = independent_searches
    log_z = np.array([one.log_z for one in forest.samples()])
    error = log_z.mean() - exact
    assert -0.06 - 4 * log_z.std() / np.sqrt(len(log_z)) < error < 4 * log_z.std() / np.sqrt(len(log_z))
    assert log_z.std() < 0.2


def test_more_simulations_bring_the_leaf_law_closer_to_the_target():
    process, reward = markov(num_tokens=3, depth=3, seed=5, scale=0.7)
    target, _, _ = target_of(process, reward, LAM)
    errors = []
    for n_rollouts in (100, 1_000, 10_000):
        forest = searched(SearchConfig(n_rollouts=n_rollouts, inv_temperature=LAM), process, reward, 4, 16)
        laws = [np.bincount(index_of(process, one.samples), one.weights, minlength=27) for one in forest.samples()]
        errors.append(np.mean([0.5 * np.abs(law - target).sum() for law in laws]))
    assert errors[0] > 1.25 * errors[1] > 1.25**2 * errors[2]
    assert errors[2] < 0.07


@pytest.mark.parametrize("n_rollouts", [1, 10, 60, 120])
def test_selection_that_depends_on_counts_alone_estimates_z_without_bias_at_any_budget(n_rollouts):
    process, reward = markov(num_tokens=3, depth=4, seed=2)
    _, z, _ = target_of(process, reward, 1.0)
    config = SearchConfig(n_rollouts=n_rollouts, selection_inv_temperature=0.0, widen_c=1.0, widen_alpha=0.5)
    forest = searched(config, process, reward, count=2_000, batch_size=2_000)
    estimates = np.exp([one.log_z for one in forest.samples()])
    assert abs(estimates.mean() - z) < 4 * estimates.std() / np.sqrt(len(estimates))


def test_selection_by_the_values_themselves_is_biased_low():
    """Unlucky children are never corrected; this is the price that separate selection temperatures avoid."""
    process, reward = markov(num_tokens=3, depth=4, seed=2, scale=2.0)
    _, z, _ = target_of(process, reward, 1.0)
    config = SearchConfig(n_rollouts=200, widen_c=1.0, widen_alpha=0.5)
    estimates = np.exp([one.log_z for one in searched(config, process, reward, 500, 500).samples()])
    assert estimates.mean() < z - 6 * estimates.std() / np.sqrt(len(estimates))


@pytest.mark.parametrize("world", [markov, mixture], ids=["markov chain", "mixture"])
@pytest.mark.parametrize("widen_c", [np.inf, 2.0])
def test_dts_limited_to_one_level_is_importance_sampling(world, widen_c):
    """The same samples with the same weights; where widening is limited, of the simulations that began at the root."""
    process, reward = world()
    process = process.with_branch_steps("none")
    config = SearchConfig(n_rollouts=150, inv_temperature=LAM, widen_c=widen_c)
    search = searched(config, process, reward, batch_size=64)
    (found,) = search.samples()
    children = len(found.samples)
    assert children == 150 if widen_c == np.inf else 36 < children < 150

    seeds = derive_seeds(int(search._seeds[0]), 1, np.arange(150))
    chain, zeros = process.bind(problems(1)), np.zeros(150, np.int64)
    independent = chain.advance(np.repeat(chain.root_states(), 150, axis=0), zeros, zeros, seeds).states
    if widen_c != np.inf:
        independent = independent[[np.flatnonzero((independent == sample).all(1))[0] for sample in found.samples]]
    rewards = reward.bind(problems(1))(independent, zeros[:children])
    weights = np.exp(LAM * rewards)
    np.testing.assert_array_equal(found.samples, independent)
    np.testing.assert_allclose(found.weights, weights / weights.sum(), rtol=1e-12)
    assert abs(found.log_z - LAM * soft_backup_sampled(rewards, LAM)) < 1e-12


def test_nested_sampling_with_exact_transitions_finds_the_closed_form_soft_values():
    """exp V_t(x_t) = p_post,t(x_t) / p_prior,t(x_t): the mean of exp r over rollouts from one state, unbiased."""
    process, reward = mixture((0, 45, 55, 65, 100))
    chain, scorer = process.bind(problems(1)), reward.bind(problems(1))
    closed_form = DensityRatioReward(grid_prior(), nine_mode_posterior())
    states = np.array([[0.5, 1.0], [4.0, -6.0], [-7.0, -3.0], [2.0, 9.0], [-11.0, 12.0]])
    n = 20_000
    for level in (2, 3, 4):
        for state in states:
            x, here = np.repeat(state[None], n, axis=0), np.zeros(n, np.int64)
            seeds = derive_seeds(level, 3, np.arange(n))
            for below in range(level, process.num_levels):
                x = chain.advance(x, here + below, here, seeds).states
            ratios = np.exp(scorer(x, here))
            exact = np.exp(closed_form.soft_value(state[None], process.level_sigma(level))[0])
            assert abs(ratios.mean() - exact) < 4.5 * ratios.std() / np.sqrt(n) + 1e-9


def test_soft_values_in_the_tree_scatter_around_the_closed_form():
    """Selection by counts: every node's mean of exp(lambda v) is unbiased, here averaged over nodes of a level."""
    process, reward = mixture((45, 60, 100))
    config = SearchConfig(n_rollouts=1_500, selection_inv_temperature=0.0, widen_alpha=0.5)
    search = searched(config, process, reward, count=8, batch_size=8)
    for level in (1, 2):
        nodes = np.flatnonzero((search.tree.column("level") == level) & (search.tree.column("num_children") >= 5))
        exact = np.exp(reward.soft_value(search.states.values[nodes], process.level_sigma(level)))
        found = np.exp(search.tree.column("value")[nodes])
        error = found - exact
        assert len(nodes) > 200
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(nodes))
        assert np.corrcoef(found, exact)[0, 1] > 0.5
