"""The diffusion prior of a series, trained, saved and scored."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from sadt_ray.data.windows import SeriesDataset
from sadt_ray.forecasting import load_series
from sadt_ray.metrics.forecasts import SAMPLES, forecast_scores, problems_of
from sadt_ray.numerics.threads import limited_threads
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.fit_config import STAGES, FitConfig, default_fit_config
from sadt_ray.processes.fit_denoiser import fit_denoiser
from sadt_ray.processes.pretrained import save_prior
from sadt_ray.processes.sampling import sample_prior
from sadt_ray.training.progress import Show, show_nothing


@dataclass(frozen=True)
class PriorSettings:
    """Train diff-k, the diffusion prior, on the training part of a series; the validation part says when to stop.

    A few minutes on two cores. Ctrl-C keeps a checkpoint; the same command with --resume continues from it.
    """

    dataset: str | None = None
    """Name of the dataset: ETTh1 by default, or after the --data-file."""
    data_file: Path | None = None
    """A CSV of ETTh1's shape: a date column, then one numeric column per channel."""
    out: Path | None = None
    """Where the weights go; runs/train/DATASET/diff_k.safetensors by default. The checkpoint stands beside it."""
    resume: bool = False
    """Continue from the checkpoint beside --out, if there is one."""
    seed: int = 0
    """Of initial weights, batches and noise."""
    max_steps: int | None = None
    """At most so many steps per stage, for a quick trial."""
    threads: int = 1
    """CPU threads. On cores that others use too, two are many times slower than one."""


class TrainedPrior(NamedTuple):
    """A prior and how good it is.

    Attributes:
        process: the prior, frozen.
        path: of its weights.
        scores: on the validation part, by metric.
        parameters: number of parameters.
        minutes: wall-clock time.
    """

    process: DiffusionProcess
    path: Path
    scores: dict[str, float]
    parameters: int
    minutes: float


def train_prior(
    data: SeriesDataset | None = None, settings: PriorSettings | None = None, show: Show = show_nothing
) -> TrainedPrior:
    """Train the diffusion prior of a series, save it, and score it on the validation part.

    Args:
        data: the series; that of the settings if not given.
        settings: where the weights go, seeds, steps.
        show: see ``Show``.

    Raises:
        ValueError, FileNotFoundError: for a series that cannot be had.
        FloatingPointError: if the loss is no number any more.
    """
    settings = settings or PriorSettings()
    data = load_series(settings.dataset, settings.data_file) if data is None else data
    out = settings.out or Path("runs/train") / data.name / "diff_k.safetensors"
    config, started = _fit_config(settings, data), time.perf_counter()
    with limited_threads(settings.threads):
        denoiser = fit_denoiser(
            data, config, out.with_suffix(".checkpoint"), settings.resume,
            lambda now: show(
                now.stage, now.step, now.max_steps,
                f"loss {now.train_loss:.3f}, best on val {now.best_loss:.4f} at {now.best_step}",
            ),
        )  # fmt: skip
        save_prior(out, denoiser, config.sampler)
        minutes = (time.perf_counter() - started) / 60
        problems, process = problems_of(data, "val"), DiffusionProcess(denoiser, config.sampler)
        scores = forecast_scores(sample_prior(process.with_branch_steps("none"), problems, SAMPLES), problems)
    record = {"config": asdict(config), "validation": scores, "minutes": minutes}
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    return TrainedPrior(process, out, scores, denoiser.parameter_count, minutes)


def _fit_config(settings: PriorSettings, data: SeriesDataset) -> FitConfig:
    config = replace(default_fit_config(data), seed=settings.seed)
    if settings.max_steps is None:
        return config
    limit = {name: min(settings.max_steps, getattr(config, name).max_steps) for name in STAGES}
    return replace(config, **{name: replace(getattr(config, name), max_steps=limit[name]) for name in STAGES})
