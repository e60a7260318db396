"""The timeline of batches: one row per worker, one bar per batch, methods in the order in which they ran."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from sadt_ray.report.style import SOFT, explain, method_colours, method_name, new_figure, plain
from sadt_ray.report.throughput import KeepsTime, Lines

MAX_BARS = 1_500
"""Largest number of bars per figure. If there are more, neighbouring bars are merged."""
_LOST = "#c2410c"
_MAX_TICKS = 100


class Span(NamedTuple):
    """The batches of one method, and its start on the axis of all methods."""

    method: str
    lines: Lines
    offset: float
    seconds: float

    def at(self, name: str, lines: Lines) -> Float[np.ndarray, " n"]:
        """One time of each line, on the axis of all methods."""
        return self.offset + np.array([line[name] for line in lines], float)


def spans(run: KeepsTime) -> list[Span]:
    """Methods with recorded batches, in the order in which they ran."""
    found: list[Span] = []
    for method in dict.fromkeys(line["method"] for line in run.batches):
        lines = [line for line in run.batches if line["method"] == method]
        before = found[-1].offset + found[-1].seconds if found else 0.0
        found.append(Span(method, lines, before, max(line["finished"] for line in lines)))
    return found


def timeline_chart(run: KeepsTime, width: float) -> Figure | None:
    """The figure of all batches; None if the run did not record them."""
    shown = spans(run)
    if not shown:
        return None
    workers = 1 + max(line["worker"] for span in shown for line in span.lines)
    figure = new_figure(width, 1.2 + min(max(0.3 * workers, 0.95), 5.0))
    axes = plain(figure.subplots())
    colours = method_colours([*run.methods, *(span.method for span in shown if span.method not in run.methods)])
    total = shown[-1].offset + shown[-1].seconds
    together = total * workers / MAX_BARS if len(run.batches) > MAX_BARS else 0.0
    for span in shown:
        _bars(axes, span, colours[span.method], together)
        _versions(axes, span)
        if span.seconds > 0.07 * total:
            middle = span.offset + span.seconds / 2
            axes.text(middle, -0.75, method_name(span.method), color=colours[span.method], ha="center", fontsize=8.5)
    lost = [_losses(axes, span) for span in shown]
    axes.set(xlim=(0, total), ylim=(workers - 0.4, -0.8), xlabel="seconds of searching", ylabel="worker")
    axes.set_yticks(range(0, workers, -(-workers // 12)))
    explain(figure, _explanation(shown, together > 0, any(lost)))
    return figure


def timeline_text(run: KeepsTime) -> list[str]:
    """One line per method: number and size of its batches, their durations and losses."""
    return [f"{method_name(span.method)}: {_said(span.lines)}." for span in spans(run)]


def merged(
    begin: Float[np.ndarray, " n"], end: Float[np.ndarray, " n"], together: float
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Intervals in order. Intervals less than ``together`` apart are merged."""
    order = np.argsort(begin, kind="stable")
    begin, until = begin[order], np.maximum.accumulate(end[order])
    first = np.append(True, begin[1:] - until[:-1] > together) if len(begin) else np.empty(0, bool)
    return begin[first], until[np.append(np.flatnonzero(first)[1:] - 1, len(begin) - 1)] if len(begin) else until


def in_turn(
    began: Float[np.ndarray, " n"], finished: Float[np.ndarray, " n"], sent: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Corrected begins and ends of one worker's batches.

    A worker runs one batch at a time, and the report of an end may arrive late. So a batch ends at the begin of the
    next one at the latest, and its begin is shifted by the same amount.
    """
    order, begins, ends = np.argsort(finished, kind="stable"), began.copy(), finished.copy()
    for row, following in zip(order[-2::-1], order[:0:-1], strict=True):
        ends[row] = max(min(finished[row], begins[following]), sent[row])
        begins[row] = max(min(began[row], ends[row] - (finished[row] - began[row])), sent[row])
    return begins, ends


def _bars(axes: Axes, span: Span, colour: str, together: float) -> None:
    """Draw thick bars for running batches, and thin bars for batches that wait at their worker."""
    thick, thin = [], []
    for worker in sorted({line["worker"] for line in span.lines}):
        mine = [line for line in span.lines if line["worker"] == worker]
        sent = span.at("sent", mine)
        began, ended = in_turn(span.at("began", mine), span.at("finished", mine), sent)
        waiting = merged(sent, began, together)
        running = merged(began, ended, together) if together else (began, ended)
        thin += _boxes(*waiting, worker + 0.36, worker + 0.42)
        thick += _boxes(*running, worker - 0.31, worker + 0.31)
    for boxes, alpha in ((thin, 0.55), (thick, 0.85)):
        codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * len(boxes)
        outline = Outline(np.array(boxes, float).reshape(-1, 2), codes)
        axes.add_patch(PathPatch(outline, facecolor=colour, edgecolor="none", alpha=alpha))


def _boxes(
    left: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"], low: float, high: float
) -> list[tuple[tuple[float, float], ...]]:
    """Corners of the bars, with the first corner repeated at the end."""
    return [
        ((x0, low), (x1, low), (x1, high), (x0, high), (x0, low))
        for x0, x1 in zip(left.tolist(), right.tolist(), strict=True)
    ]


def _versions(axes: Axes, span: Span) -> None:
    """Draw a line at the first use of each newer version of the flow's weights."""
    lines = sorted(span.lines, key=lambda line: line["began"])
    versions = np.array([line["weights_version"] for line in lines])
    newer = np.flatnonzero(np.diff(np.maximum.accumulate(versions)) > 0) + 1
    for row in newer[:_MAX_TICKS]:
        axes.axvline(span.offset + lines[row]["began"], color=SOFT, lw=0.7, ls=":", zorder=3)


def _losses(axes: Axes, span: Span) -> bool:
    """Draw crosses for lost batches, with a ring if the worker was restarted. Returns whether there are any."""
    lost = [line for line in span.lines if line["lost"]]
    restarted = [line for line in lost if line["restarted"]]
    for lines, marker, size in ((lost, "x", 6), (restarted, "o", 10)):
        rows = [line["worker"] for line in lines]
        axes.plot(span.at("finished", lines), rows, marker, color=_LOST, mfc="none", ms=size, mew=1.6, clip_on=False)
    return bool(lost)


def _explanation(shown: list[Span], together: bool, lost: bool) -> str:
    changed = any(len({line["weights_version"] for line in span.lines}) > 1 for span in shown)
    one_in = max(line["one_in"] for span in shown for line in span.lines)
    return "".join(
        [
            "Bars: batches in rollouts; thin: waiting at their worker",
            "; neighbours as one" * together,
            f"; one in {one_in} recorded" * (one_in > 1),
            "; dotted: newer weights" * changed,
            "; crosses: lost; rings: worker restarted" * lost,
        ]
    )


def _said(lines: Lines) -> str:
    came = [line for line in lines if not line["lost"]]
    lost, restarts = len(lines) - len(came), sum(line["restarted"] for line in lines)
    workers = len({line["worker"] for line in lines})
    count, plural = sum(line["one_in"] for line in came), "s" * (workers > 1)
    parts = [f"{count:,} batch{'es' * (count != 1)} on {workers} worker{plural}"]
    if came:
        rows = np.median([line["rows"] for line in came])
        seconds = np.median([line["finished"] - line["began"] for line in came])
        parts.append(f"of {rows:,.0f} tickets and {seconds:.3g} s in the median")
    if lost:
        parts.append(f"{lost} lost, {restarts} of them with their worker")
    versions = len({line["weights_version"] for line in lines})
    if versions > 1:
        parts.append(f"{versions} versions of the flow")
    return ", ".join(parts)
