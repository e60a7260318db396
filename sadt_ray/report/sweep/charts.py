"""The interactive charts of a sweep, drawn by plotly: quality against cost, few rollouts against many, effects of axes.

Each trace holds the data of all views; the script of the page selects one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from sadt_ray.report.style import method_colours
from sadt_ray.report.sweep.compare import (
    by_task,
    compared_metrics,
    few_against_many,
    varied_axes,
)
from sadt_ray.report.sweep.metrics import AXES, COSTS, KIND_NAMES, METRICS, MINUS_REFERENCE, Metric
from sadt_ray.report.sweep.settings import Setting
from sadt_ray.report.sweep.traces import gain_trace, gains, line_traces

NODE_LINES = (
    ("nodes", "#0072b2", "y"),
    ("running", "#009e73", "y2"),
    ("pending", "#d98200", "y2"),
    ("ended", "#808086", "y2"),
)
"""Key of nodes.jsonl, colour and axis."""
MAX_LINES = 10
"""Largest number of lines that a chart with a filter shows at first."""


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        figure: data and layout for plotly.
        title: title above the chart.
    """

    figure: dict[str, Any]
    title: str = ""


@dataclass(frozen=True)
class ChartGroup:
    """Charts with common controls.

    Attributes:
        name: name of the elements on the page.
        x, y: quantities for each axis, by key; one quantity leaves no choice.
        filters: for each axis of the sweep, the values to choose from, and the initial one (None for all).
    """

    name: str
    charts: list[Chart]
    x: dict[str, str]
    y: dict[str, str]
    filters: dict[str, tuple[list[float], float | None]] = field(default_factory=dict)
    wide: bool = False


def new_figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    """Data and layout, checked by plotly, without its template: the page has its own style."""
    figure: dict[str, Any] = json.loads(go.Figure(data=traces, layout=layout).to_json())
    figure["layout"].pop("template", None)
    return figure


def cost_charts(settings: Sequence[Setting], kind: str) -> ChartGroup | None:
    """Quality against cost, one panel per task; a line joins the budgets of one method. None without figures."""
    tasks = by_task(settings, kind)
    mine = [s for of_task in tasks.values() for s in of_task]
    y, x = _qualities(kind, mine), _present(COSTS[kind], mine)
    if not x or not y:
        return None
    colours = method_colours(dict.fromkeys(s.method for s in settings))
    charts, most = [], 0
    for task, of_task in tasks.items():
        lines = _lines(of_task, ("method", *AXES))
        traces = line_traces(lines, of_task, x, y, colours)
        most = max(most, len(traces))
        charts.append(Chart(new_figure(traces, {"xaxis": {"type": "log"}}), task))
    names = {m.name: m.shown for m in x}, {m.name: m.shown for m in y}
    return ChartGroup(f"cost-{kind}", charts, *names, filters=_filters(mine, tuple(AXES), most))


def effect_charts(settings: Sequence[Setting], kind: str) -> list[ChartGroup]:
    """The effect of each varied axis, one panel per task; a line joins settings that differ in this axis alone."""
    groups = []
    mine = [s for s in settings if s.kind == kind]
    colours = method_colours(dict.fromkeys(s.method for s in settings))
    for axis in varied_axes(mine):
        y = [metric for metric in _qualities(kind, mine) if axis not in metric.only_at_same]
        rest = ["n_rollouts", *(other for other in AXES if other != axis)]
        charts, most = [], 0
        for task, of_task in by_task(mine, kind).items():
            having = [s for s in of_task if getattr(s, axis) is not None]
            lines = [line for line in _lines(having, ("method", *rest), axis) if len(line) > 1]
            if not lines or not y:
                continue
            x = [Metric(axis, AXES[axis])]
            traces = line_traces(lines, of_task, x, y, colours)
            most = max(most, len(traces))
            ticks = sorted({str(f"{getattr(s, axis):g}") for s in having}, key=float)
            layout = {"xaxis": {"type": "category", "categoryorder": "array", "categoryarray": ticks}}
            charts.append(Chart(new_figure(traces, layout), task))
        if charts and y:
            shown = {m.name: m.shown for m in y}
            filters = _filters(mine, rest, most)
            groups.append(ChartGroup(f"effect-{axis}-{kind}", charts, {axis: AXES[axis]}, shown, filters))
    return groups


def few_many_chart(settings: Sequence[Setting], kind: str) -> ChartGroup | None:
    """Few rollouts minus many with its interval, one row per pair; positive values favour few rollouts."""
    pairs = [(few, many) for of_task in by_task(settings, kind).values() for few, many in few_against_many(of_task)]
    involved = list({id(s): s for pair in pairs for s in pair}.values())
    metrics, axes = compared_metrics(kind, involved), varied_axes(involved)
    if not metrics:
        return None
    colours = method_colours(dict.fromkeys(s.method for s in settings))
    traces = []
    for few, many in pairs:
        x, errors = gains(few, many, metrics)
        if x:
            traces.append(gain_trace(few, many, axes, x, errors, colours[many.method]))
    if not traces:
        return None
    band = {"type": "rect", "xref": "x", "yref": "paper", "x0": -2, "x1": 2, "y0": 0, "y1": 1, "layer": "below"}
    layout = {"yaxis": {"autorange": "reversed", "type": "category"}, "shapes": [{**band, "line": {"width": 0}}]}
    unit = {m.name: f"{m.shown}, {'%' if m.relative else 'points'} in favour of few" for m in metrics}
    chart = Chart(new_figure(traces, layout))
    return ChartGroup(f"few-{kind}", [chart], unit, {}, _filters(involved, tuple(AXES), len(traces) // 4), wide=True)


def node_chart(lines: Sequence[dict[str, Any]]) -> ChartGroup | None:
    """Number of nodes, and of running and waiting trials, over time; None without lines."""
    known = [line for line in lines if isinstance(line.get("seconds"), (int, float))]
    if not known:
        return None
    hours = known[-1]["seconds"] > 7200
    x = [line["seconds"] / (3600 if hours else 60) for line in known]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": x,
            "y": [line.get(name) for line in known],
            "yaxis": axis,
            "line": {"shape": "hv", "color": colour, "width": 2},
            "meta": {"method": "", "axes": {}, "x": {}, "y": {}},
            "hovertemplate": f"%{{y}} {name}<extra></extra>",
        }
        for name, colour, axis in NODE_LINES
        if any(line.get(name) is not None for line in known)
    ]
    layout = {
        "xaxis": {"title": {"text": "hours" if hours else "minutes"}, "anchor": "y2", "rangemode": "tozero"},
        "yaxis": {"title": {"text": "worker nodes"}, "domain": [0.62, 1], "rangemode": "tozero"},
        "yaxis2": {"title": {"text": "trials"}, "domain": [0, 0.5], "rangemode": "tozero"},
        "showlegend": True,
        "hovermode": "x unified",
    }
    return ChartGroup("nodes", [Chart(new_figure(traces, layout))], {}, {}, wide=True)


def _present(metrics: Sequence[Metric], settings: Sequence[Setting]) -> list[Metric]:
    return [metric for metric in metrics if any(metric.name in s.figures for s in settings)]


def _qualities(kind: str, settings: Sequence[Setting]) -> list[Metric]:
    """Quantities for an axis. First is the paired difference to the reference, which separates settings best."""
    return sorted(_present(METRICS[kind], settings), key=lambda metric: metric.name != MINUS_REFERENCE)


def _lines(settings: Sequence[Setting], same: Sequence[str], along: str = "n_rollouts") -> list[list[Setting]]:
    """Settings that agree in all of ``same``, ordered along the other axis."""
    groups: dict[tuple[Any, ...], list[Setting]] = defaultdict(list)
    for setting in settings:
        groups[tuple(getattr(setting, name) for name in same)].append(setting)
    return [sorted(group, key=lambda s: getattr(s, along) or 0) for group in groups.values()]


def _filters(
    settings: Sequence[Setting], axes: Sequence[str], lines: int
) -> dict[str, tuple[list[float], float | None]]:
    """The filters. If all lines together are too many, the last value of each axis is selected at first."""
    found: dict[str, tuple[list[float], float | None]] = {}
    for axis in axes:
        values = sorted({getattr(s, axis) for s in settings} - {None})
        if len(values) > 1:
            found[axis] = (values, values[-1] if lines > MAX_LINES else None)
    return found


KIND_TITLES = {kind: f"{name}: quality against cost" for kind, name in KIND_NAMES.items()}
