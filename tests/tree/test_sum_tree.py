"""Sums over groups of eight are the plain sums, and a draw inverts the plain cumulative distribution."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.tree import sum_tree

FIRST = 5  # where the block begins in its array

positive = st.floats(0.0, 1e200, allow_subnormal=False)


def block_of(weights, log2_capacity):
    """An array with one block whose slots hold the weights, all else filled with noise."""
    block = np.full(FIRST + sum_tree.block_size(log2_capacity) + 3, 7.0)
    block[FIRST : FIRST + (1 << log2_capacity)] = 0.0
    block[FIRST : FIRST + len(weights)] = weights
    sum_tree.rebuild(block, FIRST, log2_capacity)
    return block


def slots(block, log2_capacity):
    return block[FIRST : FIRST + (1 << log2_capacity)]


@given(st.integers(0, 11), st.lists(st.tuples(st.integers(0), positive), max_size=60))
@settings(max_examples=200, deadline=None)
def test_the_total_is_the_plain_sum_after_any_updates(log2_capacity, updates):
    block = block_of([], log2_capacity)
    for where, weight in updates:
        slot = where % (1 << log2_capacity)
        block[FIRST + slot] = weight
        sum_tree.refresh(block, FIRST, log2_capacity, slot)
        total = sum_tree.total(block, FIRST, log2_capacity)
        np.testing.assert_allclose(total, np.sum(slots(block, log2_capacity)), rtol=1e-12)
    np.testing.assert_array_equal(block[-3:], 7.0)
    np.testing.assert_array_equal(block[:FIRST], 7.0)


@pytest.mark.parametrize("log2_capacity", [4, 7, 10, 13])
def test_errors_do_not_accumulate_over_very_many_updates(log2_capacity):
    """Weights between 1e-150 and 1e150 come and go: a sum kept by differences would keep nothing of the small ones."""
    rng = np.random.default_rng(log2_capacity)
    block = block_of([], log2_capacity)
    for slot, weight in zip(
        rng.integers(0, 1 << log2_capacity, 5_000), 10 ** rng.uniform(-150, 150, 5_000), strict=True
    ):
        block[FIRST + slot] = weight
        sum_tree.refresh(block, FIRST, log2_capacity, slot)
    for slot in np.flatnonzero(slots(block, log2_capacity) > 1.0):
        block[FIRST + slot] = 0.0
        sum_tree.refresh(block, FIRST, log2_capacity, slot)
    total = sum_tree.total(block, FIRST, log2_capacity)
    np.testing.assert_allclose(total, np.sum(slots(block, log2_capacity)), rtol=1e-12)


@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=1, max_size=150).filter(any),
    st.lists(st.floats(1e-12, 1 - 1e-12), min_size=1, max_size=20),
)
@settings(max_examples=200, deadline=None)
def test_a_draw_inverts_the_cumulative_distribution(weights, uniforms):
    log2_capacity = int(np.ceil(np.log2(len(weights))))
    block = block_of(weights, log2_capacity)
    cumulative = np.cumsum(weights)
    for uniform in uniforms:
        slot = sum_tree.draw(block, FIRST, log2_capacity, uniform)
        target, slack = uniform * cumulative[-1], 1e-12 * cumulative[-1]
        assert weights[slot] > 0
        assert cumulative[slot] - weights[slot] - slack <= target <= cumulative[slot] + slack


def test_the_ends_of_the_unit_interval_draw_the_first_and_the_last_slot_with_a_weight():
    for count in (3, 8, 9, 64, 65, 600):
        weights = np.full(count, 0.1)
        weights[[0, -1]] = 0.0
        log2_capacity = int(np.ceil(np.log2(count)))
        block = block_of(weights, log2_capacity)
        assert sum_tree.draw(block, FIRST, log2_capacity, 2.0**-54) == 1
        assert sum_tree.draw(block, FIRST, log2_capacity, 1 - 2.0**-53) == count - 2


def test_draws_come_in_proportion_to_the_weights():
    weights = np.arange(1.0, 41.0)
    block = block_of(weights, 6)
    uniforms = (np.arange(82_000) + 0.5) / 82_000
    counts = np.bincount([sum_tree.draw(block, FIRST, 6, u) for u in uniforms], minlength=40)
    np.testing.assert_allclose(counts, 100 * weights, atol=1)


def test_the_cost_of_a_block_is_a_seventh_of_its_slots():
    for log2_capacity in range(4, 20):
        assert sum_tree.block_size(log2_capacity) <= (1 << log2_capacity) * 8 / 7 + 3
