"""Tables for people: one mapping a row, numbers to four digits."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def format_cell(value: object) -> str:
    """Four significant digits for floats, thousands separated for integers, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def print_table(console: Console, rows: Sequence[dict[str, object]]) -> None:
    """Print rows that share their columns; the first column is left-aligned, the others right-aligned."""
    if not rows:
        console.print("(no rows)")
        return
    table = Table(box=None, pad_edge=False)
    for i, column in enumerate(rows[0]):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(format_cell(row[column]) for column in rows[0]))
    console.print(table)
