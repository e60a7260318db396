"""Tables as grids of cells, which are written as HTML and as Markdown with the same content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from sadt_ray.report.sweep.metrics import MINUS_REFERENCE, Metric
from sadt_ray.report.sweep.settings import Paired, Setting
from sadt_ray.report.sweep.words import decimal, plus_minus

MAX_ROWS = 12
"""Largest number of rows of a table at full height; a longer table scrolls in its box."""


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: the text; ``error`` is its interval, in grey; ``below`` is a second line.
        sort: sort key of the column; None sorts last.
        kind: CSS classes: ``best``, ``better``, ``worse``, ``text``.
        html: HTML that replaces the text on the page.
        colour: colour of the text on the page.
    """

    text: str = ""
    error: str = ""
    below: str = ""
    sort: float | str | None = None
    kind: str = ""
    html: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: the first column names its rows; ``only_page`` columns are buttons and links."""

    head: list[str]
    rows: list[list[Cell]]
    only_page: tuple[str, ...] = ()
    row_data: list[dict[str, str]] = field(default_factory=list)


def metric_cell(metric: Metric, setting: Setting, best: bool = False, below: str = "") -> Cell:
    """A figure of a setting with its interval."""
    estimate = setting.figures.get(metric.name)
    if estimate is None:
        return Cell("–")
    text, error = decimal(metric, estimate.value, signed=metric.name == MINUS_REFERENCE), plus_minus(metric, estimate)
    return Cell(text, error, below, sort=estimate.value, kind="best" if best else "")


def cost_cell(cost: Metric, setting: Setting) -> Cell:
    """Mean cost of a setting."""
    estimate = setting.figures.get(cost.name)
    return Cell("–") if estimate is None else Cell(decimal(cost, estimate.value), sort=estimate.value)


def paired_cell(paired: Paired | None, below: str = "") -> Cell:
    """A difference with its interval, marked if the interval excludes 0."""
    if paired is None:
        return Cell("–")
    d, metric = paired.difference, paired.metric
    kind = paired.verdict if paired.verdict in ("better", "worse", "equal") else ""
    return Cell(decimal(metric, d.value, signed=True), plus_minus(metric, d), below, sort=d.value, kind=kind)


def to_html(grid: Grid, css_class: str = "summary", sortable: bool = False) -> str:
    """The grid as an HTML table that scrolls in its own box. A sortable table has buttons in its head."""
    head = "".join(_head(name, sortable and name not in grid.only_page) for name in grid.head)
    row_data = grid.row_data or [{}] * len(grid.rows)
    body = "".join(_row(row, data) for row, data in zip(grid.rows, row_data, strict=True))
    table = f'<table class="{css_class}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll{" tall" * (len(grid.rows) > MAX_ROWS)}">{table}</div>'


def _head(name: str, sortable: bool) -> str:
    shown = escape(name)
    if not sortable:
        return f'<th scope="col">{shown}</th>'
    return f'<th scope="col" aria-sort="none"><button type="button">{shown}</button></th>'


def _row(cells: Sequence[Cell], data: dict[str, str]) -> str:
    attributes = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    return f"<tr{attributes}>{''.join(_cell(cell, first) for first, cell in _first(cells))}</tr>"


def _first(cells: Sequence[Cell]) -> list[tuple[bool, Cell]]:
    return [(number == 0, cell) for number, cell in enumerate(cells)]


def _cell(cell: Cell, first: bool) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    sort = "" if cell.sort is None else f' data-sort="{escape(str(cell.sort))}"'
    colour = f' style="color:{cell.colour}"' if cell.colour else ""
    error = f'<span class="error">{escape(cell.error)}</span>' if cell.error else ""
    below = f'<span class="below">{escape(cell.below)}</span>' if cell.below else ""
    content = cell.html or f"{escape(cell.text)}{error}{below}"
    return f'<th scope="row"{kind}{sort}{colour}>{content}</th>' if first else f"<td{kind}{sort}{colour}>{content}</td>"


def to_markdown(grid: Grid) -> str:
    """The grid as a Markdown table with the best values in bold, without the columns of buttons and links."""
    shown = [number for number, name in enumerate(grid.head) if name not in grid.only_page]
    head = [_plain(grid.head[number]) for number in shown]
    lines = [head, ["---"] * len(shown)]
    lines += [[_markdown(row[number]) for number in shown] for row in grid.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _markdown(cell: Cell) -> str:
    text = _plain(cell.text)
    text = f"**{text}**" if "best" in cell.kind.split() and text else text
    below = f"; {_plain(cell.below)}" if cell.below else ""
    error = f" {_plain(cell.error)}" if cell.error else ""
    return f"{text}{error}{below}"


def _plain(text: str) -> str:
    """Escape text for Markdown."""
    return re.sub(r"([\\`*_\[\]<>|&])", r"\\\1", " ".join(text.split()))
