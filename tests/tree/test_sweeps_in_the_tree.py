"""A leaf with many weighted samples: a particle sweep that one ticket asked for."""

from dataclasses import replace

import numpy as np
import pytest

from sadt_ray.numerics.logspace import log_mean_exp, normalised
from sadt_ray.tree.search import Search

from .forests import bare_search, made_up, made_up_sweeps, markov, problems

LAM = 2.0


def prior_sweep(process, reward, tickets, n):
    """n particles from the prior a ticket, weighted by exp(lambda r): log Z_hat, log-weights, samples, rewards."""
    chain = process.with_branch_steps("none").bind(problems(1))
    count = n * len(tickets)
    seeds = np.repeat(tickets.seed, n) + np.arange(count, dtype=np.uint64)
    zeros = np.zeros(count, np.int64)
    samples = chain.advance(np.repeat(chain.root_states(), count, axis=0), zeros, zeros, seeds).states
    rewards = reward.bind(problems(1))(samples, zeros)
    log_weights = LAM * rewards.reshape(len(tickets), n)
    shares = [np.log(normalised(row)) for row in log_weights]
    results = made_up_sweeps(tickets, log_mean_exp(log_weights) / LAM, 1, shares)
    return replace(results, samples=samples.astype(float), rewards=rewards)


def test_pooled_sweeps_of_independent_particles_are_importance_sampling_with_all_of_them():
    """Shares of leaves are Z_hat_j, shares within one its particles': together exp(lambda r) of every particle."""
    process, reward = markov(num_tokens=3, depth=4, seed=2)
    search = bare_search(1, n_rollouts=40, widen_c=np.inf, inv_temperature=LAM)
    rewards = []
    while len(tickets := search.ask(7)):
        results = prior_sweep(process, reward, tickets, 25)
        rewards.append(results.rewards)
        search.tell(results)
    (found,) = search.samples()
    rewards = np.concatenate(rewards)
    assert len(found.samples) == 1_000
    np.testing.assert_array_equal(found.rewards, rewards)
    np.testing.assert_allclose(found.weights, normalised(LAM * rewards), rtol=1e-12)
    np.testing.assert_allclose(found.log_z, log_mean_exp(LAM * rewards), rtol=1e-12)
    assert found.ess > 5 * found.root_ess


def test_below_the_root_too_a_leaf_s_share_is_split_among_its_samples():
    search = bare_search(3, n_rollouts=150, inv_temperature=LAM)
    rng = np.random.default_rng(0)
    while len(tickets := search.ask(5)):
        shares = [np.log(normalised(rng.standard_normal(rng.integers(1, 9)))) for _ in range(len(tickets))]
        search.tell(made_up_sweeps(tickets, rng.standard_normal(len(tickets)), 3, shares))
    (found,) = search.samples()
    store = search.sample_store.arrays()
    leaf_share = np.exp(search.log_draw_probability())[store["node"]]
    np.testing.assert_allclose(found.weights, leaf_share * np.exp(store["log_weight"]), rtol=1e-9)


def test_a_sweep_that_lost_all_its_weight_brings_no_sample_and_the_search_goes_on():
    search = bare_search(2, n_rollouts=60, widen_c=1.0)
    search.tell(made_up_sweeps(search.ask(4), np.full(4, -np.inf), 2, [[]] * 4))
    assert search.told[0] == 4
    assert len(search.with_samples()) == 0
    with pytest.raises(ValueError, match="has no sample yet"):
        search.samples()
    rng = np.random.default_rng(0)
    while len(tickets := search.ask(4)):
        lost = rng.random(len(tickets)) < 0.5
        values = np.where(lost, -np.inf, rng.standard_normal(len(tickets)))
        shares = [[] if gone else [np.log(0.25), np.log(0.75)] for gone in lost]
        search.tell(made_up_sweeps(tickets, values, 2, shares))
    (found,) = search.samples()
    assert abs(found.weights.sum() - 1) < 1e-12
    assert np.isfinite(found.log_z)
    assert np.isfinite(found.mean_reward_se)
    assert (search.told == 60).all()


@pytest.mark.parametrize("draw", ["softmax", "argmax", "uniform"])
def test_where_every_sweep_lost_its_weight_samples_that_there_are_weigh_alike(draw):
    search = bare_search(1, n_rollouts=10, widen_c=np.inf, draw=draw)
    search.tell(made_up_sweeps(search.ask(3), np.full(3, -np.inf), 1, [[], [np.log(0.5)] * 2, []]))
    np.testing.assert_allclose(search.samples()[0].weights, 0.5)


def test_the_argmax_draw_takes_the_leaf_of_the_highest_value_and_the_uniform_draw_leaves_alike():
    search = bare_search(1, n_rollouts=3, widen_c=np.inf)
    shares = [np.log([0.5, 0.5]), np.log([0.1, 0.2, 0.7]), np.log([1.0])]
    search.tell(made_up_sweeps(search.ask(3), [0.1, 0.3, 0.2], 1, shares))
    (best,) = search.samples(replace(search.config, draw="argmax"))
    np.testing.assert_allclose(best.weights, [0, 0, 0.1, 0.2, 0.7, 0])
    (alike,) = search.samples(replace(search.config, draw="uniform"))
    np.testing.assert_allclose(alike.weights, np.array([0.5, 0.5, 0.1, 0.2, 0.7, 1]) / 3)


def test_a_leaf_of_a_sweep_that_is_arrived_at_again_is_counted_and_nothing_more():
    search = bare_search(1, n_rollouts=50, widen_c=2.0, widen_alpha=0.0)
    search.tell(made_up_sweeps(search.ask(2), [0.0, 0.0], 1, [np.log([0.5, 0.5])] * 2))
    assert len(search.ask(1)) == 0
    assert search.told[0] == 50
    np.testing.assert_allclose(search.samples()[0].weights, 0.25)


def test_leaves_of_sweeps_are_restored_with_their_samples():
    search = bare_search(1, n_rollouts=10, widen_c=np.inf)
    search.tell(made_up_sweeps(search.ask(3), [0.1, -np.inf, 0.2], 1, [np.log([0.5, 0.5]), [], np.log([0.3, 0.7])]))
    (before,), (after,) = search.samples(), Search.restored(search.state()).samples()
    np.testing.assert_array_equal(before.weights, after.weights)


SPOILT = {
    "weights that sum to four": ([0.0, 0.0], [[0.0] * 4, [0.0]]),
    "weights that are all zero": ([0.0, 0.0], [[-np.inf, -np.inf], [0.0]]),
    "weights that are all zero, of a lost sweep": ([-np.inf, 0.0], [[-np.inf, -np.inf], [0.0]]),
    "a weight that is NaN": ([0.0, 0.0], [[np.nan], [0.0]]),
    "a weight beyond all numbers": ([0.0, 0.0], [[1e4], [0.0]]),
    "a value without a sample": ([0.0, 0.0], [[], [0.0]]),
    "weights that sum to one over both tickets alone": ([0.0, 0.0], [[np.log(0.5)], [np.log(0.5)]]),
}


@pytest.mark.parametrize(("values", "shares"), SPOILT.values(), ids=SPOILT)
def test_samples_whose_weights_do_not_sum_to_one_over_their_ticket_are_refused(values, shares):
    search = bare_search(2, n_rollouts=9)
    tickets = search.ask(2)
    with pytest.raises(ValueError, match=r"ticket 0 of value .* normalise sample_log_weight over each ticket"):
        search.tell(made_up_sweeps(tickets, values, 2, shares))
    assert len(search.tree) == 1
    search.tell(made_up(tickets, [0.0, 0.0], 2))


@pytest.mark.parametrize("splits", [[1, 1, 2], [0, 2, 1]], ids=str)
def test_splits_that_do_not_rise_from_zero_are_refused(splits):
    search = bare_search(2, n_rollouts=9)
    results = made_up(search.ask(2), [0.0, 0.0], 2)
    spoilt = replace(
        results,
        sample_splits=np.array(splits),
        samples=results.samples[: splits[-1]],
        rewards=results.rewards[: splits[-1]],
        sample_log_weight=results.sample_log_weight[: splits[-1]],
    )
    with pytest.raises(ValueError, match="sample_splits must rise from 0"):
        search.tell(spoilt)
