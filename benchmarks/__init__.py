"""One benchmark a module: ``QUESTION`` says what it asks, ``run(quick)`` answers with rows and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchResult:
    """A table for people and flat figures for machines.

    Attributes:
        rows: the table, one mapping of column to cell a row, same columns in every row.
        figures: ``bench.json``: flat keys, numbers only, followed over time.
        notes: sentences printed under the table, such as what a column means.
    """

    rows: Sequence[dict[str, object]]
    figures: dict[str, float]
    notes: Sequence[str] = ()
