"""Settings of the training of diff-k: sizes, stages, and the defaults for a dataset."""

from __future__ import annotations

from dataclasses import dataclass, field

from sadt_ray.processes.denoiser import DenoiserConfig
from sadt_ray.processes.diffusion import SamplerConfig
from sadt_ray.processes.gaussian_forecast import ForecastConfig, RidgeConfig
from sadt_ray.processes.training_windows import AugmentationConfig, WindowedSeries

STAGES = ("forecast", "residual")


@dataclass(frozen=True)
class StageConfig:
    """Settings of one stage.

    Attributes:
        max_steps: largest number of optimiser steps.
        patience: number of steps without a better validation loss after which the stage ends.
        validate_every: number of steps between validations, and between checkpoints.
        batch_size, learning_rate, weight_decay: settings of AdamW.
        ema_decay: decay of the averaged parameters, which are validated and kept.
    """

    max_steps: int = 2000
    patience: int = 500
    validate_every: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.99


@dataclass(frozen=True)
class FitConfig:
    """Settings of a whole training run. They and the data determine the weights."""

    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    forecast: StageConfig = field(default_factory=StageConfig)
    residual: StageConfig = field(default_factory=lambda: StageConfig(max_steps=4000, patience=1000, ema_decay=0.998))
    ridge: RidgeConfig = field(default_factory=RidgeConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    validation_stride: int = 24
    seed: int = 0


def default_fit_config(dataset: WindowedSeries) -> FitConfig:
    """The defaults, with the sizes of the dataset."""
    base = DenoiserConfig()
    forecast = ForecastConfig(
        context_length=dataset.context_length,
        prediction_length=dataset.prediction_length,
        channels=len(dataset.columns),
        recent=min(base.forecast.recent, dataset.context_length),
    )
    return FitConfig(denoiser=DenoiserConfig(forecast=forecast, dataset=dataset.name))


def check_fit_config(dataset: WindowedSeries, config: FitConfig) -> None:
    """Raise ValueError if the sizes of the configuration do not fit the dataset."""
    sizes = config.denoiser.forecast
    for key, ours in (("context_length", dataset.context_length), ("prediction_length", dataset.prediction_length)):
        if getattr(sizes, key) != ours:
            raise ValueError(f"{key} is {getattr(sizes, key)} in the configuration but {ours} in {dataset.name}")
    if sizes.channels != len(dataset.columns):
        raise ValueError(
            f"the configuration has {sizes.channels} channels but {dataset.name} has {len(dataset.columns)}"
        )
