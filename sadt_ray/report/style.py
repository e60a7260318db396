"""The style of all figures: a colour and a name per method, plain axes, labels at the lines.

The colours are those of Okabe and Ito, which colour-blind readers can distinguish, adjusted for white and black pages.
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
    "tempered": ("tempered", "#a05a2c"),
    "surrogate": ("surrogate", "#2f7f7f"),
    "s-adt": ("S-ADT", "#d55e00"),
    "sadt": ("S-ADT", "#d55e00"),
    "greedy": ("greedy", "#808086"),
    "sample": ("one sample", "#8c6d31"),
    "self-consistency": ("self-consistency", "#009e73"),
    "answer-vote": ("answer-vote", "#6a51a3"),
}
_SPARE = ("#d55e00", "#8c6d31", "#6a51a3", "#009e73", "#3a9bd5", "#4d4d52", "#b8609a", "#d98200")


class Label(NamedTuple):
    """A label at the end of a line, at height ``y``."""

    y: float
    text: str
    colour: str


def method_name(method: str) -> str:
    """Display name of a method: ``best_of_n`` is best-of-N; an unknown method keeps its name."""
    return _KNOWN.get(method.lower().replace("_", "-"), (method, ""))[0]


def number(value: float | None) -> str:
    """Format a number: separated thousands, three to four significant digits, a real minus sign."""
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
    """One colour per method: a fixed one for a known method, else the first free one."""
    methods = list(methods)
    known = {method: _KNOWN[key][1] for method in methods if (key := method.lower().replace("_", "-")) in _KNOWN}
    free = [colour for colour in _SPARE if colour not in known.values()] or list(_SPARE)
    unknown = [method for method in methods if method not in known]
    return known | {method: free[index % len(free)] for index, method in enumerate(unknown)}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure outside pyplot's state. Sizes are in inches."""
    return Figure(figsize=(width, height), dpi=144, layout="constrained")


def small_multiples(count: int, columns: int, width: float, row_height: float) -> tuple[Figure, list[Axes]]:
    """``count`` panels with shared axes, row by row; unused panels are switched off."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(width, 0.65 + row_height * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = [plain(axes) for axes in grid.flat]
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def plain(axes: Axes) -> Axes:
    """Remove the box, and make axes and ticks thin and grey."""
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(HAIR)
    axes.tick_params(which="both", colors=SOFT, labelsize=8, length=3, color=HAIR)
    axes.xaxis.label.set(color=SOFT, fontsize=8.5)
    axes.yaxis.label.set(color=SOFT, fontsize=8.5)
    return axes


def heading(axes: Axes, name: str, colour: str, detail: str = "") -> None:
    """Write the panel's name above its left corner, in its colour, followed by a grey detail."""
    axes.set_title(name, loc="left", color=colour, fontsize=10.5, fontweight="bold", pad=6)
    if detail:
        axes.set_title(detail, loc="right", color=SOFT, fontsize=8, pad=6)


def explain(figure: Figure, text: str) -> None:
    """Write one line above all panels that explains the figure."""
    figure.suptitle(text, x=0.008, ha="left", fontsize=8.5, color=SOFT)


def label_ends(axes: Axes, labels: Sequence[Label], x: float, size: float = 8.5) -> None:
    """Write each label to the right of ``x`` at its height, moved if two labels would overlap."""
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
    """Ascending positions, moved as little as possible (least squares) so that neighbours are ``gap`` apart."""
    blocks: list[list[float]] = []  # [sum of (position - own offset), count]: pool adjacent violators
    for index, position in enumerate(positions):
        blocks.append([position - index * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    levels = np.concatenate([np.full(int(count), total / count) for total, count in blocks])
    return levels + gap * np.arange(len(positions))
