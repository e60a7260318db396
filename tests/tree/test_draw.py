"""The final draw: leaf weights are the exact law of descending the tree once more."""

import numpy as np
import pytest
from scipy import stats

from sadt_ray.config import SearchConfig
from sadt_ray.tree import draw

from .forests import bare_search, made_up, markov, searched

LAM = 1.5


@pytest.fixture(scope="module")
def forest():
    """Three trees of three levels."""
    process, reward = markov(num_tokens=4, depth=3)
    return searched(SearchConfig(inv_temperature=LAM, n_rollouts=300, widen_c=1.5), process, reward, count=3)


def leaves_of(search, problem):
    own = search.problem_of_nodes() == problem
    return np.flatnonzero(own & (search.tree.column("num_children") == 0))


def way_up(search, node):
    """Pairs (parent, child) from a node to its root."""
    parent = search.tree.column("parent")
    while parent[node] >= 0:
        yield parent[node], node
        node = parent[node]


@pytest.mark.parametrize("beta", [0.0, 0.4, LAM, 20.0])
def test_leaf_weights_are_the_plain_product_of_softmaxes_and_sum_to_one(forest, beta):
    log_weight = draw.softmax_log_weights(forest.tree, beta)
    value = forest.tree.column("value")
    for problem in range(3):
        leaves = leaves_of(forest, problem)
        assert abs(np.exp(log_weight[leaves]).sum() - 1) < 1e-12
        for leaf in leaves[::7]:
            plain = 1.0
            for parent, child in way_up(forest, leaf):
                weights = np.exp(beta * value[forest.tree.children(parent)])
                plain *= np.exp(beta * value[child]) / weights.sum()
            np.testing.assert_allclose(np.exp(log_weight[leaf]), plain, rtol=1e-9)


def test_at_lambda_a_leaf_weighs_exp_lambda_r_over_exp_lambda_v_root_and_the_numbers_of_children(forest):
    log_weight = draw.softmax_log_weights(forest.tree, LAM)
    value, count = forest.tree.column("value"), forest.tree.column("num_children")
    for problem in range(3):
        for leaf in leaves_of(forest, problem):
            log_siblings = sum(np.log(count[parent]) for parent, _ in way_up(forest, leaf))
            expected = LAM * (value[leaf] - value[problem]) - log_siblings
            assert abs(log_weight[leaf] - expected) < 1e-9


def test_walking_down_again_and_again_has_the_law_of_the_weights(forest):
    """Chi-square over leaves, rare ones pooled; the same test tells the draw at another temperature from it."""
    rng = np.random.default_rng(0)
    value, walks = forest.tree.column("value"), 20_000
    ends = np.zeros(len(forest.tree))
    probabilities = {}
    for _ in range(walks):
        node = 1
        while len(children := forest.tree.children(node)):
            if node not in probabilities:
                weights = np.exp(LAM * value[children])
                probabilities[node] = np.cumsum(weights / weights.sum())
            node = children[min(np.searchsorted(probabilities[node], rng.random()), len(children) - 1)]
        ends[node] += 1
    leaves = leaves_of(forest, 1)
    assert p_value(ends[leaves], np.exp(draw.softmax_log_weights(forest.tree, LAM)[leaves])) > 1e-3
    assert p_value(ends[leaves], np.exp(draw.softmax_log_weights(forest.tree, 0.9 * LAM)[leaves])) < 1e-6


def p_value(counts, probabilities):
    expected = counts.sum() * probabilities
    common = expected >= 5
    pool = np.array([True, False])[:, None] == common
    observed = np.append(counts[common], counts[pool[1]].sum())
    wanted = np.append(expected[common], expected[pool[1]].sum())
    return stats.chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue


def test_the_uniform_draw_gives_siblings_equal_shares(forest):
    log_weight = draw.uniform_log_weights(forest.tree)
    count = forest.tree.column("num_children")
    for leaf in leaves_of(forest, 2)[::5]:
        assert abs(log_weight[leaf] + sum(np.log(count[parent]) for parent, _ in way_up(forest, leaf))) < 1e-12


def test_the_argmax_draw_follows_the_largest_values_to_one_leaf_of_every_root(forest):
    log_weight = draw.argmax_log_weights(forest.tree)
    value = forest.tree.column("value")
    for problem in range(3):
        leaves = leaves_of(forest, problem)
        (chosen,) = leaves[log_weight[leaves] == 0.0]
        assert (log_weight[leaves[leaves != chosen]] == -np.inf).all()
        for parent, child in way_up(forest, chosen):
            assert value[child] == value[forest.tree.children(parent)].max()


def test_where_every_reward_is_minus_infinity_leaves_weigh_alike():
    search = bare_search(2, n_rollouts=50, widen_c=np.inf)
    search.tell(made_up(tickets := search.ask(50), np.full(50, -np.inf), 2))
    assert len(tickets) == 50
    (samples,) = search.samples()
    np.testing.assert_allclose(samples.weights, 1 / 50)
    assert samples.log_z == -np.inf


def test_a_leaf_of_probability_zero_weighs_nothing():
    search = bare_search(2, n_rollouts=40, widen_c=np.inf)
    rewards = np.where(np.arange(40) % 2, -np.inf, 0.5)
    search.tell(made_up(search.ask(40), rewards, 2))
    (samples,) = search.samples()
    np.testing.assert_allclose(samples.weights, np.where(np.arange(40) % 2, 0.0, 1 / 20))
    assert abs(samples.log_z - (0.5 + np.log(0.5))) < 1e-12
    assert abs(samples.mean_reward() - 0.5) < 1e-12


def test_samples_can_be_drawn_at_another_temperature_than_that_of_the_values():
    search = bare_search(1, n_rollouts=30, widen_c=np.inf, inv_temperature=4.0, draw_inv_temperature=0.5)
    rewards = np.random.default_rng(1).standard_normal(30)
    search.tell(made_up(search.ask(30), rewards, 1))
    (samples,) = search.samples()
    np.testing.assert_allclose(samples.weights, np.exp(0.5 * rewards) / np.exp(0.5 * rewards).sum())
    assert abs(samples.log_z - np.log(np.mean(np.exp(4.0 * rewards)))) < 1e-12
