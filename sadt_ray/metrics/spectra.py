"""Distances between the power spectra of a forecast and a reference, by Welch's method.

The spectrum of a forecast is the expected PSD of its samples, sum_i w_i S_{x_i}, and not the PSD of its mean, which is
at most as large. Frequencies are in cycles per sample, 0 to 1/2.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import wasserstein_distance

from sadt_ray.metrics.shapes import checked_weights


def spec_w1(
    samples: Float[np.ndarray, "*batch samples time"],
    reference: Float[np.ndarray, "*batch reference_time"],
    weights: Float[np.ndarray, "*batch samples"] | None = None,
    *,
    nperseg: int = 48,
) -> Float[np.ndarray, "*batch"]:
    """Wasserstein-1 distance between the normalised PSDs of forecast and reference, in cycles per sample (0 to 1/2).

    It is the mean distance by which power must move along the frequency axis. The reference (the context or the truth)
    may have any length of at least ``nperseg``. Raises ValueError on shapes that do not fit or a PSD that is zero.
    """
    forecast, expected, frequencies = _spectra(samples, reference, weights, nperseg)
    out = np.empty(forecast.shape[:-1])
    for at in np.ndindex(out.shape):
        if not (forecast[at].sum() > 0 and expected[at].sum() > 0):
            raise ValueError("a constant series has no spectrum to normalise: forecast or reference does not vary")
        out[at] = wasserstein_distance(frequencies, frequencies, forecast[at], expected[at])
    return out


def log_spectral_distance(
    samples: Float[np.ndarray, "*batch samples time"],
    reference: Float[np.ndarray, "*batch reference_time"],
    weights: Float[np.ndarray, "*batch samples"] | None = None,
    *,
    nperseg: int = 48,
    eps: float = 1e-4,
) -> Float[np.ndarray, "*batch"]:
    """Root mean square over frequencies of log(S_forecast + eps) - log(S_reference + eps), in nats (x 4.34: decibels).

    Unlike ``spec_w1`` it depends on the level of the spectrum and on its weak parts. Raises ValueError on wrong shapes.
    """
    forecast, expected, _ = _spectra(samples, reference, weights, nperseg)
    return np.asarray(np.sqrt(np.mean(np.square(np.log(forecast + eps) - np.log(expected + eps)), axis=-1)))


def log_psd(
    series: Float[np.ndarray, "*batch time"], nperseg: int, eps: float
) -> Float[np.ndarray, "*batch frequencies"]:
    """log(S + eps) of every series, in double precision."""
    return np.log(_psd(np.asarray(series, dtype=float), nperseg) + eps)


def _psd(series: Float[np.ndarray, "*batch time"], nperseg: int) -> Float[np.ndarray, "*batch frequencies"]:
    import torch

    from sadt_ray.numerics.psd import welch

    return welch(torch.tensor(series), nperseg).numpy()


def _spectra(
    samples: np.ndarray, reference: np.ndarray, weights: np.ndarray | None, nperseg: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    samples, reference = np.asarray(samples, dtype=float), np.asarray(reference, dtype=float)
    weights = checked_weights(samples, weights)
    if reference.shape[:-1] != samples.shape[:-2]:
        raise ValueError(
            f"samples {samples.shape} need a reference [*{samples.shape[:-2]}, time], got {reference.shape}"
        )
    forecast = np.sum(weights[..., None] * _psd(samples, nperseg), axis=-2)
    return forecast, _psd(reference, nperseg), np.fft.rfftfreq(nperseg)
