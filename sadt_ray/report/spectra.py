"""Spectra for the figures: Welch with segments of two days, without the zero frequency (axes are logarithmic)."""

from __future__ import annotations

import numpy as np
from scipy.signal import welch

from sadt_ray.metrics import quantiles
from sadt_ray.runs.read import Run

SEGMENT = 48
FLOOR = 1e-12
"""Lower bound of a density, for the logarithmic axis."""


def psd(series: np.ndarray, nperseg: int = SEGMENT) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in cycles per sample, without 0, and the densities [..., frequencies] of series [..., time].

    The result is that of ``numerics.psd.welch``. It uses scipy, which is faster for small batches without gradients.
    """
    frequency, density = welch(series, nperseg=min(nperseg, series.shape[-1]))
    return frequency[1:], np.maximum(density[..., 1:], FLOOR)


def typical_psd_ratio(run: Run, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, and the weighted median over samples and problems of sample spectrum / history spectrum."""
    parts = [(problem, samples) for (owner, problem), samples in run.samples.items() if owner == method]
    nperseg = min(SEGMENT, *(samples.values.shape[1] for _, samples in parts))
    ratios = np.concatenate(
        [psd(s.values, nperseg)[1] / psd(run.problems[name].context, nperseg)[1] for name, s in parts]
    )
    weights = np.concatenate([samples.weight for _, samples in parts]) / len(parts)
    frequency, _ = psd(run.problems[parts[0][0]].context, nperseg)
    return frequency, quantiles(ratios, [0.5], weights)[0]


def period_ticks(frequency: np.ndarray) -> tuple[list[float], list[str]]:
    """Tick frequencies at whole periods in the range, with labels of frequency and period in samples."""
    periods = [period for period in (96, 48, 24, 12, 6, 2) if frequency[0] <= 1 / period <= frequency[-1]]
    return [1 / period for period in periods], [f"{1 / period:.2g}\n({period})" for period in periods]
