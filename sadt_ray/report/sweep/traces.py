"""Traces of a sweep's charts: lines of settings and differences. ``meta`` holds all figures of a trace."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import Any

from sadt_ray.report.style import method_name
from sadt_ray.report.sweep.compare import is_partial, label, short_label, target_label, varied_axes
from sadt_ray.report.sweep.metrics import AXES, Metric
from sadt_ray.report.sweep.settings import Setting, compare

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagram")
"""Symbols for the settings of one method; methods differ in colour and share the symbols."""


def line_traces(
    lines: Sequence[list[Setting]],
    of_task: Sequence[Setting],
    x: Sequence[Metric],
    y: Sequence[Metric],
    colours: dict[str, str],
) -> list[dict[str, Any]]:
    """One trace per line. Partially scored settings are single points, because they are not comparable."""
    traces = []
    for line, symbol in _with_symbols(lines):
        whole = [s for s in line if not is_partial(s, of_task)]
        alone = [[s] for s in line if is_partial(s, of_task)]
        traces += [_trace(part, of_task, x, y, colours, symbol) for part in (whole, *alone) if part]
    return traces


def _with_symbols(lines: Sequence[list[Setting]]) -> list[tuple[list[Setting], str]]:
    """A separate symbol for each line of a method."""
    seen: dict[str, int] = defaultdict(int)
    marked = []
    for line in lines:
        method = line[0].method
        marked.append((line, SYMBOLS[seen[method] % len(SYMBOLS)]))
        seen[method] += 1
    return marked


def _trace(
    line: Sequence[Setting],
    of_task: Sequence[Setting],
    x: Sequence[Metric],
    y: Sequence[Metric],
    colours: dict[str, str],
    symbol: str,
) -> dict[str, Any]:
    """One line with the data of all views."""
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
        "error_y": {"type": "data", "array": meta["error_y"][y[0].name], **faint(colours[first.method])},
        "line": {"color": colours[first.method], "width": 1.8},
        "marker": {"color": colours[first.method], "size": 8, "symbol": symbol + "-open" * partial},
        "meta": meta,
        "hovertemplate": "%{text}<br>%{x} · %{y:.4g} ± %{customdata:.2g}<extra></extra>",
    }


def faint(colour: str, opacity: float = 0.5) -> dict[str, Any]:
    """Style of an interval: the colour of its mark, fainter if many may overlap."""
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


def gain_trace(
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
        "error_x": {"type": "data", "array": meta["error_x"][first], **faint(colour, 0.9)},
        "marker": {"color": colour, "size": 9},
        "meta": meta,
        "hovertemplate": "%{y}<br>%{x:+.2f} ± %{customdata:.2f}<extra></extra>",
    }


def gains(few: Setting, many: Setting, metrics: Sequence[Metric]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Differences in per cent of the value with many rollouts, or in points, positive if better; and half widths."""
    gains, errors = {}, {}
    for metric in metrics:
        paired = compare(few, many, metric)
        if paired is None or (metric.relative and not paired.reference):
            continue
        unit = 100 / (abs(paired.reference) if metric.relative else 1.0)
        gains[metric.name] = metric.better * unit * paired.difference.value
        errors[metric.name] = unit * paired.half_width if math.isfinite(paired.half_width) else None
    return gains, errors
