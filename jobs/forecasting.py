"""From flags to objects: the data, the prior, the problems and the reward of a forecasting search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from sadt_ray.api import sample
from sadt_ray.data.etth1 import DataNotFound, load_csv, load_etth1
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import prior
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained, load_prior
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.opinions import fit_opinions
from sadt_ray.rewards.parse import parse_reward
from sadt_ray.rewards.second_opinion import SecondOpinionReward, with_second_opinions
from sadt_ray.rewards.spectral import SpectralReward

_PRIOR_SAMPLES = 100  # per problem, for the moments that the second opinion needs
_STRIDE = 48


@dataclass(frozen=True)
class Forecasting:
    """A forecasting task, ready to search.

    Attributes:
        notes: sentences that belong beside every result, such as a fallback that was taken.
    """

    process: DiffusionProcess
    problems: list[Problem]
    reward: Reward
    notes: list[str]


def load_dataset(dataset: str, data_file: Path | None, console: Console) -> SeriesDataset:
    """The series by name or file. Where ETTh1 cannot be had, a synthetic one stands in, and the console says so."""
    if data_file is not None:
        return load_csv(data_file, dataset if dataset != "ETTh1" else None)
    if dataset == "synthetic":
        return synthetic_hourly()
    if dataset != "ETTh1":
        raise ValueError(f"the dataset {dataset!r} is not built in; give its CSV with --data-file, or use ETTh1")
    try:
        return load_etth1()
    except DataNotFound as error:
        console.print(f"[yellow]{error}[/yellow]\n[yellow]Going on with the built-in synthetic hourly series.[/yellow]")
        return synthetic_hourly()


def load_process(
    data: SeriesDataset, backbone: str, checkpoint: Path | None, device: str
) -> tuple[DiffusionProcess, list[str]]:
    """The prior, and what has to be said about it. Raises ValueError for a device that cannot be used here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise ValueError(f"device {device!r} cannot be used here ({error}); use cpu") from None
    if checkpoint is not None:
        return load_prior(checkpoint, device=device), []
    if data.name == "synthetic":
        note = "The series is synthetic and the prior was trained on ETTh1: a demonstration, not a result."
        return load_pretrained(backbone, "ETTh1", device=device), [note]
    return load_pretrained(backbone, data.name, device=device), []


def select_problems(
    data: SeriesDataset, split: str, windows: Sequence[int], num_windows: int, channels: Sequence[str]
) -> list[Problem]:
    """Windows by number, or ``num_windows`` spread evenly over the part; all channels if none is named."""
    available = len(data.window_starts(split, _STRIDE))
    if not windows:
        if not 1 <= num_windows <= available:
            raise ValueError(f"num_windows is {num_windows}; {data.name}/{split} has {available} windows")
        windows = [int((i + 0.5) * available / num_windows) for i in range(num_windows)]
    return [
        data.problem(split, window, channel, _STRIDE) for window in windows for channel in (channels or data.columns)
    ]


def build_reward(spec: str, spectral_weight: float, inv_temperature: float) -> WeightedSum:
    """The task's reward plus the spectral one.

    The second opinion is a log-likelihood ratio, its weights are fitted at lambda = 1. Written without any it is
    divided by lambda, so that it enters the target's log-density lambda r with those weights at any temperature.
    """
    spectral = SpectralReward(spectral_weight) if spectral_weight != 0 else None
    if spec in ("second-opinion", "second_opinion"):
        spec = f"{1 / inv_temperature:.12g}*second-opinion"
    return parse_reward(spec, spectral)


def with_opinions_if_needed(
    problems: list[Problem], reward: WeightedSum, data: SeriesDataset, process: GenerativeProcess, seed: int
) -> tuple[list[Problem], list[str]]:
    """The problems with what the second opinion asks for, if it is part of the reward."""
    if not any(isinstance(term, SecondOpinionReward) for _, term in reward.terms):
        return problems, []
    drawn = sample(process, problems, WeightedSum(), prior(n_rollouts=_PRIOR_SAMPLES, seed=seed + 1))
    nfe = int(drawn[0].nfe_at[-1])
    note = (
        f"The second opinion needs the prior's moments: {_PRIOR_SAMPLES} samples a context, {nfe:,} evaluations, "
        "the same for every method and not counted in the table."
    )
    return with_second_opinions(problems, fit_opinions(data), [samples.samples for samples in drawn]), [note]
