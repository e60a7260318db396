"""Standard errors of figures whose examples come in clusters."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.metrics.clustered import clustered_mean, clustered_statistic, paired_difference

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@given(VALUES)
def test_with_clusters_of_one_it_is_the_usual_standard_error(values):
    estimate = clustered_mean(values, [str(i) for i in range(len(values))])
    assert estimate.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(len(values)), abs=1e-9)
    assert estimate.value == pytest.approx(np.mean(values))


@given(VALUES, st.integers(2, 5))
def test_repeating_every_row_of_a_cluster_adds_no_certainty(values, times):
    sources = [str(i) for i in range(len(values))]
    once = clustered_mean(values, sources)
    again = clustered_mean(np.repeat(values, times), np.repeat(sources, times).tolist())
    assert again == pytest.approx(once, abs=1e-9)


@given(VALUES, st.integers(2, 6))
def test_the_jackknife_of_a_mean_of_equal_clusters_is_its_closed_form(values, groups):
    values = values * groups  # as many rows in each cluster
    sources = [f"s{i % groups}" for i in range(len(values))]
    x = np.asarray(values)
    jackknife = clustered_statistic(lambda rows: float(x[rows].mean()), sources)
    assert jackknife == pytest.approx(clustered_mean(values, sources), abs=1e-7)


def test_the_error_covers_the_spread_over_draws_of_clusters_where_the_naive_one_does_not():
    rng = np.random.default_rng(0)
    estimates, naive = [], []
    for _ in range(400):
        effects = rng.normal(size=20)
        values = np.repeat(effects, 10) + 0.5 * rng.normal(size=200)
        estimates.append(clustered_mean(values, [str(i) for i in np.repeat(np.arange(20), 10)]))
        naive.append(np.std(values, ddof=1) / math.sqrt(200))
    spread = np.std([estimate.value for estimate in estimates])
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.1)
    assert np.mean(naive) < 0.5 * spread


def test_many_clusters_are_left_out_in_groups_with_nearly_the_same_error():
    rng = np.random.default_rng(1)
    x = rng.normal(size=3000)
    sources = [str(i // 2) for i in range(3000)]
    calls = []

    def mean(rows):
        calls.append(len(rows))
        return float(x[rows].mean())

    grouped = clustered_statistic(mean, sources, max_groups=100)
    assert len(calls) == 101
    assert grouped.clusters == 1500
    assert grouped.standard_error == pytest.approx(clustered_mean(x, sources).standard_error, rel=0.25)


def test_paired_differences_are_surer_than_the_figures_themselves():
    rng = np.random.default_rng(2)
    hard = rng.normal(size=100)
    sources = [str(i // 5) for i in range(100)]
    ours, theirs = hard + 0.1, hard + 0.01 * rng.normal(size=100)
    difference = paired_difference(ours, theirs, sources)
    assert difference.value == pytest.approx(0.1, abs=0.01)
    assert difference.standard_error < 0.1 * clustered_mean(ours, sources).standard_error
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([1.0], [1.0, 2.0], ["a"])


def test_one_cluster_tells_nothing_of_others():
    estimate = clustered_mean([1.0, 2.0], ["a", "a"])
    assert estimate.value == 1.5
    assert math.isnan(estimate.standard_error)
    assert math.isnan(clustered_statistic(lambda rows: 0.0, ["a", "a"]).standard_error)
    with pytest.raises(ValueError, match="give one source per value"):
        clustered_mean([1.0], [])


def test_the_interval_is_student_s_and_there_is_none_from_one_cluster():
    estimate = clustered_mean([1.0, 2.0, 4.0], ["a", "b", "c"])
    assert estimate.half_width() == pytest.approx(4.302653 * estimate.standard_error, rel=1e-6)
    assert estimate.half_width(0.5) < estimate.half_width(0.95)
    assert math.isnan(clustered_mean([1.0, 2.0], ["a", "a"]).half_width())
