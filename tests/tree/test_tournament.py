"""The kinetic tournament always knows the plain argmax of v + x b, the earliest child among equals."""

import numpy as np
import pytest

from sadt_ray.tree import tournament
from sadt_ray.tree.backup import exploration_weight

from .forests import bare_search, made_up, part

KINDS = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "large": lambda rng, size: 1e4 * rng.standard_normal(size),
    "ties": lambda rng, size: rng.integers(0, 3, size).astype(float),
    "mostly -inf": lambda rng, size: np.where(rng.random(size) < 0.7, -np.inf, rng.standard_normal(size)),
    "all -inf": lambda rng, size: np.full(size, -np.inf),
}


def check(search, node):
    """The winner at ``node`` is the plain argmax: exactly, unless two scores differ by rounding alone."""
    t, children = search.tree.columns, search.tree.children(node)
    if len(children) == 0:
        return
    x = search.config.c_uct * np.sqrt(np.log(1.0 + t.visits[node] + t.in_flight[node]))
    visits, in_flight = t.visits[children], t.in_flight[children]
    values = t.value[children] - search.config.virtual_loss * in_flight / (visits + in_flight)
    scores = values + x / np.sqrt(1.0 + visits + in_flight)
    slot = tournament.best_slot(t, node, exploration_weight(t, search._params, node))
    best = int(np.argmax(scores))
    nearly = 1e-12 * np.max(np.abs(scores[np.isfinite(scores)]), initial=1.0)
    assert slot == best or 0 <= scores[best] - scores[slot] < nearly


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("c_uct", [0.0, 0.3, 3.0])
def test_the_winner_is_the_plain_argmax_while_children_arrive_and_are_visited(kind, c_uct):
    """One level: children keep their values while x grows, so that expiries alone bring the winner's change about."""
    rng = np.random.default_rng(3)
    search = bare_search(1, n_rollouts=6_000, selection="uct", c_uct=c_uct, widen_c=1.0)
    while len(tickets := search.ask(1)):
        search.tell(made_up(tickets, KINDS[kind](rng, 1), 1))
        if rng.random() < 0.3:
            check(search, 0)
    assert len(search.tree.children(0)) > 1_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("c_uct", [0.0, 1.0])
@pytest.mark.parametrize("virtual_loss", [0.0, 3.0])
def test_the_winner_is_right_after_asks_tells_and_forgets_in_any_order(kind, c_uct, virtual_loss):
    """Values, visits and simulations in flight all change; forgetting makes x smaller again."""
    rng = np.random.default_rng(4)
    config = {"c_uct": c_uct, "virtual_loss": virtual_loss, "widen_c": 1.5, "widen_alpha": 0.6}
    search = bare_search(3, n_rollouts=3_000, selection="uct", **config)
    waiting = []
    while search.wanting()[0] or waiting:
        if rng.random() < 0.5:
            tickets = search.ask(int(rng.integers(1, 8)))
            waiting += [tickets.take([row]) for row in range(len(tickets))]
        elif waiting:
            tickets = waiting.pop(rng.integers(len(waiting)))
            if rng.random() < 0.3:
                search.forget(tickets.id)
            else:
                search.tell(made_up(tickets, KINDS[kind](rng, 1), 3))
            check(search, int(tickets.node[0]))
        check(search, 0)
        check(search, int(rng.integers(len(search.tree))))
    assert len(search.tree) > 1_000
    assert len(search.tree.children(0)) > 64


def test_a_search_with_thousands_of_children_is_that_of_one_whose_tournament_is_always_played_anew():
    trees = []
    for anew in (False, True):
        rng = np.random.default_rng(5)
        search = bare_search(2, n_rollouts=6_000, selection="uct", c_uct=0.5)
        while len(tickets := search.ask(50)):
            search.tell(part(made_up(tickets, rng.standard_normal(len(tickets)), 2), rng.permutation(len(tickets))))
            if anew:
                tournament.rebuild(search.tree.columns, 0, exploration_weight(search.tree.columns, search._params, 0))
        trees.append(search)
    assert len(trees[0].tree.children(0)) > 1_500
    for name in ("parent", "visits", "value"):
        np.testing.assert_array_equal(trees[0].tree.column(name), trees[1].tree.column(name))
