"""Progressive widening: |C| < C N^alpha, simulations in flight counted on both sides."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from .forests import bare_search, made_up


def bound(search):
    """C (N + O)^alpha of every node."""
    n = 1.0 + search.tree.column("visits") + search.tree.column("in_flight")
    return search.config.widen_c * n**search.config.widen_alpha


def occupied(search):
    return search.tree.column("num_children") + search.tree.column("pending")


@given(
    widen_c=st.floats(0.2, 4.0),
    widen_alpha=st.floats(0.0, 1.0),
    num_levels=st.integers(1, 4),
    batches=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_children_and_pending_ones_exceed_the_bound_by_less_than_the_one_last_begun(
    widen_c, widen_alpha, num_levels, batches
):
    """A node widened while its count was below C N^alpha, and N only grows. The first simulation is told alone: while
    all of a root's first children are in flight there is nothing to descend into, and every simulation adds one."""
    search = bare_search(num_levels, n_rollouts=1_000, widen_c=widen_c, widen_alpha=widen_alpha)
    for size in [1, *batches]:
        tickets = search.ask(size)
        assert (occupied(search) < np.maximum(bound(search), 1.0) + 1.0).all()
        search.tell(made_up(tickets, np.zeros(len(tickets)), num_levels))


@given(st.floats(0.5, 4.0), st.floats(0.0, 1.0), st.integers(20, 120))
@settings(max_examples=60, deadline=None)
def test_one_at_a_time_the_root_widens_exactly_when_the_rule_says_so(widen_c, widen_alpha, simulations):
    search = bare_search(3, n_rollouts=simulations, widen_c=widen_c, widen_alpha=widen_alpha)
    children = 0
    for simulation in range(simulations):
        widens = children == 0 or children < widen_c * (1.0 + simulation) ** widen_alpha
        tickets = search.ask(1)
        if len(tickets) == 0:  # the rest of the budget went to x_0 already in the tree
            assert search.told[0] == simulations
            return
        if search.asked[0] == simulation + 1:
            assert (tickets.node[0] == 0) == widens
        search.tell(made_up(tickets, np.zeros(1), 3))
        children = len(search.tree.children(0))
        if search.asked[0] != simulation + 1:
            return


def test_the_first_36_simulations_of_published_dts_all_expand_the_root():
    """2 N^.8 > N - 1 up to N = 36: below some forty rollouts DTS is best-of-N with resampling."""
    search = bare_search(4, n_rollouts=40)
    nodes = []
    for _ in range(40):
        tickets = search.ask(1)
        nodes.append(tickets.node[0])
        search.tell(made_up(tickets, np.zeros(1), 4))
    assert nodes[:36] == [0] * 36
    assert nodes[36] != 0


def test_the_first_36_in_flight_at_once_expand_the_root_as_well():
    """Pending children count like children, and simulations in flight like visits."""
    search = bare_search(4, n_rollouts=36)
    assert (search.ask(36).node == 0).all()
    assert occupied(search)[0] == 36
    assert search.tree.column("in_flight")[0] == 36


def test_a_batch_beyond_the_bound_goes_to_the_children_there_are():
    search = bare_search(3, n_rollouts=10_000, widen_c=1.0, widen_alpha=0.5)
    search.tell(made_up(tickets := search.ask(4), np.zeros(len(tickets)), 3))
    tickets = search.ask(400)
    assert len(tickets) == 400
    assert 4 < occupied(search)[0] == np.ceil(bound(search)[0]) < 100
    assert len(np.unique(tickets.node)) == 1 + 4 * 2  # every node above x_0


def test_a_root_whose_first_children_are_all_in_flight_takes_every_ticket():
    search = bare_search(3, n_rollouts=500, widen_c=1.0, widen_alpha=0.3)
    assert (search.ask(500).node == 0).all()


def test_an_infinite_constant_starts_every_simulation_at_the_root():
    search = bare_search(3, n_rollouts=300, widen_c=np.inf)
    while len(tickets := search.ask(7)):
        assert (tickets.node == 0).all()
        search.tell(made_up(tickets, np.zeros(len(tickets)), 3))
    assert len(search.tree.children(0)) == 300
