"""Train diff-k in two stages: first the Gaussian forecast, then a network for its non-Gaussian residuals.

    forecast:  min over s, h       mean CRPS of the hourly marginals + 0.1 x negative log-likelihood per axis
    residual:  min over F          E_{x_0, sigma, eps} |D(x_0 + sigma eps; sigma, c) - x_0|^2 / c_out(sigma)^2

Both stages average the parameters exponentially (EMA), stop early by the validation loss, and keep the best average.
The second stage does not change the forecast. A resumed run gives the same weights, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.denoiser import DiffKDenoiser
from sadt_ray.processes.fit_config import STAGES, FitConfig, StageConfig, check_fit_config, default_fit_config
from sadt_ray.processes.gaussian_forecast import forecast_loss
from sadt_ray.processes.training_state import TrainingState, load_checkpoint, restore_optimizer, save_checkpoint
from sadt_ray.processes.training_windows import WindowedSeries, Windows, augmented, normalised_windows


class Progress(NamedTuple):
    """Argument of the progress callback after every step."""

    stage: str
    step: int
    max_steps: int
    train_loss: float
    validation_loss: float | None  # None between validations
    best_loss: float
    best_step: int


def residual_loss(
    model: DiffKDenoiser, batch: Windows, sigma: Float[Tensor, " B"], noise: Float[Tensor, "B W"]
) -> Float[Tensor, ""]:
    """Denoising error divided by its expectation under the Gaussian forecast. A network F = 0 has the loss 1.

    The squared error is summed over the axes before the division. So it is the error in the units of x_0, and small
    fast axes do not take half of the network's capacity.
    """
    with torch.no_grad():
        mean, log_spread, log_hourly = model.forecast(batch.context, batch.channel)
        spread, axes = log_spread.exp(), model.forecast.axes
        clean = ((batch.future - mean) / log_hourly.exp()) @ axes
        gaussian_error = (spread.square() / (1 + (spread / sigma[:, None]).square())).sum(1)
    denoised = model(clean + sigma[:, None] * noise, sigma, spread, model.shift(batch.context, batch.channel))
    return ((denoised - clean).square().sum(1) / gaussian_error).mean()


class _Stage:
    """One of the two stages: the trained parameters, the loss and the validation."""

    def __init__(self, name: str, model: DiffKDenoiser, config: FitConfig) -> None:
        self.name = name
        self.model = model
        self.config: StageConfig = getattr(config, name)
        self.sampler = config.sampler
        self.trained = [
            (key, parameter)
            for key, parameter in model.named_parameters()
            if parameter.requires_grad and key.startswith("forecast.") == (name == "forecast")
        ]
        self.optimizer = torch.optim.AdamW(
            [parameter for _, parameter in self.trained],
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )

    def loss(self, batch: Windows, uniform: Float[Tensor, " B"], noise: Float[Tensor, "B W"]) -> Float[Tensor, ""]:
        if self.name == "forecast":
            return forecast_loss(self.model.forecast, batch.context, batch.channel, batch.future)
        return residual_loss(self.model, batch, self.sigma(uniform), noise)

    def sigma(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Noise levels with the density of the sampler's steps: the Karras ramp at uniform positions."""
        low, high = (end ** (1 / self.sampler.rho) for end in (self.sampler.sigma_min, self.sampler.sigma_max))
        return (high + uniform * (low - high)) ** self.sampler.rho

    def train(self) -> None:
        """Switch dropout on for the trained part alone, so the residual network sees the final forecast."""
        self.model.train()
        self.model.forecast.train(self.name == "forecast")

    @torch.no_grad()
    def validate(self, windows: Windows) -> float:
        """Loss on the validation part, with the same noise at every call."""
        self.model.eval()
        n, width = windows.future.shape
        generator = torch.Generator().manual_seed(0)
        losses = []
        for _ in range(1 if self.name == "forecast" else 4):
            uniform = (torch.arange(n) + torch.rand(1, generator=generator)) * 0.6180339887 % 1
            noise = torch.randn(n, width, generator=generator)
            losses.append(self.loss(windows, uniform, noise))
        self.train()
        return float(torch.stack(losses).mean())


def fit_denoiser(
    dataset: WindowedSeries,
    config: FitConfig | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> DiffKDenoiser:
    """Train a denoiser on the training part, with early stopping on the validation part. The test part is not read.

    Args:
        dataset: standardised series with the context and prediction lengths of the configuration.
        config: settings; ``default_fit_config(dataset)`` if None.
        checkpoint: file that every validation rewrites; needed to resume.
        resume: whether to continue from ``checkpoint`` if it exists.
        progress: function called after every step. An exception from it interrupts the run, which can be resumed.

    Raises:
        ValueError: if the configuration does not fit the data or the checkpoint.
        FloatingPointError: if training diverges.
    """
    config = config or default_fit_config(dataset)
    check_fit_config(dataset, config)
    train = normalised_windows(dataset, "train", 1)
    validation = normalised_windows(dataset, "val", config.validation_stride)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = DiffKDenoiser(config.denoiser)
        model.forecast.fit_ridge_(train.context, train.channel, train.future, config.ridge)
        state, tensors = TrainingState(STAGES[0]), None
        if resume and checkpoint is not None and checkpoint.exists():
            state, tensors = load_checkpoint(checkpoint, asdict(config))
            model.load_state_dict(tensors["model"])
        for name in STAGES[STAGES.index(state.stage) :]:
            stage = _Stage(name, model, config)
            if tensors is not None:
                restore_optimizer(stage.optimizer, tensors["optimizer"])
                tensors = None
            elif name != state.stage:
                state = TrainingState(name, history=state.history)
            _run_stage(stage, state, train, validation, config, checkpoint, progress)
            model.load_state_dict(state.best, strict=False)
    return model.eval().requires_grad_(False)


def _run_stage(
    stage: _Stage,
    state: TrainingState,
    train: Windows,
    validation: Windows,
    config: FitConfig,
    checkpoint: Path | None,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Optimise for ``max_steps`` steps or until patience ends. ``state.best`` then holds the best parameters."""
    if not state.ema:
        state.ema = {name: parameter.detach().clone() for name, parameter in stage.trained}
    stage.train()
    settings = stage.config
    while state.step < settings.max_steps and state.step - state.best_step < settings.patience:
        state.step += 1
        loss = _train_step(stage, state, train, config)
        validation_loss = None
        if state.step % settings.validate_every == 0 or state.step == settings.max_steps:
            validation_loss = _validate_average(stage, state, validation)
            state.history.append((stage.name, state.step, loss, validation_loss))
            if checkpoint is not None:
                save_checkpoint(checkpoint, state, stage.model, stage.optimizer, asdict(config))
        if progress is not None:
            progress(
                Progress(
                    stage.name, state.step, settings.max_steps, loss, validation_loss, state.best_loss, state.best_step
                )
            )


def _train_step(stage: _Stage, state: TrainingState, train: Windows, config: FitConfig) -> float:
    """Make one optimiser step. Batch, noise and dropout are functions of (seed, stage, step)."""
    torch.manual_seed(
        int(derive_seeds(config.seed, STAGES.index(stage.name), np.array([state.step]))[0] >> np.uint64(1))
    )
    rows = torch.randint(0, len(train.future), (stage.config.batch_size,))
    batch = augmented(train, rows, stage.model.config.forecast.channels, config.augmentation)
    loss = stage.loss(batch, torch.rand(len(rows)), torch.randn(len(rows), train.future.shape[1]))
    stage.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([parameter for _, parameter in stage.trained], 1.0)
    stage.optimizer.step()
    decay = min(stage.config.ema_decay, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for name, parameter in stage.trained:
            state.ema[name].lerp_(parameter, 1 - decay)
    return loss.item()


def _validate_average(stage: _Stage, state: TrainingState, validation: Windows) -> float:
    """Validate the averaged parameters, and keep them if they are the best so far."""
    current = {name: parameter.detach().clone() for name, parameter in stage.trained}
    stage.model.load_state_dict(state.ema, strict=False)
    loss = stage.validate(validation)
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the validation loss of stage {stage.name!r} is {loss} at step {state.step}; lower its learning rate"
        )
    stage.model.load_state_dict(current, strict=False)
    if loss < state.best_loss:
        state.best_loss, state.best_step = loss, state.step
        state.best = {name: tensor.clone() for name, tensor in state.ema.items()}
    return loss
