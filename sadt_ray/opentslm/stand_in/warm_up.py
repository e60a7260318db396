"""Warm-up of the encoder: it learns to predict measurements and clues, through heads that are discarded afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.model.encoder import WIDTH, SeriesEncoder, pad_to_patches
from sadt_ray.opentslm.stand_in.measured import patch_measurements, series_measurements

_PATCH_VALUES, _SERIES_VALUES = 5, 21


class WarmUpHeads(nn.Module):
    """Linear heads on the encoder's patches for measurements of patches and series, and for clues of prompts."""

    def __init__(self, clues: Mapping[str, int]) -> None:
        super().__init__()
        self.patch = nn.Linear(WIDTH, _PATCH_VALUES)
        self.series = nn.Linear(2 * WIDTH, _SERIES_VALUES)
        self.clues = nn.ModuleDict({name: nn.Linear(2 * WIDTH, classes) for name, classes in clues.items()})

    def loss(
        self,
        encoder: SeriesEncoder,
        series: Float[Tensor, "rows points"],
        prompts: int,
        known: Sequence[Mapping[str, int]],
    ) -> Tensor:
        """Loss of a batch whose prompts have rows / prompts series each: squared errors of the measurements,
        standardised over the batch, plus cross entropies of the known clues."""
        patches = encoder(series).float()
        pooled = torch.cat([patches.mean(1), patches.amax(1)], 1)
        loss = functional.smooth_l1_loss(self.patch(patches), patch_measurements(series).clamp(-5, 5))
        loss = loss + functional.smooth_l1_loss(self.series(pooled), _standardised(series_measurements(series)))
        whole = pooled.unflatten(0, (prompts, -1)).mean(1)
        for name, head in self.clues.items():
            rows = [i for i, clues in enumerate(known) if name in clues]
            if rows:
                classes = torch.tensor([known[i][name] for i in rows])
                loss = loss + 0.5 * functional.cross_entropy(head(whole[rows]), classes)
        return loss


def warm_up(
    encoder: SeriesEncoder,
    batch: Callable[[], Sequence[Problem]],
    clues: Mapping[str, int],
    steps: int,
    learning_rate: float,
    report: Callable[[int, float], None] = lambda step, loss: None,
    max_series: int = 3,
) -> None:
    """Train the encoder on batches of problems whose series have the same length within a batch.

    Args:
        max_series: most series per prompt in a step, drawn anew for each step.
    """
    heads = WarmUpHeads(clues)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.2)
    for step in range(steps):
        problems = batch()
        series = series_of(problems, max_series)
        short = series.shape[1] <= 512
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH) if short else nullcontext():
            loss = heads.loss(encoder, series, len(problems), [p.extras["clues"] for p in problems])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(step + 1, loss.item())


def series_of(problems: Sequence[Problem], max_series: int) -> Float[Tensor, "rows points"]:
    """The series of all prompts in order, padded to whole patches."""
    chosen: list[Tensor] = []
    for problem in problems:
        series = problem.conditioning.series
        picked = torch.randperm(len(series))[:max_series].sort().values.tolist()
        chosen += [torch.as_tensor(series[i]) for i in picked]
    return pad_to_patches(chosen)


def _standardised(values: Float[Tensor, "rows F"]) -> Float[Tensor, "rows F"]:
    return ((values - values.mean(0)) / values.std(0).clamp_min(1e-3)).clamp(-4, 4)
