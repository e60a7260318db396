"""A last step that is listed instead of drawn: the same target, the same Z, less noise."""

from itertools import pairwise

import numpy as np
import pytest
from smc_worlds import PROBLEMS, ChainWorld, assert_unbiased, sampler, tickets_at

from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Completions
from sadt_ray.rollout.rollout import rollout
from sadt_ray.rollout.spec import RolloutSpec
from sadt_ray.tree.growing import GrowingArray
from sadt_ray.tree.samples import SampleStore
from sadt_ray.tree.search import Search

WORLD = ChainWorld()


class LastTokenListed:
    """The enumerable chain, whose x_0 is three tokens and whose fourth is listed."""

    state_shape, state_dtype, num_levels = WORLD.process.state_shape, WORLD.process.state_dtype, 3

    def with_branch_steps(self, branch_steps):
        return self

    def bind(self, problems):
        return ListingChain(WORLD.process.bind(problems))


class ListingChain:
    def __init__(self, chain):
        self._chain = chain
        self.root_states, self.advance, self.features = chain.root_states, chain.advance, chain.features

    def decode(self, states, problem):
        raise AssertionError("the last step is listed, nobody draws it")

    def complete(self, states, problem):
        children = [self._chain.children(state, 3, 0) for state in states]
        samples = np.concatenate([child for child, _ in children])
        log_probs = np.concatenate([log_prob for _, log_prob in children])
        return Completions(np.repeat(np.arange(len(states)), 3), samples, log_probs, np.full(len(states), 2))


def listed(count=2_000, scorer=WORLD.scorer, **sweep):
    chain = LastTokenListed().bind(PROBLEMS)
    tickets = tickets_at(chain, 0, count)
    if sweep:
        return sampler(LastTokenListed(), scorer, WORLD.twist("noise"), WORLD.lam, **sweep)(tickets)
    return rollout(chain, scorer, 3, tickets, WORLD.lam)


def test_a_rollout_s_value_is_the_soft_value_of_the_state_before_the_last_step():
    results = listed(200)
    before = results.path_state[results.path_splits[1:] - 1]
    exact = [WORLD.values[tuple(state[:3].tolist())] for state in before]
    np.testing.assert_allclose(results.value, exact, rtol=1e-12)
    np.testing.assert_array_equal(results.nfe, 3 + 2)
    np.testing.assert_array_equal(results.reward_calls, 3)


@pytest.mark.parametrize("sweep", [{}, {"particles": 8, "ess_threshold": 1.0}], ids=["rollouts", "sweeps"])
def test_z_is_unbiased_and_the_samples_have_the_target_s_law(sweep):
    results = listed(**sweep)
    assert_unbiased(WORLD.lam * results.value, WORLD.log_z())
    masses = WORLD.masses(results)
    seen = (masses > 0).sum(0) >= 20  # for the others a standard error means nothing
    error = masses.std(0)[seen] / np.sqrt(len(results))
    assert np.abs((masses.mean(0) - WORLD.target())[seen] / error).max() < 4.5
    for begin, end in pairwise(results.sample_splits[:50]):
        assert np.exp(results.sample_log_weight[begin:end]).sum() == pytest.approx(1)


def test_listing_takes_noise_out_of_the_values():
    drawn = rollout(WORLD.process.bind(PROBLEMS), WORLD.scorer, 4, tickets_at(WORLD.process.bind(PROBLEMS), 0, 2_000))
    assert np.exp(WORLD.lam * listed().value).var() < 0.8 * np.exp(WORLD.lam * drawn.value).var()


def test_a_tree_of_listed_rollouts_holds_the_target():
    process = LastTokenListed()
    config = SearchConfig(inv_temperature=WORLD.lam, n_rollouts=3_000, selection_inv_temperature=0.0)
    search = Search(config, ["near"], process.bind(PROBLEMS[:1]).root_states(), 3)
    rollout_spec = RolloutSpec("published", inv_temperature=WORLD.lam)
    run_search(search, SerialExecutor(process, Bound(WORLD.scorer), PROBLEMS[:1], 64, rollout_spec=rollout_spec))
    drawn = search.samples()[0]
    codes = drawn.samples @ 3 ** np.arange(4)
    share = np.bincount(codes, drawn.weights, 81)
    target = np.zeros(81)
    for sequence in WORLD.process.sequences():
        weight = WORLD.process.probability(sequence) * np.exp(WORLD.lam * WORLD.reward(sequence))
        target[np.array(sequence) @ 3 ** np.arange(4)] = weight
    assert np.abs(share - target / target.sum()).sum() / 2 < 0.06
    assert drawn.log_z == pytest.approx(WORLD.log_z(), abs=0.1)


class Bound:
    oracle = False

    def __init__(self, scorer):
        self.scorer = scorer

    def bind(self, problems):
        return self.scorer


def test_endings_of_probability_zero_weigh_nothing_and_a_row_of_them_has_no_value():
    def only_zero_last(samples, problem):
        return np.where(samples[:, 3] == 0, 0.0, -np.inf)

    results = listed(50, only_zero_last)
    weights = np.exp(results.sample_log_weight)
    np.testing.assert_allclose(weights[results.samples[:, 3] == 0], 1)
    np.testing.assert_array_equal(weights[results.samples[:, 3] != 0], 0)
    nothing = listed(50, lambda samples, problem: np.full(len(samples), -np.inf))
    assert np.all(nothing.value == -np.inf)
    assert np.exp(nothing.sample_log_weight[:3]).sum() == pytest.approx(1)


@pytest.mark.parametrize("sweep", [{}, {"particles": 4}], ids=["rollouts", "sweeps"])
def test_one_ending_that_cannot_be_scored_fails_its_ticket_alone(sweep):
    def refuses(samples, problem):
        return np.where((samples[:, 0] == 0) & (samples[:, 3] == 2), np.nan, 0.0)

    results = listed(60, refuses, **sweep)
    assert 0 < len(results.failures) < 60
    assert len(results) + len(results.failures) == 60
    assert np.isfinite(results.rewards).all()
    assert not np.any(results.samples[:, 0] == 0)
    assert {len(results.samples), len(results.rewards), results.sample_splits[-1]} == {len(results.sample_log_weight)}


def test_texts_of_any_length_are_stored_whole():
    texts = GrowingArray((), np.dtype("<U3"))
    for new in (["abc"], ["a longer one", ""], ["x"]):
        texts.extend(np.array(new))
    np.testing.assert_array_equal(texts.values, ["abc", "a longer one", "", "x"])


def test_a_store_of_texts_comes_back_from_its_arrays():
    store = SampleStore()
    for texts in (["Ä, then 3 Hz. Answer: walking", ""], ["🫀 x"]):
        some = np.zeros(len(texts))
        store.extend(np.array(texts), some.astype(int), some.astype(int), some, some, some.astype(int))
    arrays = store.arrays()
    assert all(array.dtype.kind in "iuf" for array in arrays.values())
    again = SampleStore.from_arrays(arrays)
    again.extend(
        np.array(["a longer text than any before, by far"]),
        *(np.zeros(1, int),) * 2,
        *(np.zeros(1),) * 2,
        np.zeros(1, int),
    )
    values = again._values.values
    np.testing.assert_array_equal(values[:3], ["Ä, then 3 Hz. Answer: walking", "", "🫀 x"])
    assert values[3].endswith("by far")
