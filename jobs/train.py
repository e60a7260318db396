"""``python -m jobs.train WHAT``: train what a search needs. ``prior`` is diff-k, the diffusion prior of forecasts;
``flow`` is F_phi, learned from the trajectories of searches; ``tslm`` is a stand-in for OpenTSLM."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from jobs.datasets import load_dataset
from jobs.train_flow import TrainFlowConfig, train_flow
from jobs.train_tslm import TrainTslmConfig, train_tslm
from jobs.train_verifier import TrainVerifierConfig, train_verifier
from jobs.training_bars import TrainingBars
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.metrics.forecasts import SAMPLES, forecast_scores, problems_of
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.fit_config import STAGES, FitConfig, default_fit_config
from sadt_ray.processes.fit_denoiser import Progress as TrainingProgress
from sadt_ray.processes.fit_denoiser import fit_denoiser
from sadt_ray.processes.pretrained import save_prior
from sadt_ray.processes.sampling import sample_prior


@dataclass(frozen=True)
class TrainPriorConfig:
    """Train diff-k, the diffusion prior, on the training part of a series; the validation part says when to stop.

    A few minutes on two cores. Ctrl-C keeps a checkpoint; the same command with --resume continues from it.
    """

    dataset: str | None = None
    """Name of the dataset: ETTh1 by default, or after the --data-file."""
    data_file: Path | None = None
    """A CSV of ETTh1's shape: a date column, then one numeric column a channel."""
    out: Path | None = None
    """Where the weights go; runs/train/DATASET/diff_k.safetensors by default. The checkpoint stands beside it."""
    resume: bool = False
    """Continue from the checkpoint beside --out, if there is one."""
    seed: int = 0
    """Of initial weights, batches and noise."""
    max_steps: int | None = None
    """At most so many steps a stage, for a quick trial."""
    threads: int = 1
    """CPU threads. On cores that others use too, two are many times slower than one."""


def train_prior(config: TrainPriorConfig, console: Console) -> Path:
    """Fit, save, score on the validation part; returns the path of the weights."""
    torch.set_num_threads(config.threads)
    dataset = load_dataset(config.dataset, config.data_file)
    out = config.out or Path("runs/train") / dataset.name / "diff_k.safetensors"
    settings = _settings(config, dataset)
    console.print(f"diff-k on {dataset.name}: {len(dataset.columns)} channels, {len(dataset.values):,} rows -> {out}")
    start = time.perf_counter()
    with TrainingBars(console) as bars:

        def show(now: TrainingProgress) -> None:
            losses = f"loss {now.train_loss:.3f}, best on val {now.best_loss:.4f} at {now.best_step}"
            bars.show(now.stage, now.step, now.max_steps, losses)

        denoiser = fit_denoiser(dataset, settings, out.with_suffix(".checkpoint"), config.resume, show)
    save_prior(out, denoiser, settings.sampler)
    minutes = (time.perf_counter() - start) / 60
    problems = problems_of(dataset, "val")
    samples = sample_prior(DiffusionProcess(denoiser, settings.sampler, "none"), problems, SAMPLES)
    scores = forecast_scores(samples, problems)
    record = {"config": asdict(settings), "validation": scores, "minutes": minutes}
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    size = f"{denoiser.parameter_count:,} parameters, {out.stat().st_size / 1e6:.1f} MB, {minutes:.1f} minutes"
    console.print(f"{size}; validation part: " + ", ".join(f"{key} {value:.4f}" for key, value in scores.items()))
    return out


def _settings(config: TrainPriorConfig, dataset: SeriesDataset) -> FitConfig:
    settings = replace(default_fit_config(dataset), seed=config.seed)
    if config.max_steps is None:
        return settings
    limit = {name: min(config.max_steps, getattr(settings, name).max_steps) for name in STAGES}
    return replace(settings, **{name: replace(getattr(settings, name), max_steps=limit[name]) for name in STAGES})


def main() -> None:
    app = tyro.extras.SubcommandApp()
    console = Console()

    @app.command(name="prior")
    def prior(config: Annotated[TrainPriorConfig, tyro.conf.arg(name="")]) -> None:
        """Train diff-k, the diffusion prior of forecasts."""
        _run(lambda: train_prior(config, console), console)

    @app.command(name="flow")
    def flow(config: Annotated[TrainFlowConfig, tyro.conf.arg(name="")]) -> None:
        """Train the flow F_phi on the trajectories of searches."""
        _run(lambda: train_flow(config, console), console)

    @app.command(name="tslm")
    def tslm(config: Annotated[TrainTslmConfig, tyro.conf.arg(name="")]) -> None:
        """Train a stand-in for OpenTSLM: tiny, in its published format."""
        _run(lambda: train_tslm(config, console), console)

    @app.command(name="verifier")
    def verifier(config: Annotated[TrainVerifierConfig, tyro.conf.arg(name="")]) -> None:
        """Train the verifier of a stage's answers."""
        _run(lambda: train_verifier(config, console), console)

    app.cli(description=__doc__)


def _run(job: Callable[[], object], console: Console) -> None:
    """A user's mistake is one line and exit status 2, Ctrl-C is 130; anything else is a bug and keeps its traceback."""
    try:
        job()
    except (ValueError, FileNotFoundError, FloatingPointError, ImportError) as error:
        console.print(f"jobs.train: {error}", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        console.print("stopped; the same command with --resume continues")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
