"""How good a weighted set of samples is: pure functions, one statistic each, numpy in and numpy out.

One shape convention: forecasts ``samples`` [..., samples, time], what happened ``truth`` [..., time], optional
``weights`` [..., samples] that sum to one over the samples (equal weights if left out). Every score returns [...]:
averaged over time where it is defined pointwise, so that ``score(samples[..., :24], truth[..., :24])`` is the score of
the first day; of a single window, an array of no dimensions whose ``float()`` is the number. Units are those of the
samples unless said otherwise. A shape that does not fit raises ValueError.
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
