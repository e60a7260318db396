"""Training: it learns, it stops, it resumes bit for bit, and it says what does not fit."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.processes.denoiser import DenoiserConfig
from sadt_ray.processes.diffusion import SamplerConfig
from sadt_ray.processes.fit_config import FitConfig, StageConfig, default_fit_config
from sadt_ray.processes.fit_denoiser import fit_denoiser, residual_loss
from sadt_ray.processes.gaussian_forecast import ForecastConfig, forecast_loss
from sadt_ray.processes.training_state import load_checkpoint
from sadt_ray.processes.training_windows import normalised_windows

DATASET = synthetic_hourly(rows=1200, channels=2, context_length=48, prediction_length=12)
STAGE = StageConfig(max_steps=20, patience=20, validate_every=5, batch_size=32)
CONFIG = FitConfig(
    denoiser=DenoiserConfig(
        forecast=ForecastConfig(48, 12, channels=2, recent=24, hidden=16, channel_width=4),
        dataset="synthetic",
        hidden=16,
        depth=2,
        encoder=16,
        frequencies=4,
    ),
    forecast=STAGE,
    residual=STAGE,
)


class Interrupted(Exception):
    pass


def _interrupt_at(stage, step):
    def progress(now):
        if (now.stage, now.step) == (stage, step):
            raise Interrupted

    return progress


def _same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.mark.parametrize(("stage", "step"), [("forecast", 1), ("forecast", 7), ("forecast", 20), ("residual", 13)])
def test_an_interrupted_run_resumes_to_the_same_weights_bit_for_bit(tmp_path, stage, step):
    whole = fit_denoiser(DATASET, CONFIG)
    path = tmp_path / "run.checkpoint"
    with pytest.raises(Interrupted):
        fit_denoiser(DATASET, CONFIG, path, progress=_interrupt_at(stage, step))
    resumed = fit_denoiser(DATASET, CONFIG, path, resume=True)
    assert _same(whole, resumed)


def test_a_finished_run_resumes_to_itself_without_another_step(tmp_path):
    path = tmp_path / "run.checkpoint"
    whole = fit_denoiser(DATASET, CONFIG, path)
    steps = []
    resumed = fit_denoiser(DATASET, CONFIG, path, resume=True, progress=steps.append)
    assert not steps
    assert _same(whole, resumed)


def test_the_seed_decides_the_weights_and_the_callers_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = fit_denoiser(DATASET, CONFIG)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert _same(first, fit_denoiser(DATASET, CONFIG))
    assert not _same(first, fit_denoiser(DATASET, replace(CONFIG, seed=1)))


def test_training_lowers_both_losses_on_months_it_has_not_seen():
    longer = replace(STAGE, max_steps=150, patience=150, validate_every=50, learning_rate=3e-3)
    config = replace(CONFIG, forecast=longer, residual=longer)
    none = replace(STAGE, max_steps=0)
    untrained = fit_denoiser(DATASET, replace(CONFIG, forecast=none, residual=none))
    ridge_and_network = fit_denoiser(DATASET, replace(config, residual=none))
    trained = fit_denoiser(DATASET, config)
    unseen = normalised_windows(DATASET, "val", 3)

    def forecast(model):
        return float(forecast_loss(model.forecast, unseen.context, unseen.channel, unseen.future))

    def residual(model):
        generator = torch.Generator().manual_seed(0)
        sigma = torch.exp(torch.randn(len(unseen.future), generator=generator))
        noise = torch.randn(unseen.future.shape, generator=generator)
        return float(residual_loss(model, unseen, sigma, noise))

    assert forecast(trained) < forecast(untrained)
    assert residual(trained) < 1.05 * residual(ridge_and_network)
    assert forecast(trained) == forecast(ridge_and_network), "the second stage leaves the forecast alone"


def test_the_loss_of_a_network_that_says_nothing_is_one_where_the_forecast_is_right():
    """x_0 drawn from the Gaussian forecast itself: the expected error is the one that it is divided by."""
    model = fit_denoiser(DATASET, replace(CONFIG, forecast=STAGE, residual=replace(STAGE, max_steps=0)))
    batch = normalised_windows(DATASET, "train", 1)
    generator = torch.Generator().manual_seed(0)
    mean, log_spread, log_hourly = model.forecast(batch.context, batch.channel)
    u = log_spread.exp() * torch.randn(mean.shape, generator=generator)
    batch = batch._replace(future=mean + log_hourly.exp() * (u @ model.forecast.axes.T))
    sigma = torch.full((len(mean),), 0.6)
    loss = residual_loss(model, batch, sigma, torch.randn(mean.shape, generator=generator))
    np.testing.assert_allclose(float(loss), 1.0, rtol=0.02)


def test_a_stage_stops_when_patience_ends_and_keeps_its_best():
    impatient = replace(STAGE, max_steps=1000, patience=10, learning_rate=0.05)
    told = []
    fit_denoiser(DATASET, replace(CONFIG, forecast=impatient), progress=told.append)
    last = [now for now in told if now.stage == "forecast"][-1]
    assert last.step < 1000
    assert last.step - last.best_step == 10
    validated = [now.validation_loss for now in told if now.stage == "forecast" and now.validation_loss is not None]
    assert last.best_loss == min(validated)


def test_a_run_that_diverges_says_where_and_keeps_nothing_of_it(tmp_path):
    wild = replace(CONFIG, forecast=replace(STAGE, learning_rate=1e30))
    with pytest.raises(FloatingPointError, match=r"validation loss of stage 'forecast' is (nan|inf) at step 5"):
        fit_denoiser(DATASET, wild, tmp_path / "run.checkpoint")
    assert not list(tmp_path.iterdir())


def test_the_test_part_is_not_read():
    changed = DATASET.values.copy()
    changed[DATASET.splits["test"][0] :] = 1e6
    assert _same(fit_denoiser(DATASET, CONFIG), fit_denoiser(replace(DATASET, values=changed), CONFIG))


def test_a_checkpoint_is_safetensors_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "run.checkpoint"
    fit_denoiser(DATASET, CONFIG, path)
    assert [p.name for p in path.parent.iterdir()] == ["run.checkpoint"]
    state, groups = load_checkpoint(path, asdict(CONFIG))
    assert (state.stage, state.step) == ("residual", 20)
    assert len(state.history) == 8
    assert groups["model"].keys() >= state.best.keys()


def test_resuming_under_another_configuration_or_from_another_file_is_refused(tmp_path):
    path = tmp_path / "run.checkpoint"
    fit_denoiser(DATASET, CONFIG, path)
    with pytest.raises(ValueError, match=r"another seed: \[0\] there, \[3\] here"):
        fit_denoiser(DATASET, replace(CONFIG, seed=3), path, resume=True)
    path.write_bytes(b"not a checkpoint at all")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        fit_denoiser(DATASET, CONFIG, path, resume=True)


def test_a_configuration_for_other_data_is_refused():
    with pytest.raises(ValueError, match="prediction_length is 12 in the configuration but 24"):
        fit_denoiser(synthetic_hourly(rows=1500, channels=2, context_length=48, prediction_length=24), CONFIG)
    with pytest.raises(ValueError, match="2 channels but synthetic has 3"):
        fit_denoiser(synthetic_hourly(rows=1200, channels=3, context_length=48, prediction_length=12), CONFIG)


def test_the_default_configuration_takes_its_sizes_from_the_data():
    config = default_fit_config(DATASET)
    sizes = config.denoiser.forecast
    assert (sizes.context_length, sizes.prediction_length, sizes.channels, sizes.recent) == (48, 12, 2, 48)
    assert config.denoiser.dataset == "synthetic"
    assert config.sampler == SamplerConfig()


def test_a_channel_that_stands_still_does_not_stop_training():
    values = DATASET.values.copy()
    values[:, 1] = 0
    model = fit_denoiser(replace(DATASET, values=values), CONFIG)
    unseen = normalised_windows(replace(DATASET, values=values), "val", 3)
    for spread in model.forecast(unseen.context, unseen.channel):
        assert torch.isfinite(spread).all()
