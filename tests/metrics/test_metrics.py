"""Metrics agree with closed forms, with other people's code, and with what their names promise."""

import numpy as np
import pytest
import scoringrules
from beartype import beartype
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from scipy import stats

from sadt_ray import metrics

RNG = np.random.default_rng(5)


def forecast(n=50, time=96, windows=3, seed=0):
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(windows, n, time))
    return samples, rng.normal(size=(windows, time)), rng.dirichlet(np.ones(n), windows)


def repeated(samples, counts):
    return np.repeat(samples, counts, axis=-2)


def test_the_fair_crps_of_equal_weights_is_that_of_scoringrules():
    samples, truth, _ = forecast()
    theirs = scoringrules.crps_ensemble(truth, samples, m_axis=-2, estimator="fair").mean(-1)
    np.testing.assert_allclose(metrics.crps(samples, truth), theirs, rtol=1e-12)


def test_the_plain_crps_of_weighted_samples_is_that_of_scoringrules():
    samples, truth, weights = forecast()
    weights_everywhere = np.repeat(weights[..., None], samples.shape[-1], axis=-1)
    theirs = scoringrules.crps_ensemble(truth, samples, m_axis=-2, ens_w=weights_everywhere, estimator="nrg").mean(-1)
    np.testing.assert_allclose(metrics.crps(samples, truth, weights, fair=False), theirs, rtol=1e-10)


def test_the_fair_weighted_crps_is_its_definition_as_a_double_sum():
    samples, truth, weights = forecast(n=7, time=4, windows=1)
    x, y, w = samples[0], truth[0], weights[0]
    pairs = np.einsum("i,j,ijt->t", w, w, np.abs(x[:, None] - x[None])) / (1 - np.sum(w**2))
    expected = np.mean(w @ np.abs(x - y) - 0.5 * pairs)
    np.testing.assert_allclose(metrics.crps(samples, truth, weights), [expected], rtol=1e-12)


def test_the_fair_crps_does_not_depend_on_the_number_of_samples_and_the_plain_one_does():
    """E S = E|X - y| - E|X - X'| / 2 for a normal forecast; the plain score adds E|X - X'| / 2n."""
    rng = np.random.default_rng(1)
    n, repeats = 5, 20_000
    samples, truth = rng.normal(size=(repeats, n, 1)), np.zeros((repeats, 1))
    exact = np.sqrt(2 / np.pi) - 1 / np.sqrt(np.pi)
    fair, plain = metrics.crps(samples, truth), metrics.crps(samples, truth, fair=False)
    error = fair.std() / np.sqrt(repeats)
    assert abs(fair.mean() - exact) < 4 * error
    assert abs(plain.mean() - exact - 1 / np.sqrt(np.pi) / n) < 4 * error
    assert plain.mean() - exact > 20 * error


def test_the_fair_crps_of_importance_weights_estimates_that_of_the_target():
    """Samples of N(0, 1) weighted by exp(x/2) are a forecast N(1/2, 1); the plain estimator would be .03 too large."""
    rng = np.random.default_rng(2)
    samples = rng.normal(size=(6_000, 30, 1))
    weights = np.exp(0.5 * samples[..., 0])
    weights /= weights.sum(-1, keepdims=True)
    scores = metrics.crps(samples, np.full((6_000, 1), 0.5), weights)
    exact = np.sqrt(2 / np.pi) - 1 / np.sqrt(np.pi)
    assert abs(scores.mean() - exact) < 0.006


def test_a_point_forecast_scores_its_absolute_error():
    samples, truth, _ = forecast(n=1)
    np.testing.assert_allclose(metrics.crps(samples, truth), np.abs(samples[:, 0] - truth).mean(-1))
    np.testing.assert_allclose(metrics.energy_score(samples, truth), np.linalg.norm(samples[:, 0] - truth, axis=-1))


def test_the_fair_energy_score_of_equal_weights_is_that_of_scoringrules():
    samples, truth, _ = forecast()
    theirs = scoringrules.es_ensemble(truth, samples, m_axis=-2, v_axis=-1, estimator="fair")
    np.testing.assert_allclose(metrics.energy_score(samples, truth), theirs, rtol=1e-12)


def test_in_one_dimension_the_energy_score_is_the_crps():
    samples, truth, weights = forecast(time=1)
    crps = metrics.crps(samples, truth, weights)
    np.testing.assert_allclose(metrics.energy_score(samples, truth, weights), crps, rtol=1e-9)


@pytest.mark.parametrize("single", [False, True])
def test_shapes_are_what_the_signatures_say(single):
    samples, truth, weights = (array[0] if single else array for array in forecast())
    shape = samples.shape[:-2]
    for name in ("crps", "energy_score", "mse", "mae", "spec_w1", "log_spectral_distance"):
        score = jaxtyped(getattr(metrics, name), typechecker=beartype)
        assert score(samples, truth, weights).shape == score(samples, truth).shape == shape
    assert jaxtyped(metrics.coverage, typechecker=beartype)(samples, truth, 0.9, weights).shape == shape
    assert jaxtyped(metrics.interval_width, typechecker=beartype)(samples, 0.9, weights).shape == shape
    assert jaxtyped(metrics.quantiles, typechecker=beartype)(samples, [0.1, 0.9], weights).shape == (*shape, 2, 96)
    for name in ("energy_distance", "log_psd_energy_distance"):
        distance = jaxtyped(getattr(metrics, name), typechecker=beartype)
        assert distance(forecast()[0][0], forecast(9)[0][0]) > 0


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6).filter(lambda counts: sum(counts) >= 2))
def test_a_weight_is_worth_as_many_copies_of_the_sample(counts):
    samples, truth, _ = forecast(n=6, time=8, windows=1)
    weights = np.array([counts]) / sum(counts)
    copies = repeated(samples, counts)
    np.testing.assert_allclose(metrics.mse(samples, truth, weights), metrics.mse(copies, truth), atol=1e-12)
    for score in (metrics.crps, metrics.energy_score):
        plain = score(copies, truth, fair=False)
        np.testing.assert_allclose(score(samples, truth, weights, fair=False), plain, atol=1e-9)
    between = metrics.energy_distance(samples[0], copies[0], weights[0])
    assert abs(between) < 1e-9


def test_a_whole_batch_scores_like_its_windows_one_by_one():
    samples, truth, weights = forecast()
    scores = (
        metrics.crps,
        metrics.energy_score,
        metrics.mse,
        metrics.mae,
        metrics.spec_w1,
        metrics.log_spectral_distance,
        lambda x, y, w: metrics.coverage(x, y, 0.8, w),
    )
    for score in scores:
        one_by_one = [score(samples[i], truth[i], weights[i]) for i in range(len(samples))]
        np.testing.assert_allclose(score(samples, truth, weights), one_by_one, rtol=1e-9)


def test_equal_weights_give_numpys_weibull_quantiles():
    samples, _, _ = forecast()
    levels = [0.05, 0.25, 0.5, 0.9]
    theirs = np.moveaxis(np.quantile(samples, levels, axis=1, method="weibull"), 0, 1)
    np.testing.assert_allclose(metrics.quantiles(samples, levels), theirs, atol=1e-12)


def test_a_far_sample_of_vanishing_weight_hardly_moves_a_quantile():
    samples = np.random.default_rng(0).normal(size=(6, 3))
    samples[2] = -1e3
    weights = np.array([0.6, 0.3, 1e-9, 0.05, 0.03, 0.02])
    weights /= weights.sum()
    without = metrics.quantiles(
        np.delete(samples, 2, axis=0), [0.05, 0.5, 0.95], np.delete(weights, 2) / (1 - weights[2])
    )
    np.testing.assert_allclose(metrics.quantiles(samples, [0.05, 0.5, 0.95], weights), without, atol=1e-3)


def test_a_sample_of_weight_zero_changes_no_quantile():
    samples, _, _ = forecast(n=20)
    weights = np.full((3, 20), 1 / 19)
    weights[:, 4] = 0
    levels = np.linspace(0, 1, 11)
    kept = metrics.quantiles(np.delete(samples, 4, axis=1), levels)
    np.testing.assert_allclose(metrics.quantiles(samples, levels, weights), kept, atol=1e-12)


@pytest.mark.parametrize("n", [19, 39, 100])
def test_intervals_cover_exchangeable_truths_as_often_as_they_say(n):
    rng = np.random.default_rng(n)
    draws = rng.normal(size=(n + 1, 40_000))
    covered = float(metrics.coverage(draws[1:], draws[0], 0.9))
    assert abs(covered - 0.9) < 4 * np.sqrt(0.09 / 40_000)


def test_intervals_of_importance_weights_cover_the_target():
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(1_500, 2_000, 1))
    weights = np.exp(0.5 * samples[..., 0])
    weights /= weights.sum(-1, keepdims=True)
    truth = 0.5 + rng.normal(size=(1_500, 1))
    covered = metrics.coverage(samples, truth, 0.8, weights).mean()
    assert abs(covered - 0.8) < 4 * np.sqrt(0.16 / 1_500)
    width = metrics.interval_width(samples[:20], 0.8, weights[:20]).mean()
    assert abs(width - 2 * stats.norm.ppf(0.9)) < 0.05


def test_mse_and_mae_judge_the_weighted_mean_and_median():
    samples = np.array([[0.0], [1.0], [5.0]])
    weights = np.array([0.2, 0.6, 0.2])
    assert metrics.mse(samples, np.zeros(1), weights) == pytest.approx((0.6 + 1.0) ** 2)
    assert metrics.mae(samples, np.zeros(1), weights) == pytest.approx(1.0)


def test_the_energy_distance_in_one_dimension_is_the_square_of_scipys():
    x, y = RNG.normal(size=(40, 1)), RNG.normal(0.5, 2.0, size=(30, 1))
    v, w = RNG.dirichlet(np.ones(40)), RNG.dirichlet(np.ones(30))
    theirs = stats.energy_distance(x[:, 0], y[:, 0], v, w) ** 2
    assert metrics.energy_distance(x, y, v, w) == pytest.approx(theirs, rel=1e-9)


def test_distances_are_zero_to_oneself_whatever_the_order_and_blocks():
    x = RNG.normal(size=(1_500, 3))
    shuffled = RNG.permutation(x)
    assert abs(metrics.energy_distance(x, shuffled)) < 1e-9
    assert abs(metrics.mmd_rbf(x, shuffled, 1.0)) < 1e-9
    assert metrics.energy_distance(x, x + 1.0) > 0.1


def test_the_log_psd_distance_ignores_phase_and_sees_a_tilt():
    t = np.arange(480)
    phases = RNG.uniform(0, 2 * np.pi, size=(30, 1))
    noise = 0.1 * RNG.normal(size=(30, 480))
    waves = np.sin(2 * np.pi * t / 24 + phases) + noise
    later = np.sin(2 * np.pi * t / 24 + phases + 1.0) + noise
    louder = 2.0 * waves
    assert metrics.log_psd_energy_distance(waves, later) < 0.01 * metrics.energy_distance(waves, later)
    assert metrics.log_psd_energy_distance(waves, louder) > 10 * metrics.log_psd_energy_distance(waves, later)


@pytest.mark.parametrize(("shift", "bandwidth"), [(3.0, 1.0), (1.0, 0.5), (3.0, 4.0)])
def test_the_mmd_of_two_gaussians_is_its_closed_form(shift, bandwidth):
    """For N(0, 1) and N(m, 1) and bandwidth h: 2 c (1 - exp(-m^2 / 2(h^2 + 2))), c = h / sqrt(h^2 + 2)."""
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(3_000, 1)), rng.normal(shift, 1.0, size=(3_000, 1))
    c = bandwidth / np.sqrt(bandwidth**2 + 2)
    exact = 2 * c * (1 - np.exp(-(shift**2) / (2 * (bandwidth**2 + 2))))
    assert metrics.mmd_rbf(x, y, bandwidth) == pytest.approx(exact, abs=0.02)


def test_spec_w1_of_two_tones_is_the_distance_of_their_frequencies():
    t = np.arange(480)
    slow, fast = np.sin(2 * np.pi * t * 6 / 48), np.sin(2 * np.pi * t * 18 / 48)
    assert metrics.spec_w1(slow[None], fast) == pytest.approx(12 / 48, abs=1e-6)
    assert metrics.spec_w1(3.0 * slow[None], slow) == pytest.approx(0.0, abs=1e-9)


def test_a_louder_forecast_is_as_far_in_log_spectral_distance_as_its_power_is_larger():
    x = RNG.normal(size=480)
    distance = metrics.log_spectral_distance(3.0 * x[None], x, eps=1e-300)
    assert distance == pytest.approx(np.log(9.0), rel=1e-9)


def test_a_forecast_is_judged_by_the_mean_of_its_spectra_not_by_the_spectrum_of_its_mean():
    """Spectral collapse: samples in random phase have the right spectrum, their mean has almost none."""
    t = np.arange(96)
    waves = np.sin(2 * np.pi * t / 12 + RNG.uniform(0, 2 * np.pi, size=(200, 1)))
    reference = np.sin(2 * np.pi * t / 12)
    assert metrics.log_spectral_distance(waves, reference) < 0.3
    assert metrics.log_spectral_distance(waves.mean(0, keepdims=True), reference) > 2.0


def test_total_variation_is_the_largest_difference_of_probability():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    assert metrics.total_variation(p, q) == pytest.approx(0.3)
    assert metrics.total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y, w: metrics.crps(x, y[:, :5]), r"need a truth of shape \(3, 96\), got \(3, 5\)"),
        (lambda x, y, w: metrics.crps(x, y, w[:, :5]), r"need weights \(3, 50\), got \(3, 5\)"),
        (lambda x, y, w: metrics.crps(x, y, 2 * w), "sum to one"),
        (lambda x, y, w: metrics.crps(x, y, -w), "non-negative"),
        (lambda x, y, w: metrics.mse(x[0, 0], y[0]), r"got shape \(96,\)"),
        (lambda x, y, w: metrics.coverage(x, y, 90), "between 0 and 1, got 90"),
        (lambda x, y, w: metrics.quantiles(x, [1.5]), "levels must be"),
        (lambda x, y, w: metrics.energy_distance(x, x), r"got \(3, 50, 96\)"),
        (lambda x, y, w: metrics.mmd_rbf(x[0], x[0], 0.0), "bandwidth must be positive"),
        (lambda x, y, w: metrics.spec_w1(x, y[0]), "need a reference"),
        (lambda x, y, w: metrics.spec_w1(0 * x, y), "does not vary"),
        (lambda x, y, w: metrics.total_variation(w[0], w[0][:3]), r"got \(50,\) and \(3,\)"),
        (lambda x, y, w: metrics.total_variation(w[0], 2 * w[0]), "q must be non-negative and sum to one"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*forecast())
