"""What was claimed for S-ADT, and whether forecasts of every test window bear it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.posterior.columns import Paired, paired


class Claimed(NamedTuple):
    """A row of the table that S-ADT was proposed with; no code stands behind it."""

    crps: float
    spec_w1: float
    reward: float
    rollouts: int


CLAIMED = {
    "base": Claimed(0.385, 0.45, -12.4, 1),
    "dps": Claimed(0.410, 0.42, -8.5, 50),
    "smc": Claimed(0.390, 0.35, -6.2, 250),
    "dts": Claimed(0.375, 0.15, -2.1, 2_000),
    "sadt": Claimed(0.371, 0.16, -2.3, 200),
}


class Forecasts(NamedTuple):
    """One method on all contexts."""

    key: str
    label: str
    crps: Float[np.ndarray, " P"]
    spec_w1: Float[np.ndarray, " P"]
    reward: Float[np.ndarray, " P"]
    rollouts: float
    nfe: float

    def by_window(self, column: str, channels: int) -> Float[np.ndarray, " windows"]:
        """Averaged over the channels of each window, which share their weather."""
        values: np.ndarray = getattr(self, column)
        return values.reshape(-1, channels).mean(1)


def judge_claims(found: dict[str, Forecasts], channels: int) -> tuple[list[str], dict[str, float]]:
    """What the proposal's table says, each with what these numbers say, paired over windows."""
    notes: list[str] = []
    figures: dict[str, float] = {}

    def compared(column: str, ours: str, other: str) -> Paired:
        result = paired(found[ours].by_window(column, channels), found[other].by_window(column, channels))
        name = f"{column}_diff_{ours}_{other}"
        figures.update({name: result.mean, f"{name}_se": result.se, f"{name}_wins": float(result.wins)})
        return result

    sign = {"crps": 1, "spec_w1": 1, "reward": -1}
    for column, better in sign.items():
        result = compared(column, "sadt", "dts")
        verdict = "holds" if better * result.mean < 2 * result.se else "does not hold"
        notes.append(_claim(f"S-ADT with a tenth of the rollouts is no worse than DTS in {column}", result, verdict))
    for column, better in sign.items():
        result = compared(column, "sadt", "base")
        notes.append(_claim(f"S-ADT is better than the base in {column}", result, _better(better, result)))
    for column, ours, other in (("reward", "dps", "base"), ("reward", "smc", "dps"), ("reward", "dts", "smc"),
                                ("spec_w1", "dts", "smc"), ("crps", "dts", "base")):  # fmt: skip
        result = compared(column, ours, other)
        claim = f"{found[ours].label} is better than {found[other].label} in {column}"
        notes.append(_claim(claim, result, _better(sign[column], result)))
    ours, claimed = found["base"].crps.mean(), CLAIMED["base"].crps
    verdict = "this prior is better" if ours < claimed else "this prior is worse"
    notes.append(f"Claim: the base has a CRPS of {claimed}: {verdict}, {ours:.4f}.")
    return notes, figures


def _better(better: int, result: Paired) -> str:
    """Whether a difference that should be below 0 (above, if ``better`` is -1) is."""
    mean = better * result.mean
    return "holds" if mean < -2 * result.se else "does not hold" if mean > 2 * result.se else "is not decided"


def _claim(claim: str, result: Paired, verdict: str) -> str:
    return f"Claim: {claim}: {verdict}, {result.mean:+.5f} +- {result.se:.5f} over {result.n} windows."


def against_prior(found: Sequence[Forecasts], channels: int) -> tuple[dict[str, float], list[str]]:
    """Every method minus the prior under the reward with opinions, paired over windows."""
    before, *others = found
    figures: dict[str, float] = {}
    notes = []
    for one in others:
        parts = []
        for column in ("crps", "spec_w1"):
            result = paired(one.by_window(column, channels), before.by_window(column, channels))
            name = f"{column}_diff_opinion_{one.key}"
            figures |= {name: result.mean, f"{name}_se": result.se, f"{name}_wins": float(result.wins)}
            verdict = _better(1, result).replace("is not decided", "undecided").replace("holds", "better")
            verdict = verdict.replace("does not hold", "worse")
            parts.append(f"{column} {result.mean:+.5f} +- {result.se:.5f}, {result.wins} of {result.n} ({verdict})")
        notes.append(f"Second opinion + spectral: {one.label} - prior: " + "; ".join(parts) + ".")
    return figures, notes
