"""The virtual loss: selection alone is pessimistic about what is in flight, and only while it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.tree.simulate import Params
from sadt_ray.tree.tree import SEPARATE, SHARED, UCT

from .forests import assert_keys_follow, assert_same_tree, bare_search, made_up, plain_selection_values

SELECTIONS = [{}, {"selection_inv_temperature": 0.4}, {"selection": "uct"}]
each_selection = pytest.mark.parametrize("selection", SELECTIONS, ids=["at lambda", "cooler", "uct"])


@each_selection
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_keys_follow_every_ask_tell_and_forget_and_are_those_without_a_loss_when_nothing_is_in_flight(selection, data):
    levels, loss = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0.01, 1.0, 30.0, 3_000.0]))
    narrow = data.draw(st.sampled_from([{}, {"widen_c": 1.0, "widen_alpha": 0.5}]))
    search = bare_search(levels, n_rollouts=120, virtual_loss=loss, **narrow, **selection)
    waiting = []
    for _ in range(data.draw(st.integers(1, 25))):
        if data.draw(st.booleans()):
            tickets = search.ask(data.draw(st.integers(1, 12)))
            waiting += [tickets.take([row]) for row in range(len(tickets))]
        elif waiting:
            ticket = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            if data.draw(st.booleans()):
                search.forget(ticket.id)
            else:
                search.tell(made_up(ticket, [data.draw(st.floats(-20, 20))], levels))
        assert_keys_follow(search)
    search.forget(search.open_tickets())
    np.testing.assert_array_equal(plain_selection_values(search), search.tree.column("value"))
    assert_keys_follow(search)


@each_selection
@given(loss=st.floats(0.0, 1e4), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_backup_and_draw_are_untouched_by_what_is_in_flight(selection, loss, seed):
    search = grown(loss, seed, **selection)
    value, drawn = search.tree.column("value").copy(), search.log_draw_probability()
    assert len(search.ask(100)) == 100
    np.testing.assert_array_equal(search.tree.column("value"), value)
    np.testing.assert_array_equal(search.log_draw_probability(), drawn)


def grown(loss, seed, **settings):
    """A tree of 200 simulations that were told one by one: the same for every virtual loss."""
    rng = np.random.default_rng(seed)
    search = bare_search(4, n_rollouts=10_000, seed=seed, virtual_loss=loss, inv_temperature=2.0, **settings)
    while search.told[0] < 200:
        search.tell(made_up(search.ask(1), rng.standard_normal(1), 4))
    return search


def touched(search, tickets):
    """Children of the root that some of the tickets, all asked at once, went through."""
    assert len(search.ask(tickets)) == tickets
    assert search.told[0] == 200  # none of the simulations ended at an x_0, which would have changed values
    return set(np.flatnonzero(search.tree.column("in_flight")[search.tree.children(0)]))


@given(losses=st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0)), seed=st.integers(0, 999))
@settings(max_examples=15, deadline=None)
def test_a_larger_virtual_loss_sends_greedy_tickets_through_every_child_of_a_smaller_one_and_more(losses, seed):
    """n tickets take the n largest of all v_c - loss O / (N_c + O), O = 0, 1, ...; a loss lowers those with O > 0."""
    smaller, larger = (touched(grown(loss, seed, selection="uct", c_uct=0.0), 60) for loss in sorted(losses))
    assert smaller <= larger
    assert touched(grown(0.0, seed, selection="uct", c_uct=0.0), 60) <= smaller
    assert len(touched(grown(1e4, seed, selection="uct", c_uct=0.0), 60)) > 10


@pytest.mark.parametrize("selection", SELECTIONS[:2], ids=["at lambda", "cooler"])
def test_a_larger_virtual_loss_spreads_drawn_tickets_over_more_children_up_to_one_each(selection):
    children, passing = 0, 0
    spread = dict.fromkeys((0.0, 5.0, 1e5), 0)
    for seed in range(20):
        for loss in spread:
            search = grown(loss, seed, **selection)
            spread[loss] += len(touched(search, 60))
        children += len(search.tree.children(0))
        passing += 60 - search.tree.column("pending")[0]
    assert passing < children
    assert spread[0.0] < 0.95 * spread[5.0]
    assert spread[5.0] < spread[1e5] == passing


@pytest.mark.parametrize("selection", SELECTIONS[1:], ids=["cooler", "uct"])
def test_one_at_a_time_a_virtual_loss_changes_nothing(selection):
    assert_same_tree(grown(0.0, 1, **selection), grown(100.0, 1, **selection))


def test_a_tree_with_a_virtual_loss_keeps_weights_of_its_own_for_selection():
    def selection(**changes):
        return Params.of(bare_search(**changes).config, 3).selection

    assert selection() == SHARED
    assert selection(virtual_loss=0.1) == SEPARATE
    assert selection(virtual_loss=0.1, selection_inv_temperature=0.5) == SEPARATE
    assert selection(virtual_loss=0.1, selection="uct") == UCT


@pytest.mark.parametrize("loss", [-0.1, np.inf, np.nan])
def test_a_virtual_loss_is_a_finite_number_not_below_zero(loss):
    with pytest.raises(ValueError, match="virtual_loss must be a number >= 0"):
        bare_search(virtual_loss=loss)
