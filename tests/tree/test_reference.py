"""The fast tree is the tree of the algorithm, seed for seed and node for node."""

import numpy as np
import pytest

from sadt_ray.config import SearchConfig
from sadt_ray.rewards.function import FunctionReward

from . import reference
from .forests import markov, mixture, problems, searched

SIMULATIONS = 1500
CONFIGS = {
    "DTS": {"inv_temperature": 1.5, "seed": 0},
    "cooler selection": {"inv_temperature": 2.0, "selection_inv_temperature": 0.6, "seed": 1},
    "DTS*": {"selection": "uct", "c_uct": 0.7, "seed": 2},
    "selection by counts alone": {"selection_inv_temperature": 0.0, "seed": 3},
    "greedy DTS*": {"selection": "uct", "c_uct": 0.0, "seed": 4},
    "narrow and deep": {"widen_c": 1.0, "widen_alpha": 0.5, "seed": 5},
    "narrow and deep DTS*": {"widen_c": 1.0, "widen_alpha": 0.5, "selection": "uct", "seed": 6},
    "one branch": {"widen_c": 0.5, "widen_alpha": 0.0, "seed": 7},
}


def assert_that_of_the_plain_algorithm(process, reward, settings):
    config = SearchConfig(n_rollouts=SIMULATIONS, **settings)
    fast = searched(config, process, reward)
    chain, scorer = process.bind(problems(1)), reward.bind(problems(1))
    nodes = reference.grow(config, chain, scorer, process.num_levels, fast._seeds[0], SIMULATIONS)
    number = {id(node): i for i, node in enumerate(nodes)}
    np.testing.assert_array_equal(fast.tree.column("parent"), [number.get(id(node.parent), -1) for node in nodes])
    np.testing.assert_array_equal(fast.tree.column("level"), [node.level for node in nodes])
    np.testing.assert_array_equal(fast.tree.column("visits"), [node.visits for node in nodes])
    np.testing.assert_array_equal(fast.states.values, [node.state for node in nodes])
    np.testing.assert_allclose(fast.tree.column("value"), [node.value for node in nodes], rtol=1e-9, atol=1e-9)
    for i, node in enumerate(nodes):
        np.testing.assert_array_equal(fast.tree.children(i), [number[id(child)] for child in node.children])


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
def test_the_fast_tree_is_that_of_the_plain_algorithm_on_a_markov_chain(settings):
    process, reward = markov(num_tokens=12, depth=4)
    assert_that_of_the_plain_algorithm(process, reward, settings)


@pytest.mark.parametrize("settings", list(CONFIGS.values())[:3], ids=list(CONFIGS)[:3])
def test_the_fast_tree_is_that_of_the_plain_algorithm_on_the_mixture(settings):
    """The reward adds a slope: within one mode the mixture's own is constant, and rounding would decide ties."""
    process, ratio = mixture()
    score = ratio.bind([])
    reward = FunctionReward(lambda samples, problem: score(samples, None) + samples @ [0.3, -0.2])
    assert_that_of_the_plain_algorithm(process, reward, settings)


def test_a_tree_is_the_same_after_a_reward_of_minus_infinity():
    process, reward = markov(num_tokens=12, depth=3)
    reward.table[reward.table < -0.3] = -np.inf
    assert_that_of_the_plain_algorithm(process, reward, {"inv_temperature": 3.0})
