"""z-scores as upstream computes them, to the bit, because mean and standard deviation are in the prompt.

float32 in torch where upstream uses torch (stages 1 to 3), numpy where it uses numpy. The prompt shows four decimals,
and for an M4 series of values in the thousands the fourth one depends on the order of summation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float


class Normalised(NamedTuple):
    """The n normalised series of a prompt."""

    series: Float[np.ndarray, "n T"]
    means: Float[np.ndarray, " n"]  # in the units of the data, as the prompt states them
    stds: Float[np.ndarray, " n"]


Normalise = Callable[[Float[np.ndarray, "n T"]], Normalised]


def normalised_tsqa(series: Float[np.ndarray, "1 T"]) -> Normalised:
    """(x - mean) / (std + 1e-8), where std divides by n - 1."""
    x, mean, std = _moments(series)
    return _normalised((x - mean) / (std + 1e-8), mean, std)


def normalised_m4(series: Float[np.ndarray, "1 T"]) -> Normalised:
    """(x - mean) / std, where std divides by n - 1; a constant series becomes zeros."""
    x = torch.tensor(series[0], dtype=torch.float32)
    mean, std = x.mean(), x.std()
    z = (x - mean) / std if std > 0 else x - mean
    return _normalised(z[None], mean[None], std[None])


def normalised_har(series: Float[np.ndarray, "3 T"]) -> Normalised:
    """(x - mean) / max(std, 1e-6) for each axis, where std divides by n - 1."""
    x, mean, std = _moments(series)
    std = torch.clamp(std, min=1e-6)
    return _normalised((x - mean) / std, mean, std)


def normalised_har_by_window(series: Float[np.ndarray, "3 T"]) -> Normalised:
    """The same series, but the prompt states relative deviations and no means.

    In a collection whose sources have different units, mean and deviation reveal the source and with it the label.
    Here the deviations are std_k / sqrt(mean_k std_k^2) and the means are 0, which does not depend on units or gravity.
    """
    normalised = normalised_har(series)
    scale = max(float(np.sqrt(np.mean(normalised.stds**2))), 1e-6)
    return normalised._replace(means=np.zeros(len(series)), stds=normalised.stds / scale)


def normalised_sleep(series: Float[np.ndarray, "1 T"]) -> Normalised:
    """(x - mean) / max(std, 1e-6) in float32, where std divides by n."""
    x = np.asarray(series[0], np.float32)
    mean, std = float(np.mean(x)), max(float(np.std(x)), 1e-6)
    return Normalised(((x - mean) / std)[None], np.array([mean]), np.array([std]))


def normalised_ecg(series: Float[np.ndarray, "n T"]) -> Normalised:
    """(x - mean) / std for each lead in float64, where std divides by n; a lead with std <= 1e-6 is only centred."""
    x = np.asarray(series, np.float64)
    leads = [np.ascontiguousarray(lead) for lead in x]
    means, stds = np.array([np.mean(lead) for lead in leads]), np.array([np.std(lead) for lead in leads])
    divisors = np.where(stds > 1e-6, stds, 1.0)
    return Normalised((x - means[:, None]) / divisors[:, None], means, stds)


NORMALISE: dict[int, Normalise] = {
    1: normalised_tsqa,
    2: normalised_m4,
    3: normalised_har,
    4: normalised_sleep,
    5: normalised_ecg,
}


def _moments(series: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.tensor(series, dtype=torch.float32)
    return x, x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True)


def _normalised(z: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> Normalised:
    return Normalised(z.numpy(), mean.double().flatten().numpy(), std.double().flatten().numpy())
