"""A flow in selection: where the next simulation goes may follow it, what is found must not."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.config import SearchConfig
from sadt_ray.tree.simulate import Params
from sadt_ray.tree.tree import SEPARATE, SHARED, UCT

from .forests import (
    assert_keys_follow,
    assert_same_tree,
    bare_search,
    exact_flow,
    made_up,
    markov,
    noise_flow,
    searched,
)
from .test_theory import index_of, target_of

PROCESS, REWARD = markov(num_tokens=3, depth=4, seed=2, scale=2.0)
FLOWS = {
    "the soft value": exact_flow(PROCESS, REWARD, 1.0),
    "its negative": exact_flow(PROCESS, REWARD, 1.0, scale=-1.0),
    "noise": noise_flow(PROCESS, scale=3.0),
}
each_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)


def errors_of_z(n_rollouts, flow, **hybrid):
    """Z_hat / Z - 1 of 500 searches, mean and its standard error."""
    _, z, _ = target_of(PROCESS, REWARD, 1.0)
    config = SearchConfig(n_rollouts=n_rollouts, widen_c=1.0, widen_alpha=0.5, **hybrid)
    forest = searched(config, PROCESS, REWARD, count=500, batch_size=500, flow=flow)
    errors = np.exp([one.log_z for one in forest.samples()]) / z - 1
    return errors.mean(), errors.std() / np.sqrt(len(errors))


@each_flow
@pytest.mark.parametrize("n_rollouts", [12, 100])
def test_selection_by_the_flow_alone_estimates_z_without_bias_at_any_budget_and_whatever_the_flow(flow, n_rollouts):
    error, se = errors_of_z(n_rollouts, flow, alpha=1.0, virtual_loss=1.0)
    assert abs(error) < 4 * se < 0.2


def test_the_less_selection_reads_of_the_flow_the_more_its_estimate_is_biased_low():
    """Measured at 60 simulations: alpha 1 none, 1 and fading after 8 visits -.15, .5 -.30, 0 -.50 of Z."""
    fading, se = errors_of_z(60, FLOWS["the soft value"], alpha=1.0, alpha_visits=8.0)
    half, _ = errors_of_z(60, FLOWS["the soft value"], alpha=0.5)
    none, _ = errors_of_z(60, FLOWS["the soft value"], alpha=0.0)
    assert none < half - 5 * se < fading - 10 * se < -12 * se


@pytest.mark.parametrize(
    ("flow", "hybrid"),
    [
        ("the soft value", {"alpha": 1.0}),
        ("its negative", {"alpha": 1.0}),
        ("noise", {"alpha": 1.0, "alpha_visits": 8.0}),
        ("its negative", {"alpha": 0.5}),
    ],
)
def test_the_weighted_samples_approach_the_target_whatever_flow_chose_them(flow, hybrid):
    target, _, prior = target_of(PROCESS, REWARD, 1.0)
    config = SearchConfig(n_rollouts=4_000, widen_c=2.0, widen_alpha=0.7, **hybrid)
    forest = searched(config, PROCESS, REWARD, count=2, batch_size=16, flow=FLOWS[flow])
    laws = [np.bincount(index_of(PROCESS, one.samples), one.weights, minlength=81) for one in forest.samples()]
    assert np.mean([0.5 * np.abs(law - target).sum() for law in laws]) < 0.13 < 0.3 * 0.5 * np.abs(prior - target).sum()


def test_with_alpha_zero_the_flow_is_never_read():
    settings = {"n_rollouts": 300, "inv_temperature": 1.5}
    for other in ({}, {"selection_inv_temperature": 0.5}, {"selection": "uct"}, {"virtual_loss": 1.0}):
        config = SearchConfig(**settings, **other)
        trees = [searched(config, PROCESS, REWARD, 2, 8, flow) for flow in FLOWS.values()]
        assert_same_tree(trees[0], trees[1])
        assert_same_tree(trees[0], trees[2])


def test_selection_keeps_weights_of_its_own_only_where_it_reads_a_flow():
    def selection(**changes):
        return Params.of(SearchConfig(**changes), 3).selection

    assert selection(alpha=0.0, alpha_visits=5.0) == SHARED
    assert selection(alpha=0.1) == SEPARATE
    assert selection(alpha=0.1, selection="uct") == UCT


SELECTIONS = [{}, {"selection_inv_temperature": 0.4}, {"selection": "uct"}]
each_selection = pytest.mark.parametrize("selection", SELECTIONS, ids=["at lambda", "cooler", "uct"])
HYBRIDS = [{"alpha": 1.0}, {"alpha": 0.3}, {"alpha": 0.9, "alpha_visits": 2.0}, {"alpha": 0.5, "virtual_loss": 3.0}]


def random_run(search, rng, steps, levels):
    """Ask, tell and forget at random, rewards of -inf among them, and flows of any size."""
    waiting = []
    for _ in range(steps):
        if rng.random() < 0.5:
            tickets = search.ask(int(rng.integers(1, 30)))
            waiting += [tickets.take([row]) for row in range(len(tickets))]
        elif waiting:
            ticket = waiting.pop(rng.integers(len(waiting)))
            if rng.random() < 0.2:
                search.forget(ticket.id)
            else:
                reward = -np.inf if rng.random() < 0.1 else rng.uniform(-20, 20)
                results = made_up(ticket, [reward], levels)
                results.path_log_flow[:] = rng.uniform(-500, 500, len(results.path_log_flow))
                search.tell(results)
        yield
    search.forget(search.open_tickets()[::2])


@each_selection
@given(seed=st.integers(0, 10_000), hybrid=st.sampled_from(HYBRIDS), levels=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_keys_follow_every_ask_tell_forget_and_refresh(selection, seed, hybrid, levels):
    rng = np.random.default_rng(seed)
    search = bare_search(levels, n_rollouts=200, widen_c=1.0, inv_temperature=2.0, **hybrid, **selection)
    for step, _ in enumerate(random_run(search, rng, 60, levels)):
        if step % 7 == 0:
            nodes = rng.choice(len(search.tree), rng.integers(len(search.tree) + 1), replace=False)
            search.refresh_log_flow(nodes, rng.uniform(-2_000, 2_000, len(nodes)))
        assert_keys_follow(search)


@each_selection
def test_refreshed_at_once_or_piece_by_piece_a_tree_selects_as_if_it_had_been_told_so_from_the_start(selection):
    """The same rollouts told with other flows and then refreshed: what is asked next is the same to the bit."""
    asked = []
    for refresh in ("told", "at once", "in pieces"):
        rng, search = np.random.default_rng(1), bare_search(2, 3, n_rollouts=2_000, alpha=0.6, **selection)
        tickets = search.ask(1_500)  # all at once: the roots' children do not depend on the flow
        results = made_up(tickets, rng.standard_normal(len(tickets)), 2)
        final, first = rng.standard_normal((2, len(results.path_log_flow)))
        results.path_log_flow[:] = final if refresh == "told" else first
        search.tell(results)
        for nodes in np.array_split(np.arange(len(final)), {"told": 0, "at once": 1, "in pieces": 9}[refresh] or 1):
            if refresh != "told":
                search.refresh_log_flow(3 + nodes, final[nodes])
        asked.append(search.ask(900))
        assert len(asked[-1]) > 500
    assert (asked[0].level > 0).sum() > 200
    for other in asked[1:]:
        np.testing.assert_array_equal(asked[0].node, other.node)
        np.testing.assert_array_equal(asked[0].seed, other.seed)


def test_a_refresh_changes_neither_values_nor_the_draw():
    search = searched(SearchConfig(n_rollouts=300, alpha=0.5), PROCESS, REWARD, 2, 8, FLOWS["noise"])
    search.tree.column("value").setflags(write=False)
    value, drawn, weight = (
        a.copy() for a in (search.tree.column("value"), search.log_draw_probability(), search.tree.columns.weight)
    )
    search.refresh_log_flow(np.arange(len(search.tree)), np.full(len(search.tree), 7.0))
    np.testing.assert_array_equal(search.tree.column("value"), value)
    np.testing.assert_array_equal(search.log_draw_probability(), drawn)
    np.testing.assert_array_equal(search.tree.columns.weight, weight)
    np.testing.assert_array_equal(search.tree.column("log_flow"), 7.0)


@each_selection
def test_half_a_million_nodes_are_refreshed_in_well_under_a_second(selection):
    search = bare_search(10, n_rollouts=10**6, alpha=0.5, **selection)
    while len(search.tree) < 500_000:
        tickets = search.ask(4_096)
        search.tell(made_up(tickets, np.sin(tickets.id), 10))
    log_flow = np.cos(np.arange(len(search.tree)))
    search.refresh_log_flow(np.arange(1), np.zeros(1))
    started = time.process_time()
    search.refresh_log_flow(np.arange(len(search.tree)), log_flow)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("nodes", "log_flow", "message"),
    [
        ([0, 99], [0.0, 0.0], "node 99 is not in the tree of 1 nodes"),
        ([-1], [0.0], "node -1"),
        ([0], [np.nan], "log flow is a number below infinity, got nan"),
        ([0], [np.inf], "got inf"),
        ([0], [0.0, 1.0], r"shape \(1,\) but log flows of shape \(2,\)"),
    ],
)
def test_a_refresh_that_does_not_fit_is_refused(nodes, log_flow, message):
    with pytest.raises(ValueError, match=message):
        bare_search(2, n_rollouts=5, alpha=0.5).refresh_log_flow(np.array(nodes), np.array(log_flow))


@pytest.mark.parametrize("bad", [{"alpha": -0.1}, {"alpha": 1.1}, {"alpha": np.nan}, {"alpha_visits": 0.0}], ids=str)
def test_a_share_of_the_flow_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        SearchConfig(**bad)
