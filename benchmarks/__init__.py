"""Benchmarks, one per module: ``QUESTION`` is what it asks, in one line; ``run(quick)`` returns rows and figures.

The subpackages hold what several benchmarks share, and ask nothing themselves. ``python -m jobs.bench NAME`` runs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchResult:
    """A table for people and flat figures for machines.

    Attributes:
        rows: the table, one mapping of column to cell per row, with the same columns in every row.
        figures: ``bench.json``: flat keys, numbers only. Keys are followed over time and never renamed.
        notes: sentences printed under the table, such as what a column means.
    """

    rows: Sequence[dict[str, object]]
    figures: dict[str, float]
    notes: Sequence[str] = ()
