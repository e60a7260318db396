"""Standard errors from the children of the root: the plain jackknife, and the spread of many searches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.config import SearchConfig
from sadt_ray.numerics.logspace import log_mean_exp
from sadt_ray.tree.errors import log_mean_se, weighted_mean_se

from .forests import bare_search, made_up, made_up_sweeps, markov, searched

numbers = st.lists(st.floats(-30, 30), min_size=2, max_size=12).map(np.array)


def plain_jackknife(estimate, n):
    without = np.array([estimate(np.delete(np.arange(n), i)) for i in range(n)])
    return np.sqrt((n - 1) / n * np.square(without - without.mean()).sum())


@given(numbers, st.floats(-1e4, 1e4))
@settings(max_examples=50)
def test_the_error_of_a_log_mean_is_the_plain_jackknife_wherever_the_values_lie(log_values, shift):
    plain = plain_jackknife(lambda kept: log_mean_exp(log_values[kept]), len(log_values))
    np.testing.assert_allclose(log_mean_se(log_values + shift), plain, rtol=1e-6, atol=1e-6)


@given(numbers, st.integers(0, 99))
@settings(max_examples=50)
def test_the_error_of_a_weighted_mean_is_the_plain_jackknife(log_shares, seed):
    shares, means = np.exp(log_shares), np.random.default_rng(seed).standard_normal(len(log_shares))
    plain = plain_jackknife(lambda kept: shares[kept] @ means[kept] / shares[kept].sum(), len(shares))
    np.testing.assert_allclose(weighted_mean_se(shares, means), plain, rtol=1e-6, atol=1e-9)


def test_with_even_weights_they_are_the_textbook_errors():
    values = np.random.default_rng(0).standard_normal(400)
    np.testing.assert_allclose(weighted_mean_se(np.ones(400), values), values.std(ddof=1) / 20, rtol=1e-12)
    weights = np.exp(0.01 * values)
    np.testing.assert_allclose(log_mean_se(0.01 * values), weights.std(ddof=1) / weights.mean() / 20, rtol=1e-3)


def test_one_child_that_carries_all_leaves_an_error_as_large_as_its_lead():
    """The delta method would say one nat, and no error of the mean at all."""
    assert log_mean_se(np.array([900.0, 0.0, 0.0, 0.0])) > 300
    np.testing.assert_allclose(weighted_mean_se(np.array([1.0, 1e-200]), np.array([5.0, 2.0])), 1.5)


@pytest.mark.parametrize("log_values", [[], [3.0], [-np.inf] * 5, [2.0, -np.inf, -np.inf]], ids=str)
def test_fewer_than_two_children_of_finite_value_tell_nothing(log_values):
    assert log_mean_se(np.array(log_values)) == np.inf


@pytest.mark.parametrize(
    ("shares", "means"), [([1.0], [2.0]), ([1.0, 0.0], [2.0, np.nan]), ([0.5, 0.5], [1.0, -np.inf])], ids=str
)
def test_fewer_than_two_children_of_weight_or_an_infinite_mean_tell_nothing(shares, means):
    assert weighted_mean_se(np.array(shares), np.array(means)) == np.inf


@pytest.mark.parametrize("draw", ["softmax", "uniform"])
def test_the_errors_are_the_spread_over_many_searches(draw):
    process, reward = markov(num_tokens=3, depth=4, seed=2)
    config = SearchConfig(n_rollouts=100, widen_c=np.inf, draw=draw)
    found = searched(config, process, reward, count=800, batch_size=800).samples()
    for estimate, se in (
        ([one.log_z for one in found], [one.log_z_se for one in found]),
        ([one.mean_reward() for one in found], [one.mean_reward_se for one in found]),
    ):
        assert 0.9 < np.sqrt(np.mean(np.square(se))) / np.std(estimate) < 1.1


def test_samples_of_one_pool_do_not_count_as_independent():
    """Twenty pools of fifty like samples each: the error is that of twenty numbers, not of a thousand."""
    errors, means = [], []
    for seed in range(200):
        search = bare_search(1, n_rollouts=20, widen_c=np.inf)
        pools = np.random.default_rng(seed).normal(0, 0.5, 20)
        search.tell(made_up_sweeps(search.ask(20), pools, 1, [np.full(50, -np.log(50))] * 20))
        (found,) = search.samples()
        errors.append(found.mean_reward_se)
        means.append(found.mean_reward())
    assert 0.85 < np.sqrt(np.mean(np.square(errors))) / np.std(means) < 1.15


def test_below_one_level_the_error_of_log_z_is_about_right_where_selection_goes_by_counts():
    process, reward = markov(num_tokens=3, depth=4, seed=2)
    config = SearchConfig(n_rollouts=200, selection_inv_temperature=0.0, widen_alpha=0.6)
    found = searched(config, process, reward, count=300, batch_size=300).samples()
    ratio = np.sqrt(np.mean([one.log_z_se**2 for one in found])) / np.std([one.log_z for one in found])
    assert 0.85 < ratio < 1.25


def test_the_argmax_draw_has_no_error_of_its_mean_but_one_of_log_z():
    search = bare_search(1, n_rollouts=30, widen_c=np.inf, draw="argmax")
    search.tell(made_up(search.ask(30), np.sin(np.arange(30)), 1))
    assert search.samples()[0].mean_reward_se == np.inf
    assert 0 < search.samples()[0].log_z_se < 1


def test_samples_can_be_drawn_in_mid_search_of_the_problems_that_have_some():
    search = bare_search(3, 3, n_rollouts=50)
    tickets = search.ask(30)
    search.tell(made_up(first := tickets.take(tickets.problem != 1), np.sin(first.id), 3))
    np.testing.assert_array_equal(search.with_samples(), [0, 2])
    with pytest.raises(ValueError, match="'problem 1' has no sample yet"):
        search.samples()
    in_flight = search.samples(problems=search.with_samples())
    search.forget(search.open_tickets())
    for one, other in zip(in_flight, search.samples(problems=[0, 2]), strict=True):
        assert abs(one.weights.sum() - 1) < 1e-12
        np.testing.assert_array_equal(one.weights, other.weights)
        assert (one.log_z, one.log_z_se, one.mean_reward_se) == (other.log_z, other.log_z_se, other.mean_reward_se)
        assert 0 < one.log_z_se < np.inf
