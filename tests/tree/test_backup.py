"""Incremental values equal the plain soft backup, whatever the rewards and however many updates."""

import numpy as np
import pytest

from sadt_ray.config import SearchConfig
from sadt_ray.numerics.logspace import soft_backup_enumerated, soft_backup_sampled
from sadt_ray.tree import draw
from sadt_ray.tree.backup import add_child, finish_visit
from sadt_ray.tree.simulate import Params
from sadt_ray.tree.tree import SEPARATE, SHARED, Tree

from .forests import bare_search, made_up, markov

SHIFTS = {
    "small": lambda rng, n: rng.standard_normal(n),
    "from -1e4 to 1e4": lambda rng, n: rng.uniform(-1e4, 1e4, n),
    "rising": lambda rng, n: np.linspace(-1e4, 1e4, n),
    "falling": lambda rng, n: np.linspace(1e4, -1e4, n),
    "some -inf": lambda rng, n: np.where(rng.random(n) < 0.5, -np.inf, 100 * rng.standard_normal(n)),
    "-inf but for the last": lambda rng, n: np.where(np.arange(n) < n - 1, -np.inf, -3.0),
    "all -inf": lambda rng, n: np.full(n, -np.inf),
}


def plain_values(tree, lam):
    """Every node's value from its children's by the plain formula, leaves first."""
    value = tree.column("value").copy()
    for node in range(len(tree) - 1, -1, -1):
        if len(children := tree.children(node)):
            below = value[children]
            value[node] = soft_backup_sampled(below, lam) if np.max(below) > -np.inf else -np.inf
    return value


@pytest.mark.parametrize("rewards", SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize("settings", [{}, {"selection_inv_temperature": 3.0}, {"selection": "uct"}], ids=str)
def test_values_are_the_plain_backup_after_thousands_of_updates(rewards, settings):
    """lambda = 50: exp(lambda r) spans 10^434000, so the centre of the weights has to move."""
    rng = np.random.default_rng(1)
    search = bare_search(3, n_rollouts=3_000, inv_temperature=50.0, widen_c=1.5, widen_alpha=0.6, **settings)
    todo = list(rewards(rng, 3_000))
    while len(tickets := search.ask(16)):
        search.tell(made_up(tickets, [todo.pop(0) for _ in range(len(tickets))], 3))
    assert np.isclose(search.tree.column("value"), plain_values(search.tree, 50.0), rtol=1e-9, atol=1e-9).all()
    assert len(search.tree.children(0)) > 100


@pytest.mark.parametrize("rewards", ["rising", "from -1e4 to 1e4"])
def test_the_weights_of_a_cooler_selection_are_its_plain_softmax(rewards):
    rng = np.random.default_rng(2)
    search = bare_search(2, n_rollouts=1_500, inv_temperature=50.0, selection_inv_temperature=0.7)
    todo = list(SHIFTS[rewards](rng, 1_500))
    while len(tickets := search.ask(8)):
        search.tell(made_up(tickets, [todo.pop(0) for _ in range(len(tickets))], 2))
    t, children = search.tree.columns, search.tree.children(0)
    weights = t.key[t.first_slot[0] : t.first_slot[0] + len(children)]
    plain = np.exp(0.7 * (t.value[children] - np.max(t.value[children])))
    np.testing.assert_allclose(weights / weights.sum(), plain / plain.sum(), rtol=1e-9, atol=1e-200)


def enumerated_tree(chain, process, reward, params, kept=slice(None)):
    """All children of all states (or ``kept`` of them), added one by one; leaves carry their rewards."""
    tree = Tree(1, params.selection, enumerated=True)
    states = {0: chain.root_states()[0]}
    for node in range(10_000):
        if node >= len(tree):
            return tree
        level = int(tree.columns.level[node])
        if level == process.num_levels:
            continue
        next_states, log_probs = chain.children(states[node], level, 0)
        for state, log_prob in list(zip(next_states, log_probs, strict=True))[kept]:
            tree.reserve(1, 8 * process.num_tokens)
            value = float(reward(state)) if level + 1 == process.num_levels else 0.0
            states[add_child(tree.columns, params, node, level + 1, value, 0.0, log_prob)] = state
    raise AssertionError("the chain is too large to enumerate")


def back_up(tree, params, num_levels):
    for leaf in np.flatnonzero(tree.column("level") == num_levels):
        finish_visit(tree.columns, params, int(leaf), 0)


@pytest.mark.parametrize("selection", [None, 0.5])
def test_a_tree_of_all_children_has_the_soft_values_of_exhaustive_sums(selection):
    process, reward = markov(num_tokens=3, depth=4)
    lam = 2.5
    params = Params.of(SearchConfig(inv_temperature=lam, selection_inv_temperature=selection), process.num_levels)
    assert params.selection == (SHARED if selection is None else SEPARATE)
    chain = process.bind([None])
    tree = enumerated_tree(chain, process, reward, params)
    back_up(tree, params, process.num_levels)
    exact = process.soft_values(reward, lam)
    assert len(tree) == 1 + 3 + 9 + 27 + 81
    assert abs(tree.columns.value[0] - exact[()]) < 1e-10
    for i, child in enumerate(tree.children(0)):
        assert abs(tree.columns.value[child] - exact[(i,)]) < 1e-10


def test_the_draw_from_a_tree_of_all_children_is_the_exact_target():
    process, reward = markov(num_tokens=3, depth=3)
    lam = 2.0
    params = Params.of(SearchConfig(inv_temperature=lam), process.num_levels)
    tree = enumerated_tree(process.bind([None]), process, reward, params)
    back_up(tree, params, process.num_levels)
    leaves = np.flatnonzero(tree.column("level") == process.num_levels)
    unnormalised = [process.probability(s) * np.exp(lam * reward(s)) for s in process.sequences()]
    drawn = np.exp(draw.softmax_log_weights(tree, lam)[leaves])
    np.testing.assert_allclose(drawn, unnormalised / np.sum(unnormalised), rtol=1e-10)


def test_mass_that_was_not_enumerated_is_divided_out():
    """Two of three children of every node: the value given that the next state is one of them."""
    process, reward = markov(num_tokens=3, depth=3)
    lam = 2.0
    params = Params.of(SearchConfig(inv_temperature=lam), process.num_levels)
    tree = enumerated_tree(process.bind([None]), process, reward, params, kept=slice(2))
    back_up(tree, params, process.num_levels)

    def value(prefix):
        if len(prefix) == process.num_levels:
            return reward(prefix)
        log_probs = np.log([process.probability((*prefix, token)) / process.probability(prefix) for token in (0, 1)])
        return soft_backup_enumerated(np.array([value((*prefix, token)) for token in (0, 1)]), log_probs, lam)

    assert abs(tree.columns.value[0] - value(())) < 1e-10
