"""One look for every figure: a colour and a name for each method, axes with little ink, labels at the lines.

The colours are Okabe and Ito's, which stay apart for colour-blind readers, toned to read on white and on black.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT, HAIR = "#1c1c20", "#6b6b72", "#dcdce0"

_KNOWN = {
    "prior": ("prior", "#808086"),
    "best-of-n": ("best-of-N", "#b8609a"),
    "bon": ("best-of-N", "#b8609a"),
    "snis": ("SNIS", "#d98200"),
    "dts": ("DTS", "#0072b2"),
    "dts-late": ("DTS late", "#009e73"),
    "dts-star": ("DTS*", "#3a9bd5"),
    "dts*": ("DTS*", "#3a9bd5"),
    "smc": ("SMC", "#8c6d31"),
    "s-adt": ("S-ADT", "#d55e00"),
    "sadt": ("S-ADT", "#d55e00"),
    "greedy": ("greedy", "#808086"),
    "sample": ("one sample", "#8c6d31"),
    "self-consistency": ("self-consistency", "#009e73"),
    "answer-vote": ("answer-vote", "#6a51a3"),
}
_SPARE = ("#d55e00", "#8c6d31", "#6a51a3", "#009e73", "#3a9bd5", "#4d4d52", "#b8609a", "#d98200")


class Label(NamedTuple):
    """Text to stand beside a line's end at height ``y``."""

    y: float
    text: str
    colour: str


def method_name(method: str) -> str:
    """The method as a reader knows it: ``best_of_n`` is best-of-N; an unknown one keeps its own name."""
    return _KNOWN.get(method.lower().replace("_", "-"), (method, ""))[0]


def number(value: float | None) -> str:
    """A number as a reader wants it: thousands apart, three to four significant digits, a real minus sign."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        text = "∞" if value > 0 else "-∞"
    elif value == int(value) or abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif 0.01 <= abs(value) < 10:
        text = f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """One colour a method: its own in every run if it is well known, else the first that is free."""
    methods = list(methods)
    known = {method: _KNOWN[key][1] for method in methods if (key := method.lower().replace("_", "-")) in _KNOWN}
    free = [colour for colour in _SPARE if colour not in known.values()] or list(_SPARE)
    unknown = [method for method in methods if method not in known]
    return known | {method: free[index % len(free)] for index, method in enumerate(unknown)}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure with its own layout, free of pyplot's state; sizes in inches."""
    return Figure(figsize=(width, height), dpi=144, layout="constrained")


def small_multiples(count: int, columns: int, width: float, row_height: float) -> tuple[Figure, list[Axes]]:
    """``count`` panels on shared axes, filled row by row, what is left over switched off."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width, 0.65 + row_height * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = [plain(axes) for axes in grid.flat]
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def plain(axes: Axes) -> Axes:
    """No box, hairline axes, small quiet ticks."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(HAIR)
    axes.tick_params(which="both", colors=SOFT, labelsize=8, length=3, color=HAIR)
    axes.xaxis.label.set(color=SOFT, fontsize=8.5)
    axes.yaxis.label.set(color=SOFT, fontsize=8.5)
    return axes


def heading(axes: Axes, name: str, colour: str, detail: str = "") -> None:
    """The panel's name in its colour above the left corner, with a quiet detail after it."""
    axes.set_title(name, loc="left", color=colour, fontsize=10.5, fontweight="bold", pad=6)
    if detail:
        axes.set_title(detail, loc="right", color=SOFT, fontsize=8, pad=6)


def explain(figure: Figure, text: str) -> None:
    """One line above all panels that says what is drawn."""
    figure.suptitle(text, x=0.008, ha="left", fontsize=8.5, color=SOFT)


def label_ends(axes: Axes, labels: Sequence[Label], x: float, size: float = 8.5) -> None:
    """Write each label to the right of ``x`` at its height, moved apart where two would touch."""
    if not labels:
        return
    transform = axes.transData
    order = sorted(labels, key=lambda label: label.y)
    pixels = np.array([transform.transform((x, label.y))[1] for label in order])
    spread = spread_apart(pixels, gap=1.45 * size * axes.figure.dpi / 72)
    for label, pixel in zip(order, spread, strict=True):
        y = transform.inverted().transform((0, pixel))[1]
        axes.annotate(
            label.text,
            (x, y),
            (5, 0),
            textcoords="offset points",
            va="center",
            color=label.colour,
            fontsize=size,
            annotation_clip=False,
        )


def spread_apart(positions: np.ndarray, gap: float) -> np.ndarray:
    """The ascending positions, moved as little as possible (least squares) so that neighbours are ``gap`` apart."""
    blocks: list[list[float]] = []  # [sum of (position - own offset), count]: pool adjacent violators
    for index, position in enumerate(positions):
        blocks.append([position - index * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    levels = np.concatenate([np.full(int(count), total / count) for total, count in blocks])
    return levels + gap * np.arange(len(positions))
