"""S-ADT with a fraction of the evaluations against each rival with all of them, in figures and words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.posterior.columns import paired
from benchmarks.posterior.comparison import Entry

RIVALS = {"dts": "dts", "late": "dts_late", "snis": "snis", "fk": "fk", "smc": "smc"}
"""Name in figures -> key of the entrant, all with the whole budget."""
FRACTIONS = {"10x": "sadt_10x", "20x": "sadt_20x"}
_PAIRED = {"bias": "reward_bias", "edp": "edp", "ed": "ed"}
SUFFIX = {50.0: "", 10.0: "_lam10"}


def pairs(entries: Mapping[str, Entry]) -> dict[str, float]:
    """Magnitudes of S-ADT's errors minus those of each rival, problem by problem: below 0 S-ADT is better."""
    figures: dict[str, float] = {}
    compared = [
        (f"{fraction}_{name}", ours, key) for fraction, ours in FRACTIONS.items() for name, key in RIVALS.items()
    ]
    for name, ours, other in [*compared, ("equal_smc", "sadt_10x", "smc_10x")]:
        for short, column in _PAIRED.items():
            result = paired(entries[ours].size(column), entries[other].size(column))
            key = f"{short}_diff_{name}"
            figures |= {key: result.mean, f"{key}_se": result.se, f"{key}_wins": float(result.wins)}
    return figures


def break_even_contexts(training_nfe: float, nfe_without: float, nfe_with: float) -> float:
    """Contexts after which training has paid for itself: its cost over what one context saves; infinite if nothing."""
    saved = nfe_without - nfe_with
    return training_nfe / saved if saved > 0 else np.inf


def pair_names() -> list[str]:
    names = [f"{fraction}_{rival}" for fraction in FRACTIONS for rival in RIVALS] + ["equal_smc"]
    return [f"{name}{suffix}" for suffix in SUFFIX.values() for name in names]


def pair_note(name: str, figures: Mapping[str, float]) -> str:
    """One pair in words."""
    bare, suffix = (name.removesuffix("_lam10"), "_lam10") if name.endswith("_lam10") else (name, "")
    parts = []
    for short in _PAIRED:
        key = f"{short}_diff_{bare}"
        mean, error, wins = (figures[f"{key}{end}{suffix}"] for end in ("", "_se", "_wins"))
        verdict = "better" if mean < -2 * error else "worse" if mean > 2 * error else "no different"
        parts.append(f"{short} {mean:+.4f} +- {error:.4f} ({wins:.0f} of {figures['contexts']:.0f}, {verdict})")
    return f"{bare}, lambda {10 if suffix else 50}: " + ", ".join(parts)
