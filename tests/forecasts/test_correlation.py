"""The correlation of scores: estimates near the truth, and always a correlation."""

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from sadt_ray.forecasts.correlation import (
    ar1,
    from_history,
    from_residuals,
    from_samples,
    from_scores,
    given,
    independent,
)


def _is_correlation(matrix):
    np.testing.assert_array_equal(matrix.diagonal(axis1=-2, axis2=-1), 1)
    np.testing.assert_allclose(matrix, matrix.swapaxes(-1, -2), atol=1e-12)
    return np.linalg.eigvalsh(matrix).min() > 0


def _walks(count, steps, rho, seed=0):
    """Scores of an autoregression [count, 1, steps]."""
    root = np.linalg.cholesky(ar1(rho, steps).matrix)
    return (np.random.default_rng(seed).standard_normal((count, steps)) @ root.T)[:, None]


def _long_walk(length, rho, seed=0):
    """One autoregression [length] of unit variance."""
    noise = np.random.default_rng(seed).standard_normal(length) * np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise)


def test_an_autoregression_of_several_series_is_the_product_of_both_correlations():
    found = ar1(0.9, 3, between=np.array([[1, -0.5], [-0.5, 1]])).matrix
    assert found.shape == (6, 6)
    assert found[0, 2] == pytest.approx(0.81)
    assert found[0, 3] == pytest.approx(-0.5)
    assert found[0, 5] == pytest.approx(-0.5 * 0.81)
    np.testing.assert_allclose(ar1(0.9, 2, 0.3, series=3).matrix[0, 2::2], 0.3)


def test_axes_reproduce_the_matrix_from_the_largest_down():
    r = ar1(0.9, 5).matrix
    spread, axes = ar1(0.9, 5).axes()
    np.testing.assert_allclose(axes @ np.diag(spread**2) @ axes.T, r, atol=1e-12)
    assert (np.diff(spread) < 0).all()


def test_many_samples_show_their_correlation_whatever_their_marginal_laws():
    z = _walks(20_000, 6, 0.8)
    found = from_samples(np.exp(z * np.arange(1, 7)))
    np.testing.assert_allclose(found.matrix, ar1(0.8, 6).matrix, atol=0.02)
    assert "20000 samples, shrunk by" in found.how


@pytest.mark.parametrize("target", ["stationary", "identity"])
def test_shrinkage_is_nearer_to_the_truth_than_the_sample_correlation(target):
    truth = ar1(0.5, 30).matrix
    errors = []
    for seed in range(5):
        z = _walks(12, 30, 0.5, seed)
        raw = np.corrcoef(z[:, 0].T)
        found = from_scores(z, target)
        assert _is_correlation(found.matrix)
        errors.append((np.square(found.matrix - truth).sum(), np.square(raw - truth).sum()))
    shrunk, unshrunk = np.mean(errors, axis=0)
    assert shrunk < 0.5 * unshrunk


def test_the_weight_of_the_target_is_the_published_one():
    z = _walks(9, 4, 0.5, 3)[:, 0]
    z = (z - z.mean(0)) / z.std(0)
    r, variance, distance = z.T @ z / 9, 0.0, 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                w = z[:, i] * z[:, j]
                variance += 9 / 8**3 * np.square(w - w.mean()).sum()
                distance += r[i, j] ** 2
    weight = min(variance / distance, 1)
    found = from_scores(z[:, None], "identity").matrix
    np.testing.assert_allclose(found[0, 1], (1 - weight) * r[0, 1], rtol=1e-6)


def test_correlation_across_series_is_found():
    noise = np.random.default_rng(1).standard_normal((4000, 3, 4))
    noise[:, 1] = 0.6 * noise[:, 0] + 0.8 * noise[:, 1]
    r = from_samples(noise).matrix.reshape(3, 4, 3, 4)
    np.testing.assert_allclose([r[0, t, 1, t] for t in range(4)], 0.6, atol=0.03)
    assert abs(r[0, :, 2]).max() < 0.06


def test_each_item_has_its_own_correlation():
    drawn = np.stack([_walks(2000, 4, 0.9), _walks(2000, 4, 0.0, 1)])
    r = from_samples(drawn).matrix
    assert r.shape == (2, 4, 4)
    assert r[0, 0, 1] > 0.85
    assert abs(r[1, 0, 1]) < 0.06


def test_residuals_give_the_autocorrelation_at_each_lag():
    e = _long_walk(6000, 0.0)
    e = np.stack([e[1:] + e[:-1], e[:-1]])  # a moving average: lag 1 has correlation 1/2
    r = from_residuals(e, 4).matrix.reshape(2, 4, 2, 4)
    np.testing.assert_allclose(r[0, 0, 0], [1, 0.5, 0, 0], atol=0.05)
    np.testing.assert_allclose(np.diagonal(r[0, :, 1, :]), np.sqrt(0.5), atol=0.05)
    np.testing.assert_allclose(r[0, :3, 1, 1:].diagonal(), np.sqrt(0.5), atol=0.05)  # series 1 leads by one
    np.testing.assert_allclose(r[0, 1:, 1, :3].diagonal(), 0, atol=0.05)


def test_the_history_of_a_slow_series_shows_its_dependence():
    y = _long_walk(3000, 0.97) + np.sin(np.arange(3000) * 2 * np.pi / 24)
    found = from_history(y, 24, season=24)
    assert found.matrix[10, 11] == pytest.approx(0.95, abs=0.04)
    assert found.matrix[0, 23] < 0.7
    assert "origins of the history" in found.how


@for_all(
    count=st.integers(3, 12), series=st.integers(1, 3), steps=st.integers(1, 8), kind=st.sampled_from(["ties", "same"])
)
@settings(max_examples=40)
def test_every_estimate_is_a_correlation(count, series, steps, kind):
    generator = np.random.default_rng(count * 100 + series * 10 + steps)
    drawn = generator.poisson(0.3, (count, series, steps)).astype(float)
    if kind == "same":
        drawn[:, :, 1:] = drawn[:, :, :1]  # perfectly dependent: singular before it is clipped
    assert _is_correlation(from_samples(drawn).matrix)
    assert _is_correlation(from_scores(drawn, "identity").matrix)


def test_rounding_is_clipped_and_anything_worse_refused():
    r = np.ones((3, 3))  # singular
    assert _is_correlation(given(r, 3).matrix)
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -0\.8"):
        given(np.array([[1, -0.9, -0.9], [-0.9, 1, -0.9], [-0.9, -0.9, 1]]), 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r[:2], r"must be \[3, 3\]"),
        (lambda r: r * 4, "entry .0, 0. of the correlation is 4, not between -1 and 1; divide a covariance"),
        (lambda r: r * 0.5, "is 0.5, not 1 on the diagonal"),
        (lambda r: r + np.triu(np.full((3, 3), 0.1), 1), "across the diagonal; make it symmetric"),
        (lambda r: np.where(np.eye(3), 1, np.nan), "not a number"),
    ],
)
def test_what_is_wrong_with_a_matrix_is_said(change, said):
    with pytest.raises(ValueError, match=said):
        given(change(np.eye(3)), 3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ar1(1.0, 3), "rho is 1.0"),
        (lambda: ar1(0.5, 3, between=-0.9, series=3), "between series is not positive"),
        (lambda: from_scores(np.zeros((2, 1, 3))), "at least 3"),
        (lambda: from_scores(np.full((4, 1, 3), np.nan)), "is NaN"),
        (lambda: from_scores(np.zeros((4, 1, 3)), "nothing"), "choose one of stationary, identity"),
        (lambda: from_residuals(np.zeros(30), 3), "never vary"),
        (lambda: from_residuals(np.zeros(5), 3), "at least 6"),
        (lambda: from_history(np.zeros(20), 10, 24), "at least 36 are needed"),
        (lambda: from_history([1, np.nan] * 50, 10, 24), "fill the gap"),
        (lambda: from_history(np.zeros(200), 10, 0), "season is 0"),
    ],
)
def test_what_is_missing_for_an_estimate_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_no_dependence_is_the_identity():
    np.testing.assert_array_equal(independent(2, 3).matrix, np.eye(6))
