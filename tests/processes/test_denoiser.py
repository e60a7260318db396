"""diff-k's denoiser: the Gaussian it is built around, its conditioning, its files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.interfaces import Problem
from sadt_ray.processes.denoiser import DenoiserConfig, DiffKDenoiser
from sadt_ray.processes.diffusion import DiffusionProcess, KnowsCleanSpread, SamplerConfig
from sadt_ray.processes.gaussian_forecast import ForecastConfig, RidgeConfig, gaussian_crps, instance_normalise
from sadt_ray.processes.pretrained import load_pretrained, load_prior, save_prior
from sadt_ray.processes.sampling import sample_prior

FORECAST = ForecastConfig(context_length=48, prediction_length=12, channels=2, recent=24, hidden=16, channel_width=4)
CONFIG = DenoiserConfig(forecast=FORECAST, dataset="synthetic", hidden=24, depth=2, encoder=16, frequencies=4)
DATASET = synthetic_hourly(rows=1000, channels=2, context_length=48, prediction_length=12)
PROBLEMS = [DATASET.problem("val", window, channel) for window in range(2) for channel in range(2)]


def _denoiser(output_scale=0.0):
    """A denoiser that was initialised but not trained; ``output_scale`` > 0 gives its network something to say."""
    torch.manual_seed(0)
    denoiser = DiffKDenoiser(CONFIG)
    contexts, futures, _ = DATASET.windows("train", 3)
    normalised = instance_normalise(torch.from_numpy(contexts[:, :, 0]))
    future = (torch.from_numpy(futures[:, :, 0]) - normalised.location) / normalised.scale
    denoiser.forecast.fit_ridge_(normalised, torch.zeros(len(future), dtype=torch.long), future, RidgeConfig())
    torch.nn.init.normal_(denoiser.output.weight, std=output_scale)
    torch.nn.init.normal_(denoiser.forecast.log_hourly.weight, std=0.1)
    return denoiser.eval().requires_grad_(False)


def _conditioning(denoiser, problems=PROBLEMS):
    return denoiser.encode(problems, torch.device("cpu"))


def test_without_a_network_it_is_the_exact_denoiser_of_the_gaussian_forecast():
    """E[u_0 | u] by Gaussian conditioning in the coordinates of the data, against D in its own coordinates."""
    denoiser, sigma = _denoiser(), 0.7
    spread, shift, mean, hourly = (column[:1] for column in _conditioning(denoiser))
    to_data = (hourly.T * denoiser.forecast.axes).double().numpy()
    covariance = to_data @ np.diag(spread[0].double() ** 2) @ to_data.T
    noise = sigma**2 * to_data @ to_data.T
    u = torch.randn(1, 12, generator=torch.Generator().manual_seed(1))
    observed = to_data @ u[0].double().numpy()
    expected = mean[0].double().numpy() + covariance @ np.linalg.solve(covariance + noise, observed)
    conditioning = (spread, shift, mean, hourly)
    denoised = denoiser.decode(denoiser.denoised(u, torch.tensor([sigma]), conditioning), conditioning)
    np.testing.assert_allclose(denoised[0], expected, rtol=1e-4, atol=1e-4)


def test_without_a_network_samples_follow_the_gaussian_forecast_in_few_steps():
    denoiser = _denoiser()
    process = DiffusionProcess(denoiser, SamplerConfig(num_steps=5), "none")
    samples = sample_prior(process, PROBLEMS[:1], 10_000)[0]
    spread, _, mean, hourly = (column[0].numpy() for column in _conditioning(denoiser))
    marginal = hourly * np.sqrt(denoiser.forecast.axes.numpy() ** 2 @ spread**2)
    for hour in (0, 5, 11):
        assert stats.kstest(samples[:, hour], stats.norm(mean[hour], marginal[hour]).cdf).pvalue > 1e-3


def test_at_low_noise_it_returns_its_input_and_at_high_noise_the_forecast():
    denoiser = _denoiser(output_scale=0.1)
    conditioning = _conditioning(denoiser)
    u = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    near = denoiser.denoised(u, torch.full((4,), 1e-5), conditioning)
    torch.testing.assert_close(near, u, atol=1e-4, rtol=0)
    far = denoiser.denoised(1e4 * u, torch.full((4,), 1e4), conditioning)
    assert (far.abs() < 3 * conditioning[0]).all(), "of the order of the forecast's spread, not of the noise"


def test_the_principal_axes_are_orthonormal_and_order_the_spreads():
    denoiser = _denoiser()
    axes = denoiser.forecast.axes
    torch.testing.assert_close(axes.T @ axes, torch.eye(12), atol=1e-5, rtol=0)
    spread = _conditioning(denoiser)[0]
    assert (spread.diff(dim=1) <= 1e-6).all()
    assert isinstance(denoiser, KnowsCleanSpread)


def test_a_forecast_moves_with_its_context():
    """Once the network is kept from seeing the level, adding 10 to a context adds 10 to the samples."""
    denoiser = _denoiser(output_scale=0.1)
    channels = FORECAST.channel_width
    denoiser.forecast.trunk[0].weight[:, -channels - 2 : -channels] = 0
    denoiser.encoder[0].weight[:, -channels - 2 : -channels] = 0
    process = DiffusionProcess(denoiser, SamplerConfig(num_steps=4), "none")
    context = PROBLEMS[0].context
    plain, moved = (sample_prior(process, [Problem("a", context + level)], 3) for level in (0, 10))
    np.testing.assert_allclose(moved - 10, plain, atol=1e-4)


def test_rows_are_denoised_alike_alone_and_in_company_at_their_own_noise_levels():
    denoiser = _denoiser(output_scale=0.1)
    conditioning = _conditioning(denoiser)
    u = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.05, 0.5, 2.0, 5.0])
    together = denoiser.denoised(u, sigma, conditioning)
    for row in range(4):
        only = slice(row, row + 1)
        alone = denoiser.denoised(u[only], sigma[only], tuple(column[only] for column in conditioning))
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-4)


def test_the_truth_and_the_other_channels_do_not_reach_the_conditioning():
    denoiser = _denoiser(output_scale=0.1)
    problem = PROBLEMS[0]
    blind = replace(problem, truth=None, extras={key: problem.extras[key] for key in ("channel", "dataset")})
    for known, unknown in zip(_conditioning(denoiser, [problem]), _conditioning(denoiser, [blind]), strict=True):
        torch.testing.assert_close(known, unknown)


def test_a_channel_of_another_dataset_is_the_unknown_channel():
    denoiser = _denoiser(output_scale=0.1)
    mine, theirs = PROBLEMS[0], replace(PROBLEMS[0], extras={"channel": 0, "dataset": "another"})
    hourly = 3
    assert not torch.equal(_conditioning(denoiser, [mine])[hourly], _conditioning(denoiser, [theirs])[hourly])
    bare = replace(PROBLEMS[0], extras={})
    torch.testing.assert_close(_conditioning(denoiser, [bare])[hourly], _conditioning(denoiser, [theirs])[hourly])


def test_features_cost_no_evaluation_and_are_finite_at_every_level():
    process = DiffusionProcess(_denoiser(), SamplerConfig(num_steps=4), "every")
    chain = process.bind(PROBLEMS)
    features = chain.features(np.ones((6, 12), np.float32), np.arange(6), np.zeros(6, np.int64))
    assert features.shape == (6, 3 * 12 + 1)
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (np.zeros(47, np.float32), r"'w' has a context of shape \(47,\); diff-k needs \(48,\)"),
        (np.where(np.arange(48) == 5, np.nan, 0), "'w' has nan at position 5"),
    ],
)
def test_a_context_that_does_not_fit_is_named(context, message):
    with pytest.raises(ValueError, match=message):
        _conditioning(_denoiser(), [Problem("w", context)])


def test_gaussian_crps_agrees_with_its_definition():
    x = np.linspace(-30, 30, 200_001)
    step = (stats.norm(0.5, 2.0).cdf(x) - (x >= 1.7)) ** 2
    expected = np.trapezoid(step, x)
    closed = gaussian_crps(*(torch.tensor(v, dtype=torch.float64) for v in (0.5, 2.0, 1.7)))
    np.testing.assert_allclose(float(closed), expected, rtol=1e-4)


def test_a_prior_survives_its_file_bit_for_bit(tmp_path):
    denoiser, sampler = _denoiser(output_scale=0.1), SamplerConfig(num_steps=5, noise_scale=1.05)
    save_prior(tmp_path / "prior.safetensors", denoiser, sampler)
    loaded = load_prior(tmp_path / "prior.safetensors", branch_steps="none")
    assert loaded.sampler == sampler
    assert loaded.denoiser.config == CONFIG
    before = sample_prior(DiffusionProcess(denoiser, sampler, "none"), PROBLEMS, 2)
    np.testing.assert_array_equal(sample_prior(loaded, PROBLEMS, 2), before)
    assert [path.name for path in tmp_path.iterdir()] == ["prior.safetensors"]


def test_files_that_are_no_prior_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(FileNotFoundError, match=r"no prior at .*absent"):
        load_prior(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_prior(tmp_path / "text.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a diff-k prior"):
        load_prior(tmp_path / "other.safetensors")


def test_a_file_of_another_version_says_so(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "prior.safetensors"
    config = {"denoiser": {"forecast": {}, "layers": 3}, "sampler": {}}
    save_file({"a": torch.ones(1)}, path, {"format": "sadt_ray diff-k 1", "config": json.dumps(config)})
    with pytest.raises(ValueError, match="does not fit this version of sadt_ray"):
        load_prior(path)


def test_weights_that_do_not_ship_come_with_the_command_that_trains_them():
    with pytest.raises(ValueError, match=r"shipped: etth1.*jobs\.train prior --dataset Solar --data-file FILE\.csv"):
        load_pretrained("diff-k", "Solar")
    with pytest.raises(ValueError, match="no backbone 'gpt'"):
        load_pretrained("gpt", "ETTh1")


def test_the_shipped_prior_samples_ettH1_windows_and_is_small():
    process = load_pretrained("diff-k", "ETTh1", branch_steps="late")
    assert process.state_shape == (96,)
    assert 4 <= process.sampler.num_steps <= 32
    hours = np.arange(336 + 96)
    wave = np.sin(2 * np.pi * hours / 24).astype(np.float32)
    problem = Problem("wave", wave[:336], extras={"dataset": "ETTh1", "channel": 0})
    samples = sample_prior(process, [problem], 50)[0]
    assert np.corrcoef(samples.mean(0), wave[336:])[0, 1] > 0.9
    assert samples.std(0).min() > 0.01
