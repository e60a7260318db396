"""From flags to objects: the data, the prior, the problems and the reward of a forecasting search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sadt_ray.data.windows import SeriesDataset
from sadt_ray.interfaces import Problem
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained, load_prior
from sadt_ray.processes.sampling import sample_prior
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
    reward: WeightedSum
    notes: list[str]


def load_process(data: SeriesDataset, backbone: str, checkpoint: Path | None) -> tuple[DiffusionProcess, list[str]]:
    """The prior, on the CPU of this machine, and what has to be said about it."""
    if checkpoint is not None:
        process = load_prior(checkpoint)
    else:
        process = load_pretrained(backbone, "ETTh1" if data.name == "synthetic" else data.name)
    trained_on = getattr(getattr(process.denoiser, "config", None), "dataset", data.name)
    if trained_on == data.name:
        return process, []
    return process, [f"The prior was trained on {trained_on}, the series is {data.name}: its channels are new to it."]


def select_problems(
    data: SeriesDataset, split: str, windows: Sequence[int], num_windows: int, channels: Sequence[str]
) -> list[Problem]:
    """Windows by number, or ``num_windows`` spread evenly over the part; all channels if none is named.

    The part ``latest`` is one window: what comes after the last row.
    """
    for name, chosen in (("window", windows), ("channel", channels)):
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"a {name} is given twice: {', '.join(map(str, chosen))}")
    if split == "latest":
        return [data.latest_problem(channel) for channel in (channels or data.columns)]
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

    The second opinion is a log-likelihood ratio, its weights are fitted at lambda = 1. Here it is divided by lambda, so
    that it enters the target's log-density lambda r with those weights at any temperature.
    """
    spectral = SpectralReward(spectral_weight) if spectral_weight != 0 else None
    terms = parse_reward(spec, spectral).terms
    opinion = SecondOpinionReward
    return WeightedSum(*((w / inv_temperature if isinstance(r, opinion) else w, r) for w, r in terms))


def with_opinions_if_needed(
    problems: list[Problem], reward: WeightedSum, data: SeriesDataset, process: DiffusionProcess, seed: int
) -> tuple[list[Problem], list[str]]:
    """The problems with what the second opinion asks for, if it is part of the reward."""
    if not any(isinstance(term, SecondOpinionReward) for _, term in reward.terms):
        return problems, []
    drawn = sample_prior(process, problems, _PRIOR_SAMPLES, seed)
    nfe = _PRIOR_SAMPLES * process.sampler.num_steps
    note = (
        f"The second opinion needs the prior's moments: {_PRIOR_SAMPLES} samples a context, {nfe:,} evaluations, "
        "the same for every method and not counted in the table."
    )
    return with_second_opinions(problems, fit_opinions(data), list(drawn)), [note]
