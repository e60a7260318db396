"""The figures that a sweep compares: name, better direction, and the margin below which a difference is small."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """One figure of a setting.

    Attributes:
        better: 1 if higher is better, -1 if lower is better, 0 if there is no better direction.
        margin: largest small difference: absolute, or a share of the reference's value if ``relative``.
        only_at_same: axes in which two settings must agree for a meaningful difference.
    """

    name: str
    shown: str
    better: int = 0
    decimals: int = 3
    margin: float = 0.02
    relative: bool = True
    only_at_same: tuple[str, ...] = ()


REFERENCE = {"forecast": "prior", "stage": "answer-vote"}
"""Reference of every setting: the method with no search, or the smallest search."""
MINUS_REFERENCE = "minus_reference"
"""Name of the paired difference to the reference in the main figure. The difficulty of a problem cancels."""

_SAME_TARGET = ("inv_temperature", "spectral_weight")
METRICS = {
    "forecast": (
        Metric("crps", "CRPS", -1, 4),
        Metric(MINUS_REFERENCE, "CRPS minus prior's", 0, 4),
        Metric("log_spectral_distance", "log-spectral distance", -1),
        Metric("spec_w1", "Spec-W1", -1, 4),
        Metric("coverage90", "coverage of 90\u00a0%"),
        Metric("reward", "reward", 1, 3, 0.02, True, ("spectral_weight",)),
        Metric("log_z", "log Z", 0, 2, 0.02, True, _SAME_TARGET),
        Metric("ess", "ESS", 0, 1),
    ),
    "stage": (
        Metric("accuracy", "accuracy", 1, 3, 0.02, False),
        Metric(MINUS_REFERENCE, "accuracy minus answer-vote's", 0, 3),
        Metric("rouge_l", "ROUGE-L", 1, 3, 0.02, False),
        Metric("macro_f1", "macro-F1", 1, 3, 0.02, False),
        Metric("kappa", "Cohen's kappa", 1, 3, 0.02, False),
        Metric("probability", "probability of the gold answer", 1, 3, 0.02, False),
        Metric("ece", "ECE", -1, 3, 0.02, False),
    ),
}
COSTS = {
    "forecast": (
        Metric("nfe", "NFE", 0, 0),
        Metric("reward_calls", "reward calls", 0, 0),
        Metric("seconds", "s/context", 0, 2),
    ),
    "stage": (
        Metric("tokens", "tokens/example", 0, 0),
        Metric("reward_calls", "reward calls", 0, 1),
        Metric("seconds", "s/example", 0, 2),
    ),
}
MAIN = {"forecast": ("crps",), "stage": ("accuracy", "rouge_l")}
"""Main figures, by which settings are ranked: the first one that any setting of the task has."""
KIND_NAMES = {"forecast": "Forecasts", "stage": "Questions about series"}
CLUSTER_NAMES = {"forecast": "windows", "stage": "sources"}
AXES = {"inv_temperature": "λ", "spectral_weight": "spectral weight", "alpha": "α"}
"""Axes other than method, rollouts and seed."""
