"""The samples below the nodes of a tree, packed for the page: the ones of largest weight, one byte per value."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.metrics import quantiles
from sadt_ray.report.packing import pack_column
from sadt_ray.runs.files import ProblemSeries, WeightedSamples

MAX_SERIES = 2_000
"""Largest number of samples per tree on a page."""
MAX_VALUES_IN_ALL = 2_000_000
"""Largest number of sample values of all trees together, in bytes; each tree gets an equal share."""
STEPS = 255
"""Number of quantisation steps between the extremes of a tree."""
_BANDS = (0.05, 0.25, 0.75, 0.95)


def pack_series(
    node: Int[np.ndarray, " nodes"], samples: WeightedSamples | None, problem: ProblemSeries | None, budget: int
) -> dict[str, Any] | None:
    """Context, truth, bands of all samples, and the samples of largest weight, each with the row of its node.

    Args:
        node: numbers of the nodes that the page shows.
        budget: largest number of values.

    Returns:
        None if the run has no nodes of its samples.
    """
    if samples is None or problem is None or samples.node is None:
        return None
    rows = _rows_of(node, samples.node)
    horizon = samples.values.shape[1]
    limit = min(MAX_SERIES, budget // horizon)
    kept = np.argsort(-samples.weight, kind="stable")
    kept = kept[rows[kept] >= 0][:limit]
    values = samples.values[kept].astype(float)
    low, high = (float(values.min()), float(values.max())) if len(kept) else (0.0, 0.0)
    steps = np.rint((values - low) * (STEPS / (high - low) if high > low else 0.0))
    return {
        "horizon": horizon,
        "low": low,
        "high": high,
        "samples": len(samples.weight),
        "carried_weight": float(samples.weight[kept].sum()),
        "context": _rounded(problem.context[-horizon:]),
        "truth": None if problem.truth is None else _rounded(problem.truth),
        "bands": [_rounded(band) for band in quantiles(samples.values, list(_BANDS), samples.weight)],
        "columns": {
            "row": pack_column(rows[kept]),
            "weight": pack_column(samples.weight[kept]),
            "values": pack_column(steps.astype(np.uint8).ravel()),
        },
    }


def _rows_of(node: Int[np.ndarray, " nodes"], wanted: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Row of each wanted node; -1 if it is not found."""
    order = np.argsort(node, kind="stable")
    place = np.minimum(np.searchsorted(node, wanted, sorter=order), len(node) - 1)
    rows = order[place]
    return np.where(node[rows] == wanted, rows, -1)


def _rounded(values: Float[np.ndarray, " T"]) -> list[float | None]:
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]
