"""Differentiable power spectral densities (PSD) of batches of series: Welch's method and Thomson's multitaper.

Frequencies are in cycles per sample, 0 to 1/2. Densities are one-sided, in squared units of the series per cycle per
sample, so a PSD integrates to the variance (as ``scipy.signal.welch`` with ``fs=1`` and ``scaling="density"``).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.signal.windows import dpss, hann
from torch import Tensor


def frequencies(nperseg: int = 48) -> Float[Tensor, " frequencies"]:
    """The nperseg // 2 + 1 frequencies of segments of ``nperseg`` samples, in cycles per sample."""
    return torch.fft.rfftfreq(nperseg, dtype=torch.float64)


def welch(x: Float[Tensor, "*batch time"], nperseg: int = 48) -> Float[Tensor, "*batch frequencies"]:
    """Mean periodogram of Hann-windowed segments, which overlap by half and have their mean removed.

    Equal to ``scipy.signal.welch(x, nperseg=nperseg)`` (Welch 1967). Raises ValueError if no segment fits.
    """
    return _mean_periodogram(_segments(x, nperseg), _hann_transform(nperseg, x.dtype, x.device))


def multitaper(
    x: Float[Tensor, "*batch time"], nperseg: int = 48, half_bandwidth: float = 2.5
) -> Float[Tensor, "*batch frequencies"]:
    """Mean over half-overlapping segments and over 2 NW - 1 orthogonal DPSS tapers (Thomson 1982).

    It has less variance per segment than Welch's method, at a resolution of NW = ``half_bandwidth`` bins on either
    side. Segments and frequencies are those of ``welch``, so series of different lengths can be compared. Raises
    ValueError if no segment fits, or the half bandwidth allows no taper.
    """
    return _mean_periodogram(_segments(x, nperseg), _dpss_transform(nperseg, half_bandwidth, x.dtype, x.device))


def log_psd(
    x: Float[Tensor, "*batch time"], nperseg: int = 48, eps: float = 1e-4, method: str = "welch"
) -> Float[Tensor, "*batch frequencies"]:
    """log(S + eps) by ``method`` "welch" or "multitaper". The density eps keeps the logarithm finite at S = 0."""
    if method not in METHODS:
        raise ValueError(f"unknown PSD method {method!r}; choose one of {', '.join(METHODS)}")
    return torch.log(METHODS[method](x, nperseg) + eps)


METHODS = {"welch": welch, "multitaper": multitaper}


def _segments(x: Tensor, nperseg: int) -> Float[Tensor, "*batch segments nperseg"]:
    if not 2 <= nperseg <= x.shape[-1]:
        raise ValueError(f"nperseg must be between 2 and the length of the series, {x.shape[-1]}, got {nperseg}")
    return x.unfold(-1, nperseg, nperseg - nperseg // 2)


def _mean_periodogram(
    segments: Float[Tensor, "*batch segments nperseg"], transform: Float[Tensor, "nperseg parts frequencies"]
) -> Float[Tensor, "*batch frequencies"]:
    """Sum over parts (real and imaginary, every taper) of |transform segment|^2, averaged over segments.

    The segments of a reward are short, so one product with the matrix of the transform needs fewer calls than an FFT.
    Gradients flow through it.
    """
    rows = segments.reshape(-1, segments.shape[-1])  # one matrix product, not a batch of small ones
    power = (rows @ transform.flatten(1)).square().view(*segments.shape[:-2], -1, transform.shape[-1])
    return power.sum(-2) / segments.shape[-2]


def _transform(tapers: np.ndarray) -> np.ndarray:
    """Matrix [nperseg, 2 tapers, frequencies]: remove the mean, taper, transform, scale to a one-sided density."""
    count, nperseg = tapers.shape
    centre = np.eye(nperseg) - 1 / nperseg
    spectrum = np.fft.rfft(centre[:, None, :] * tapers, axis=-1)  # row t: transform of a unit impulse at t
    one_sided = np.full(nperseg // 2 + 1, 2.0)
    one_sided[0] = 1.0
    if nperseg % 2 == 0:
        one_sided[-1] = 1.0
    spectrum = spectrum * np.sqrt(one_sided / count)
    return np.concatenate([spectrum.real, spectrum.imag], axis=1)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a constant from a caller's inference mode could not be used with gradients later
def _hann_transform(nperseg: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    window = hann(nperseg, sym=False)
    return torch.tensor(_transform(window[None] / np.linalg.norm(window))).to(device, dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _dpss_transform(nperseg: int, half_bandwidth: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    count = int(2 * half_bandwidth) - 1
    if count < 1 or half_bandwidth >= nperseg / 2:
        raise ValueError(f"half_bandwidth must be between 1 and nperseg / 2 = {nperseg / 2}, got {half_bandwidth}")
    return torch.tensor(_transform(dpss(nperseg, half_bandwidth, count, norm=2))).to(device, dtype)
