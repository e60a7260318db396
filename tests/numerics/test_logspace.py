"""Log-space helpers: means lie between extremes, shifts pass through, enumerated equals sampled at equal odds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sadt_ray.numerics.logspace import (
    effective_sample_size,
    log_mean_exp,
    normalised,
    soft_backup_enumerated,
    soft_backup_sampled,
)

vectors = arrays(float, st.integers(1, 20), elements=st.floats(-500, 500))
shifts = st.floats(-1e4, 1e4)
temperatures = st.sampled_from([0.01, 1.0, 50.0])


@given(vectors, shifts)
def test_a_shift_of_all_logarithms_shifts_their_mean_and_no_weight(values, shift):
    assert log_mean_exp(values + shift) == pytest.approx(log_mean_exp(values) + shift, abs=1e-9)
    np.testing.assert_allclose(normalised(values + shift), normalised(values), rtol=1e-7, atol=1e-12)


@given(vectors, temperatures)
def test_the_soft_value_lies_between_mean_and_maximum(values, lam):
    """Jensen: log-mean-exp is at least the mean; a log-*sum*-exp would exceed the maximum."""
    soft = soft_backup_sampled(values, lam)
    slack = 1e-9 * (1 + np.abs(values).max())
    assert values.mean() - slack <= soft <= values.max() + slack


@given(vectors)
def test_the_soft_value_grows_with_lambda_from_the_mean_to_the_maximum(values):
    """Up to rounding, which a small lambda divides: eps / lambda is 2e-9 at the first."""
    soft = [soft_backup_sampled(values, lam) for lam in (1e-7, 0.1, 1.0, 10.0, 1e7)]
    assert np.all(np.diff(soft) >= -1e-8 * (1 + np.abs(values).max()))
    assert soft[0] == pytest.approx(values.mean(), abs=0.1)
    assert soft[-1] == pytest.approx(values.max(), abs=1e-3)


@given(vectors, temperatures)
def test_enumerated_children_of_equal_probability_are_as_good_as_sampled_ones(values, lam):
    equal = np.full(len(values), -np.log(len(values)))
    sampled = soft_backup_sampled(values, lam)
    assert soft_backup_enumerated(values, equal, lam) == pytest.approx(sampled, rel=1e-9, abs=1e-9)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), temperatures)
def test_a_probability_is_worth_as_many_sampled_copies(counts, lam):
    values = np.linspace(-2.0, 3.0, len(counts))
    log_probs = np.log(np.array(counts) / sum(counts))
    copies = soft_backup_sampled(np.repeat(values, counts), lam)
    assert soft_backup_enumerated(values, log_probs, lam) == pytest.approx(copies, rel=1e-9, abs=1e-9)


@given(vectors)
def test_more_copies_of_the_same_children_change_no_value(values):
    """Where a log-sum-exp would let wide nodes win."""
    once, thrice = soft_backup_sampled(values, 1.0), soft_backup_sampled(np.tile(values, 3), 1.0)
    assert thrice == pytest.approx(once, rel=1e-9, abs=1e-9)


def test_mass_that_was_not_enumerated_leaves_the_value_of_what_was():
    values = np.array([1.0, 1.0])
    assert soft_backup_enumerated(values, np.log([0.2, 0.3]), 5.0) == pytest.approx(1.0)


@given(vectors)
def test_weights_sum_to_one_and_their_effective_sample_size_is_between_one_and_n(values):
    weights = normalised(values)
    assert weights.sum() == pytest.approx(1.0)
    assert np.all(weights >= 0)
    assert 1.0 - 1e-9 <= effective_sample_size(weights) <= len(values) * (1 + 1e-9)
    assert effective_sample_size(7.0 * weights) == pytest.approx(effective_sample_size(weights))


@pytest.mark.parametrize("n", [1, 5, 1000])
def test_the_effective_sample_size_is_n_for_equal_weights_and_one_for_a_single_one(n):
    assert effective_sample_size(np.full(n, 0.3)) == pytest.approx(n)
    assert effective_sample_size(np.eye(n)[0]) == pytest.approx(1.0)


def test_impossible_samples_count_in_the_mean_and_get_no_weight():
    values = np.array([-np.inf, 0.0, -np.inf, 0.0])
    assert log_mean_exp(values) == pytest.approx(np.log(0.5))
    assert normalised(values).tolist() == [0.0, 0.5, 0.0, 0.5]
    assert log_mean_exp(np.full(3, -np.inf)) == -np.inf


def test_rows_of_a_batch_are_reduced_one_by_one():
    values = np.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(soft_backup_sampled(values, 2.0), [soft_backup_sampled(row, 2.0) for row in values])


@pytest.mark.parametrize("values", [[-np.inf, -np.inf], [np.nan, 0.0], [np.inf, 0.0], []])
def test_log_weights_without_a_finite_largest_cannot_be_normalised(values):
    with pytest.raises(ValueError, match="cannot normalise log-weights whose largest is"):
        normalised(np.array(values))


def test_the_mean_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no values"):
        log_mean_exp(np.empty(0))
