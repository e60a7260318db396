"""The throughput of a run: evaluations per second, workers and their utilisation, as a figure and as text."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from sadt_ray.report.style import (
    Label,
    explain,
    label_ends,
    method_colours,
    method_name,
    new_figure,
    plain,
)

Line = dict[str, Any]
Lines = list[Line]
"""Lines of metrics.jsonl for one method, in order."""


@runtime_checkable
class KeepsTime(Protocol):
    """A run with lines of metrics."""

    @property
    def methods(self) -> list[str]: ...

    @property
    def progress(self) -> Lines: ...

    @property
    def batches(self) -> Lines:
        """Lines of batches.jsonl."""


_PANELS = (
    ("nfe_per_second", "evaluations / s", 2.1),
    ("utilisation", "workers' time\nin rollouts", 1.2),
    ("workers", "workers ready", 1.0),
)
"""Key, name and height in inches of each panel. A panel without values is left out."""


def throughput_chart(run: KeepsTime, width: float) -> Figure | None:
    """Rates, utilisation and number of workers against wall-clock time; None if no line has a rate."""
    lines = method_lines(run)
    if not any(_values(of_method, "nfe_per_second") for of_method in lines.values()):
        return None
    panels = [panel for panel in _PANELS if any(_values(of_method, panel[0]) for of_method in lines.values())]
    heights = [height for _, _, height in panels]
    figure = new_figure(width, 0.9 + sum(heights))
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
    colours = method_colours(run.methods)
    for axes, (key, name, _) in zip(grid[:, 0], panels, strict=True):
        plain(axes).set_ylabel(name)
        for method, of_method in lines.items():
            seconds, values = curve(of_method, key)
            style = "steps-post" if key == "workers" else "default"
            axes.plot(
                seconds,
                values,
                color=colours[method],
                lw=1.4,
                drawstyle=style,
                marker="o" if len(seconds) < 3 else None,
                ms=2.5,
            )
        _scale(axes, key)
    any_lost = [_mark_losses(grid[0, 0], of_method, colours[method]) for method, of_method in lines.items()]
    grid[-1, 0].set_xlabel("seconds")
    figure.align_ylabels()
    explain(figure, "While each method ran, since its start" + "; crosses: batches lost" * any(any_lost))
    figure.draw_without_rendering()
    _label_methods(grid[0, 0], lines, colours)
    return figure


def throughput_text(run: KeepsTime) -> list[str]:
    """One line per method: its rate, the utilisation of its workers, and its losses, as far as they are known."""
    lines = method_lines(run)
    return [f"{method_name(method)}: {said}." for method in lines if (said := _said(lines[method]))]


def _said(lines: Lines) -> str:
    parts = []
    if median := np.median(_values(lines, "nfe_per_second") or 0.0):  # a search of a few lines has no rate
        parts.append(f"{median:,.0f} NFE/s in the median")
    if shares := _values(lines, "utilisation"):
        parts.append(f"{np.mean(shares):.0%} of the workers' time in rollouts")
    if staleness := _values(lines, "staleness"):
        parts.append(f"{np.mean(staleness):,.1f} rollouts came back while one was away")
    if aside := _values(lines, "set_aside"):
        parts.append(_counted(aside[-1], "ticket", "set aside"))
    if _values(lines, "lost_batches"):
        parts.append(_counted(losses(lines)[1].sum(), "batch", "lost", plural="batches"))
    return ", ".join(parts)


def _counted(count: float, noun: str, what: str, plural: str = "") -> str:
    return f"{count:,.0f} {noun if count == 1 else plural or noun + 's'} {what}"


def method_lines(run: KeepsTime) -> dict[str, Lines]:
    """The lines of each method that has samples and lines."""
    lines = {method: [line for line in run.progress if line.get("method") == method] for method in run.methods}
    return {method: of_method for method, of_method in lines.items() if of_method}


def curve(lines: Lines, key: str, points: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and values. A line without the value gives a gap; many neighbouring values are averaged."""
    seconds = np.array([line["seconds"] for line in lines], float)
    values = np.array([line[key] if _is_known(line, key) else np.nan for line in lines], float)
    if len(lines) <= points:
        return seconds, values
    groups = np.array_split(np.arange(len(lines)), points)
    means = [values[group][np.isfinite(values[group])] for group in groups]
    return seconds[[group[-1] for group in groups]], np.array([m.mean() if len(m) else np.nan for m in means])


def losses(lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the lines with new lost batches, and the number of batches lost since the previous line.

    If the count falls, it started again from zero, as in a resumed run.
    """
    having = [line for line in lines if _is_known(line, "lost_batches")]
    count = np.array([line["lost_batches"] for line in having], float)
    more = np.diff(count, prepend=0.0)
    more = np.where(more < 0, count, more)
    seconds = np.array([line["seconds"] for line in having], float)
    return seconds[more > 0], more[more > 0]


def _is_known(line: Line, key: str) -> bool:
    return isinstance(line.get(key), (int, float)) and bool(np.isfinite(line[key]))


def _values(lines: Lines, key: str) -> list[float]:
    return [line[key] for line in lines if _is_known(line, key)]


def _scale(axes: Axes, key: str) -> None:
    """Start the axis at zero, end shares at one, and label workers with whole numbers."""
    axes.set_ylim(0, 1.05 if key == "utilisation" else max(1.08 * axes.get_ylim()[1], 1e-9))
    axes.set_xlim(left=0)
    if key == "utilisation":
        axes.set_yticks([0, 0.5, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _mark_losses(axes: Axes, lines: Lines, colour: str) -> bool:
    """Draw crosses at the bottom of the panel. Returns whether there are any."""
    seconds, _ = losses(lines)
    if len(seconds):
        place = axes.get_xaxis_transform()
        axes.plot(seconds, np.full(len(seconds), 0.07), "x", color=colour, ms=6, mew=1.6, transform=place)
    return len(seconds) > 0


def _label_methods(axes: Axes, lines: dict[str, Lines], colours: dict[str, str]) -> None:
    """Write each method's name at the end of its rate."""
    ends, last = [], 0.0
    for method, of_method in lines.items():
        seconds, rate = curve(of_method, "nfe_per_second")
        if np.isfinite(rate).any():
            ends.append(Label(float(rate[np.isfinite(rate)][-1]), method_name(method), colours[method]))
            last = max(last, float(seconds[-1]))
    label_ends(axes, ends, last)
