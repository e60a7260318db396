"""Metrics of weighted samples: pure functions of numpy arrays, one statistic each.

All functions use the same shapes: ``samples`` [..., samples, time], ``truth`` [..., time] and optional ``weights``
[..., samples], which sum to one over the samples (equal weights by default). A score has the shape [...]. A pointwise
score is averaged over time, so ``score(samples[..., :24], truth[..., :24])`` is the score of the first day. The score
of a single window is an array without dimensions; ``float()`` makes it a number. Units are those of the samples unless
the function says otherwise. A shape that does not fit raises ValueError.
"""

from sadt_ray.metrics.distances import energy_distance, log_psd_energy_distance, mmd_rbf, total_variation
from sadt_ray.metrics.intervals import coverage, interval_width, quantiles
from sadt_ray.metrics.scores import crps, energy_score, mae, mse
from sadt_ray.metrics.spectra import log_spectral_distance, spec_w1

__all__ = [
    "coverage",
    "crps",
    "energy_distance",
    "energy_score",
    "interval_width",
    "log_psd_energy_distance",
    "log_spectral_distance",
    "mae",
    "mmd_rbf",
    "mse",
    "quantiles",
    "spec_w1",
    "total_variation",
]
