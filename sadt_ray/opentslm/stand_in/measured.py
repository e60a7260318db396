"""Measurements of patches and series, the targets of the encoder's warm-up.

Without the warm-up the post-norm encoder learns a linear feature (a trend) and little else.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.opentslm.model.encoder import PATCH

_BANDS = 8


def patch_measurements(series: Float[Tensor, "rows points"]) -> Float[Tensor, "rows patches 5"]:
    """Mean, standard deviation and maximum of each patch of 4, and mean and standard deviation of its neighbourhood."""
    patches = series.unfold(1, PATCH, PATCH)
    mean, square = patches.mean(2), (patches**2).mean(2)
    near_mean, near_square = _neighbourhood(mean), _neighbourhood(square)
    near_std = (near_square - near_mean**2).clamp_min(0).sqrt()
    std = (square - mean**2).clamp_min(0).sqrt()
    return torch.stack([mean, std, near_std, patches.amax(2), near_mean], 2)


def series_measurements(series: Float[Tensor, "rows points"]) -> Float[Tensor, "rows 21"]:
    """Means and standard deviations of the quarters, largest jump, extreme, median step, fourth moment, log power in 8
    bands, and the share of the strongest rhythm."""
    quarters = series[:, : series.shape[1] // 4 * 4].unflatten(1, (4, -1))
    steps = series.diff(dim=1).abs()
    centred = series - series.mean(1, keepdim=True)
    extreme = series.abs().amax(1)
    moments = torch.stack([steps.amax(1), extreme, steps.median(1).values, (centred**4).mean(1).clamp_max(30)], 1)
    return torch.cat([quarters.mean(2), quarters.std(2), moments, _log_powers(centred)], 1)


def _log_powers(centred: Float[Tensor, "rows points"]) -> Float[Tensor, "rows 9"]:
    power = torch.fft.rfft(centred * torch.hann_window(centred.shape[1]), dim=1).abs() ** 2 / centred.shape[1]
    power = power[:, 1:]
    edges = torch.logspace(0, 1, _BANDS + 1, base=power.shape[1]).round().long() - 1
    bands = [power[:, low : max(high, low + 1)].mean(1) for low, high in pairwise(edges.tolist())]
    share = power.amax(1) / power.sum(1).clamp_min(1e-6)
    return torch.stack([*[(band + 1e-4).log() for band in bands], share], 1)


def _neighbourhood(values: Float[Tensor, "rows patches"]) -> Float[Tensor, "rows patches"]:
    """Mean over a patch and two on either side."""
    padded = torch.nn.functional.pad(values[:, None], (2, 2), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, 5, 1)[:, 0]
