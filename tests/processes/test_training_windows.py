"""Training rows: normalised by their own context, and made new in three ways."""

import numpy as np
import pytest
import torch

from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.processes.gaussian_forecast import ForecastConfig, GaussianForecast, RidgeConfig, instance_normalise
from sadt_ray.processes.training_windows import AugmentationConfig, augmented, normalised_windows

DATASET = synthetic_hourly(rows=1200, channels=3, context_length=48, prediction_length=12)
WINDOWS = normalised_windows(DATASET, "train", 5)
NOTHING = AugmentationConfig(mixed=0, flipped=0, anonymous=0)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_rows_are_the_windows_of_each_channel_and_denormalise_to_them():
    contexts, futures, _ = DATASET.windows("train", 5)
    context, future = WINDOWS.raw()
    row = 3 * 7 + 2  # window 7, channel 2
    assert WINDOWS.channel[row] == 2
    np.testing.assert_allclose(context[row], contexts[7, :, 2], atol=1e-5)
    np.testing.assert_allclose(future[row], futures[7, :, 2], atol=1e-5)
    np.testing.assert_allclose(WINDOWS.context.series.mean(1), 0, atol=1e-5)


def test_a_flat_context_is_normalised_without_dividing_by_zero():
    flat = instance_normalise(torch.full((1, 48), 3.0))
    assert torch.isfinite(flat.series).all()
    torch.testing.assert_close(flat.undo(flat.series), torch.full((1, 48), 3.0))


def test_without_augmentation_rows_are_left_as_they_are():
    rows = torch.arange(20)
    batch = augmented(WINDOWS, rows, 3, NOTHING)
    torch.testing.assert_close(batch.raw()[0], WINDOWS.rows(rows).raw()[0], atol=1e-5, rtol=0)
    assert torch.equal(batch.channel, WINDOWS.channel[rows])


def test_flipped_rows_are_mirrored_and_lose_their_channel():
    rows = torch.arange(20)
    batch = augmented(WINDOWS, rows, 3, AugmentationConfig(mixed=0, flipped=1, anonymous=0))
    for flipped, original in zip(batch.raw(), WINDOWS.rows(rows).raw(), strict=True):
        torch.testing.assert_close(flipped, -original, atol=1e-5, rtol=0)
    assert (batch.channel == 3).all()


def test_mixed_rows_keep_their_channel_and_at_least_half_of_themselves():
    rows = torch.arange(60)
    batch = augmented(WINDOWS, rows, 3, AugmentationConfig(mixed=1, flipped=0, anonymous=0))
    own = torch.cat(WINDOWS.rows(rows).raw(), dim=1)
    everything = torch.cat(WINDOWS.raw(), dim=1)
    assert torch.equal(batch.channel, WINDOWS.channel[rows])
    for row, mixed in enumerate(torch.cat(batch.raw(), dim=1)):
        others = everything[WINDOWS.channel == batch.channel[row]] - own[row]
        step = mixed - own[row]
        portion = ((others @ step) / others.square().sum(1).clamp_min(1e-9)).clamp(0, 0.5)
        distance = (portion[:, None] * others - step).abs().amax(1)
        assert distance.min() < 1e-3


def test_the_share_of_anonymous_rows_is_as_asked():
    rows = torch.randint(0, len(WINDOWS.channel), (4000,))
    batch = augmented(WINDOWS, rows, 3, AugmentationConfig(mixed=0, flipped=0, anonymous=0.25))
    assert 0.22 < (batch.channel == 3).float().mean() < 0.28


def _fitted(**penalties):
    config = ForecastConfig(48, 12, channels=3, recent=24, hidden=8, channel_width=2)
    ridge = RidgeConfig(**penalties)
    return GaussianForecast(config).fit_ridge_(WINDOWS.context, WINDOWS.channel, WINDOWS.future, ridge)


def test_without_shrinkage_each_channel_has_weighted_least_squares_of_its_own():
    """Normal equations: the weighted residuals are orthogonal to the inputs."""
    forecast = _fitted(penalty=1e-6, channel_penalty=1e-6)
    for channel in range(3):
        rows = WINDOWS.channel == channel
        x, weight = WINDOWS.context.series[rows], 1 / WINDOWS.context.scale[rows]
        residual = WINDOWS.future[rows] - forecast.mean(x, WINDOWS.channel[rows])
        scale = ((x * weight).T @ WINDOWS.future[rows]).abs().max()
        assert ((x * weight).T @ residual).abs().max() < 1e-3 * scale


def test_with_all_shrinkage_every_channel_and_the_unknown_one_share_one_regression():
    weights = _fitted(penalty=0.01, channel_penalty=1e9).weights
    assert weights.shape == (4, 48, 12)
    for channel in range(3):
        torch.testing.assert_close(weights[channel], weights[3], atol=1e-6, rtol=0)
