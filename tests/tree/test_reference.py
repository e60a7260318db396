"""The fast tree is the tree of the algorithm, seed for seed and node for node."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sadt_ray.config import SearchConfig
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rollout.rollout import rollout

from . import reference
from .forests import exact_flow, markov, mixture, new_search, noise_flow, problems, searched

SIMULATIONS = 600
CONFIGS = {
    "DTS": {"inv_temperature": 1.5, "seed": 0},
    "cooler selection": {"inv_temperature": 2.0, "selection_inv_temperature": 0.6, "seed": 1},
    "DTS*": {"selection": "uct", "c_uct": 0.7, "seed": 2},
    "selection by counts alone": {"selection_inv_temperature": 0.0, "seed": 3},
    "greedy DTS*": {"selection": "uct", "c_uct": 0.0, "seed": 4},
    "narrow and deep": {"widen_c": 1.0, "widen_alpha": 0.5, "seed": 5},
    "narrow and deep DTS*": {"widen_c": 1.0, "widen_alpha": 0.5, "selection": "uct", "seed": 6},
    "one branch": {"widen_c": 0.5, "widen_alpha": 0.0, "seed": 7},
    "S-ADT": {"alpha": 0.3, "inv_temperature": 1.5, "widen_c": 1.0, "widen_alpha": 0.5},
    "selection by the flow alone": {"alpha": 1.0, "selection_inv_temperature": 0.7, "widen_c": 1.0},
    "S-ADT whose flow fades": {"alpha": 1.0, "alpha_visits": 4.0, "inv_temperature": 2.0, "widen_alpha": 0.5},
    "S-ADT, UCT": {"alpha": 0.3, "alpha_visits": 10.0, "selection": "uct", "inv_temperature": 2.0},
}


def assert_same_nodes(fast, nodes):
    number = {id(node): i for i, node in enumerate(nodes)}
    np.testing.assert_array_equal(fast.tree.column("parent"), [number.get(id(node.parent), -1) for node in nodes])
    for name in ("level", "visits", "in_flight", "pending"):
        np.testing.assert_array_equal(fast.tree.column(name), [getattr(node, name) for node in nodes], err_msg=name)
    np.testing.assert_array_equal(fast.states.values, [node.state for node in nodes])
    np.testing.assert_allclose(fast.tree.column("value"), [node.value for node in nodes], rtol=1e-9, atol=1e-9)
    for i, node in enumerate(nodes):
        np.testing.assert_array_equal(fast.tree.children(i), [number[id(child)] for child in node.children])


def assert_that_of_the_plain_algorithm(process, reward, settings, flow=None):
    config = SearchConfig(n_rollouts=SIMULATIONS, **settings)
    fast = searched(config, process, reward, **({} if flow is None else {"flow": flow}))
    chain, scorer = process.bind(problems(1)), reward.bind(problems(1))
    assert_same_nodes(fast, reference.grow(config, chain, scorer, process.num_levels, fast._seeds[0], flow))


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
def test_the_fast_tree_is_that_of_the_plain_algorithm_on_a_markov_chain(settings):
    process, reward = markov(num_tokens=12, depth=4)
    assert_that_of_the_plain_algorithm(process, reward, settings, noise_flow(process))


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


@pytest.mark.parametrize("settings", [{"alpha": 1.0}, {"alpha": 0.3}, {"alpha": 1.0, "alpha_visits": 2.0}], ids=str)
@pytest.mark.parametrize("selection", [{}, {"selection": "uct", "c_uct": 0.3}], ids=["boltzmann", "uct"])
def test_a_flow_of_minus_infinity_or_a_hopeless_child_is_treated_as_in_the_plain_algorithm(settings, selection):
    """At x_0 the flow may be the reward itself, and so -inf."""
    process, reward = markov(num_tokens=4, depth=3)
    reward.table[reward.table < -0.3] = -np.inf
    flow = exact_flow(process, reward, 2.0)
    narrow = {"widen_c": 1.0, "widen_alpha": 0.5}
    assert_that_of_the_plain_algorithm(
        process, reward, {"inv_temperature": 2.0, **settings, **selection, **narrow}, flow
    )


PARALLEL = {
    "DTS": {"inv_temperature": 1.5},
    "DTS, virtual loss": {"inv_temperature": 1.5, "virtual_loss": 1.0},
    "cooler selection": {"inv_temperature": 2.0, "selection_inv_temperature": 0.6},
    "cooler selection, virtual loss": {"inv_temperature": 2.0, "selection_inv_temperature": 0.6, "virtual_loss": 30.0},
    "DTS*": {"selection": "uct", "c_uct": 0.7},
    "DTS*, virtual loss": {"selection": "uct", "c_uct": 0.7, "virtual_loss": 0.5},
    "greedy DTS*, virtual loss": {"selection": "uct", "c_uct": 0.0, "virtual_loss": 5.0},
    "selection by counts alone, virtual loss": {"selection_inv_temperature": 0.0, "virtual_loss": 2.0},
    "a virtual loss beyond every double's exponent": {"inv_temperature": 50.0, "virtual_loss": 100.0},
    "S-ADT": {"alpha": 0.3, "inv_temperature": 1.5},
    "S-ADT, virtual loss": {"alpha": 0.3, "alpha_visits": 3.0, "virtual_loss": 1.0},
    "selection by the flow alone, virtual loss": {"alpha": 1.0, "virtual_loss": 1.0, "inv_temperature": 40.0},
    "S-ADT, UCT, virtual loss": {"alpha": 0.3, "selection": "uct", "c_uct": 0.7, "virtual_loss": 0.5},
    "S-ADT, UCT, the flow fades": {"alpha": 1.0, "alpha_visits": 5.0, "selection": "uct", "c_uct": 0.2},
}


@pytest.mark.parametrize("widening", [{}, {"widen_c": 1.0, "widen_alpha": 0.5}], ids=["published", "narrow"])
@pytest.mark.parametrize("settings", PARALLEL.values(), ids=PARALLEL)
def test_the_fast_tree_is_that_of_the_plain_algorithm_with_many_in_flight(settings, widening):
    """Up to 60 in flight, asked in batches of up to 20, told in any order, every tenth forgotten; with a flow, new
    weights arrive now and then, and half the nodes get other log flows."""
    process, reward = markov(num_tokens=12, depth=4)
    config = SearchConfig(n_rollouts=600, seed=8, **settings, **widening)
    fast = new_search(config, process)
    chain, scorer = process.bind(problems(1)), reward.bind(problems(1))
    flow = noise_flow(process, config.inv_temperature)
    plain = reference.PlainSearch(config, chain, scorer, process.num_levels, fast._seeds[0], flow)
    rng, waiting = np.random.default_rng(9), []
    while True:
        size = int(rng.integers(1, 21))
        tickets = fast.ask(size)
        asked = list(itertools.takewhile(lambda one: one is not None, (plain.ask() for _ in range(size))))
        assert [int(seed[0]) for _, seed in asked] == tickets.seed.tolist()
        assert [plain.nodes.index(node) for node, _ in asked] == tickets.node.tolist()
        waiting += [(tickets.take([row]), node) for row, (node, _) in enumerate(asked)]
        if not waiting:
            break
        for _ in range(len(waiting) - int(rng.integers(40)) if asked else len(waiting)):
            ticket, node = waiting.pop(rng.integers(len(waiting)))
            if rng.random() < 0.1:
                fast.forget(ticket.id)
                plain.forget(node)
            else:
                results = rollout(chain, scorer, process.num_levels, ticket)
                fast.tell(replace(results, path_log_flow=flow(results.path_state, results.path_level)))
                plain.tell(node, ticket.seed)
        if config.alpha > 0 and rng.random() < 0.3:
            nodes = rng.choice(len(fast.tree), len(fast.tree) // 2, replace=False)
            log_flow = config.inv_temperature * rng.standard_normal(len(nodes))
            fast.refresh_log_flow(nodes, log_flow)
            for number, value in zip(nodes, log_flow, strict=True):
                reference.set_log_flow(plain.nodes[number], value)
    assert fast.told[0] == 600
    assert fast.forgotten[0] > 10
    assert_same_nodes(fast, plain.nodes)
