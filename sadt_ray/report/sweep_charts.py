"""The interactive charts of a sweep, drawn by plotly: quality against cost, few rollouts against many, effects of axes.

A trace carries every figure that it can show and its error in ``meta``; the page's script picks.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import plotly.graph_objects as go

from sadt_ray.report.style import method_colours, method_name
from sadt_ray.report.sweep_compare import (
    by_task,
    compared_metrics,
    few_against_many,
    is_partial,
    label,
    short_label,
    target_label,
    varied_axes,
)
from sadt_ray.report.sweep_metrics import AXES, COSTS, KIND_NAMES, METRICS, MINUS_PRIOR, Metric
from sadt_ray.report.sweep_settings import Setting, compare

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagram")
"""Of one method's settings; those that differ in colour share them."""
NODE_LINES = (
    ("nodes", "#0072b2", "y"),
    ("running", "#009e73", "y2"),
    ("pending", "#d98200", "y2"),
    ("ended", "#808086", "y2"),
)
"""Key of nodes.jsonl, colour and axis."""
MAX_LINES = 10
"""Lines that a chart shows before its reader asks for more, where it has an axis to choose by."""


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        figure: what plotly draws: data and layout.
        title: stands above it.
    """

    figure: dict[str, Any]
    title: str = ""


@dataclass(frozen=True)
class ChartGroup:
    """Charts that are steered together.

    Attributes:
        name: of the elements in the page.
        x, y: what can be shown along each axis, by key; nothing to choose if there is one.
        filters: by axis, the values to choose from, and the one chosen first (None: all of them).
    """

    name: str
    charts: list[Chart]
    x: dict[str, str]
    y: dict[str, str]
    filters: dict[str, tuple[list[float], float | None]] = field(default_factory=dict)
    wide: bool = False


def new_figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    """Data and layout as plotly checks them, without its own look: the page has one."""
    figure: dict[str, Any] = json.loads(go.Figure(data=traces, layout=layout).to_json())
    figure["layout"].pop("template", None)
    return figure


def cost_charts(settings: Sequence[Setting], kind: str) -> ChartGroup | None:
    """Quality against what it cost, a panel a task: a line joins the budgets of one method; None without figures."""
    tasks = by_task(settings, kind)
    mine = [s for of_task in tasks.values() for s in of_task]
    y, x = _qualities(kind, mine), _present(COSTS[kind], mine)
    if not x or not y:
        return None
    colours = method_colours(dict.fromkeys(s.method for s in settings))
    charts, most = [], 0
    for task, of_task in tasks.items():
        lines = _lines(of_task, ("method", *AXES))
        traces = _traces(lines, of_task, x, y, colours)
        most = max(most, len(traces))
        charts.append(Chart(new_figure(traces, {"xaxis": {"type": "log"}}), task))
    names = {m.name: m.shown for m in x}, {m.name: m.shown for m in y}
    return ChartGroup(f"cost-{kind}", charts, *names, filters=_filters(mine, tuple(AXES), most))


def effect_charts(settings: Sequence[Setting], kind: str) -> list[ChartGroup]:
    """What each axis that was varied does, a panel a task: a line joins settings that differ in it alone."""
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
            traces = _traces(lines, of_task, x, y, colours)
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
    """Few rollouts minus many with its interval, a row a pair, to the right what is in favour of few."""
    pairs = [(few, many) for of_task in by_task(settings, kind).values() for few, many in few_against_many(of_task)]
    involved = list({id(s): s for pair in pairs for s in pair}.values())
    metrics, axes = compared_metrics(kind, involved), varied_axes(involved)
    if not metrics:
        return None
    colours = method_colours(dict.fromkeys(s.method for s in settings))
    traces = []
    for few, many in pairs:
        x, errors = _gains(few, many, metrics)
        if x:
            traces.append(_gain_trace(few, many, axes, x, errors, colours[many.method]))
    if not traces:
        return None
    band = {"type": "rect", "xref": "x", "yref": "paper", "x0": -2, "x1": 2, "y0": 0, "y1": 1, "layer": "below"}
    layout = {"yaxis": {"autorange": "reversed", "type": "category"}, "shapes": [{**band, "line": {"width": 0}}]}
    unit = {m.name: f"{m.shown}, {'%' if m.relative else 'points'} in favour of few" for m in metrics}
    chart = Chart(new_figure(traces, layout))
    return ChartGroup(f"few-{kind}", [chart], unit, {}, _filters(involved, tuple(AXES), len(traces) // 4), wide=True)


def _gains(few: Setting, many: Setting, metrics: Sequence[Metric]) -> tuple[dict[str, Any], dict[str, Any]]:
    """In hundredths of what many reach, or in points, better being positive; and the half-widths."""
    gains, errors = {}, {}
    for metric in metrics:
        paired = compare(few, many, metric)
        if paired is None or (metric.relative and not paired.reference):
            continue
        unit = 100 / (abs(paired.reference) if metric.relative else 1.0)
        gains[metric.name] = metric.better * unit * paired.difference.value
        errors[metric.name] = unit * paired.half_width if math.isfinite(paired.half_width) else None
    return gains, errors


def _gain_trace(
    few: Setting, many: Setting, axes: Sequence[str], x: dict[str, Any], errors: dict[str, Any], colour: str
) -> dict[str, Any]:
    target = target_label(few, axes)
    name = f"{few.task}{f' ({target})' * bool(target)}: {short_label(few)} − {short_label(many)}"
    meta: dict[str, Any] = {
        "method": many.method,
        "axes": {axis: getattr(few, axis) for axis in AXES},
        "x": {key: [value] for key, value in x.items()},
        "y": {"": [escape(name)]},
        "error_x": {key: [value] for key, value in errors.items()},
    }
    first = next(iter(x))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": meta["x"][first],
        "y": meta["y"][""],
        "error_x": {"type": "data", "array": meta["error_x"][first], **_faint(colour, 0.9)},
        "marker": {"color": colour, "size": 9},
        "meta": meta,
        "hovertemplate": "%{y}<br>%{x:+.2f} ± %{customdata:.2f}<extra></extra>",
    }


def node_chart(lines: Sequence[dict[str, Any]]) -> ChartGroup | None:
    """Nodes that were alive, and trials that ran and waited, over time; None without lines."""
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
    """What can be shown, first what tells settings apart best: the paired difference to the prior."""
    return sorted(_present(METRICS[kind], settings), key=lambda metric: metric != MINUS_PRIOR)


def _lines(settings: Sequence[Setting], same: Sequence[str], along: str = "n_rollouts") -> list[list[Setting]]:
    """Settings that agree on every one of ``same``, along the other axis."""
    groups: dict[tuple[Any, ...], list[Setting]] = defaultdict(list)
    for setting in settings:
        groups[tuple(getattr(setting, name) for name in same)].append(setting)
    return [sorted(group, key=lambda s: getattr(s, along) or 0) for group in groups.values()]


def _with_symbols(lines: Sequence[list[Setting]]) -> list[tuple[list[Setting], str]]:
    """Each line of one method gets a symbol of its own."""
    seen: dict[str, int] = defaultdict(int)
    marked = []
    for line in lines:
        method = line[0].method
        marked.append((line, SYMBOLS[seen[method] % len(SYMBOLS)]))
        seen[method] += 1
    return marked


def _traces(
    lines: Sequence[list[Setting]],
    of_task: Sequence[Setting],
    x: Sequence[Metric],
    y: Sequence[Metric],
    colours: dict[str, str],
) -> list[dict[str, Any]]:
    """A trace a line; what was scored on fewer problems stands alone, since no line may lead from one to the other."""
    traces = []
    for line, symbol in _with_symbols(lines):
        whole = [s for s in line if not is_partial(s, of_task)]
        alone = [[s] for s in line if is_partial(s, of_task)]
        traces += [_trace(part, of_task, x, y, colours, symbol) for part in (whole, *alone) if part]
    return traces


def _trace(
    line: Sequence[Setting],
    of_task: Sequence[Setting],
    x: Sequence[Metric],
    y: Sequence[Metric],
    colours: dict[str, str],
    symbol: str,
) -> dict[str, Any]:
    """One line with all that it can show."""
    first, axes, partial = line[0], varied_axes(of_task), is_partial(line[0], of_task)
    meta: dict[str, Any] = {
        "method": first.method,
        "axes": {axis: getattr(first, axis) for axis in ("n_rollouts", *AXES)},
        "x": {m.name: [_along(s, m) for s in line] for m in x},
        "y": {m.name: [s.figures[m.name].value if m.name in s.figures else None for s in line] for m in y},
        "error_y": {m.name: [_half(s, m.name) for s in line] for m in y},
    }
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(line) > 1 else "markers",
        "name": escape(method_name(first.method)),
        "text": [escape(_told(s, axes)) for s in line],
        "x": meta["x"][x[0].name],
        "y": meta["y"][y[0].name],
        "error_y": {"type": "data", "array": meta["error_y"][y[0].name], **_faint(colours[first.method])},
        "line": {"color": colours[first.method], "width": 1.8},
        "marker": {"color": colours[first.method], "size": 8, "symbol": symbol + "-open" * partial},
        "meta": meta,
        "hovertemplate": "%{text}<br>%{x} · %{y:.4g} ± %{customdata:.2g}<extra></extra>",
    }


def _faint(colour: str, opacity: float = 0.5) -> dict[str, Any]:
    """The look of an interval: of its mark's colour, and quieter where many may overlap."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return {"color": f"rgba({red},{green},{blue},{opacity})", "thickness": 1.8, "width": 0}


def _told(setting: Setting, axes: Sequence[str]) -> str:
    seeds = f"{len(setting.seeds)} seed{'s' * (len(setting.seeds) != 1)}"
    return f"{label(setting, axes)}; {len(setting.problems)} problems, {seeds}"


def _along(setting: Setting, metric: Metric) -> float | str | None:
    if metric.name in AXES:
        return f"{getattr(setting, metric.name):g}"
    return setting.figures[metric.name].value if metric.name in setting.figures else None


def _half(setting: Setting, name: str) -> float | None:
    half = setting.figures[name].half_width() if name in setting.figures else math.nan
    return half if math.isfinite(half) else None


def _filters(
    settings: Sequence[Setting], axes: Sequence[str], lines: int
) -> dict[str, tuple[list[float], float | None]]:
    """The axes to choose by; the last value of each is chosen first where all lines together would be a tangle."""
    found: dict[str, tuple[list[float], float | None]] = {}
    for axis in axes:
        values = sorted({getattr(s, axis) for s in settings} - {None})
        if len(values) > 1:
            found[axis] = (values, values[-1] if lines > MAX_LINES else None)
    return found


KIND_TITLES = {kind: f"{name}: quality against cost" for kind, name in KIND_NAMES.items()}
