"""Tables for people: one mapping a row, numbers to four digits, as many blocks of columns as the terminal needs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from sadt_ray.runs.tables import format_cell

__all__ = ["format_cell", "print_table"]

_GAP = 2


def print_table(console: Console, rows: Sequence[dict[str, object]]) -> None:
    """Print rows that share their columns; where they are too wide, in blocks that repeat the first column."""
    if not rows:
        console.print("(no rows)")
        return
    cells = {column: [format_cell(row[column]) for row in rows] for column in rows[0]}
    label, *others = cells
    for block in _blocks(cells, label, others, console.width):
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        table.add_column(label, no_wrap=True)
        for column in block:
            table.add_column(column, justify="right", no_wrap=True)
        for values in zip(cells[label], *(cells[column] for column in block), strict=True):
            table.add_row(*values)
        console.print(table)


def _blocks(cells: dict[str, list[str]], label: str, others: Sequence[str], width: int) -> list[list[str]]:
    """Columns in order, cut into blocks that fit the width beside the label column."""

    def needed(column: str) -> int:
        return max(len(column), *(len(cell) for cell in cells[column])) + _GAP

    blocks: list[list[str]] = []
    used = width + 1
    for column in others:
        if used + needed(column) > width + _GAP:
            blocks.append([])
            used = needed(label)
        blocks[-1].append(column)
        used += needed(column)
    return blocks or [[]]
