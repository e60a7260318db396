"""Calibration error, reliability bins and the Brier score."""

import numpy as np
import pytest

from sadt_ray.metrics.calibration import brier_score, calibration_error, reliability


def test_answers_as_often_right_as_they_are_sure_have_no_calibration_error():
    rng = np.random.default_rng(0)
    sure = rng.uniform(size=200_000)
    bins = reliability(sure, rng.uniform(size=200_000) < sure)
    assert calibration_error(bins) < 0.01
    over = reliability(np.full(1000, 0.9), np.arange(1000) < 600)
    assert calibration_error(over) == pytest.approx(0.3)


def test_bins_hold_every_answer_and_certainty_is_in_the_last():
    bins = reliability([0.0, 0.05, 0.31, 1.0], [False, True, True, True], num_bins=10)
    assert bins.counts.tolist() == [2, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert bins.accuracy[0] == 0.5
    assert bins.confidence[0] == pytest.approx(0.025)
    assert np.isnan(bins.accuracy[1])
    assert len(bins.edges) == 11


def test_confidences_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match="are probabilities"):
        reliability([1.2], [True])
    with pytest.raises(ValueError, match="same length"):
        reliability([0.5, 0.5], [True])


def test_the_brier_score_is_proper_and_counts_what_is_missing():
    assert brier_score([{"a": 1.0}], ["a"]) == 0.0
    assert brier_score([{"a": 1.0, "b": 0.0}], ["b"]) == 2.0
    assert brier_score([{"a": 0.25, "b": 0.25}], ["a"]) == pytest.approx(0.75**2 + 0.25**2 + 0.5**2)
    truths = ["a"] * 7 + ["b"] * 3
    expected = [brier_score([{"a": p, "b": 1 - p}] * 10, truths) for p in (0.6, 0.7, 0.8)]
    assert expected[1] == min(expected)
