"""The page of ``condition``: the probability in large type, the forecast before and after, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from sadt_ray.conditions.marks import Mark
from sadt_ray.report.page import folded, inline_svg, section
from sadt_ray.report.picture import Picture
from sadt_ray.report.style import HAIR, INK, SOFT, explain, heading, new_figure, number, plain

MAX_ITEMS = 8
"""Items with a figure of their own."""
BEFORE, AFTER, MARK = "#808086", "#0072b2", "#d55e00"
_WIDTH, _HEIGHT = 10.0, 2.9


def figure_of(picture: Picture) -> Figure:
    """The forecast before (grey) and given the condition (blue): medians, 50 % and 90 % bands, a few scenarios; the
    condition in orange where it is a level or a band."""
    count = len(picture.channels)
    figure = new_figure(_WIDTH, 0.5 + _HEIGHT * count)
    panels = [plain(axes) for axes in figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]]
    dates = _without_zone(picture.dates)
    for c, axes in enumerate(panels):
        _history(axes, picture.history[c], dates)
        _band(axes, dates, picture.before[c], BEFORE, "forecast")
        if picture.after is not None:
            axes.plot(dates, picture.paths[:, c].T, color=AFTER, lw=0.4, alpha=0.6)
            _band(axes, dates, picture.after[c], AFTER, "given the condition")
        if picture.truth is not None:
            axes.plot(dates, picture.truth[c], color=INK, lw=1.1, label="truth")
        for mark in dict.fromkeys(mark for mark in picture.marks if mark.channel == c):
            _mark(axes, mark, dates)
        axes.margins(x=0)
        axes.set_ylabel(picture.unit)
        heading(axes, picture.name if count == 1 else picture.channels[c], INK)
        if isinstance(dates, pd.DatetimeIndex):
            locator = AutoDateLocator()
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    panels[0].legend(loc="best", fontsize=8, frameon=False, labelcolor=SOFT)
    explain(figure, "Medians, 50 % and 90 % bands; thin lines: scenarios; orange: the condition, where it can be drawn")
    return figure


def _without_zone(dates: Any) -> Any:
    """As a clock on the wall shows them."""
    return dates.tz_localize(None) if isinstance(dates, pd.DatetimeIndex) and dates.tz is not None else dates


def _history(axes: Axes, history: np.ndarray, dates: Any) -> None:
    """The last of it, as long as the horizon."""
    shown = history[-len(dates) :]
    if len(shown) == 0 or len(dates) < 2:
        return
    before = dates[0] - (dates[1] - dates[0]) * np.arange(len(shown), 0, -1)
    axes.plot(before, shown, color=SOFT, lw=0.9)
    axes.axvline(dates[0], color=HAIR, lw=0.8, zorder=0)


def _band(axes: Axes, dates: Any, quantiles: np.ndarray, colour: str, label: str) -> None:
    q05, q25, q50, q75, q95 = quantiles
    axes.fill_between(dates, q05, q95, color=colour, alpha=0.14, lw=0)
    axes.fill_between(dates, q25, q75, color=colour, alpha=0.24, lw=0)
    axes.plot(dates, q50, color=colour, lw=1.6, label=label)


def _mark(axes: Axes, mark: Mark, dates: Any) -> None:
    """A level over the span, dashed where it holds at some step or for the mean; a band between two bounds."""
    steps = np.array(mark.steps)
    for block in np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1):
        x = dates[block]
        style: dict[str, Any] = {"color": MARK, "lw": 1.6, "ls": "-" if mark.kind == "all" else "--", "zorder": 4}
        style |= {"marker": "_", "ms": 12} if len(block) == 1 else {}
        if math.isfinite(mark.lower) and math.isfinite(mark.upper):
            axes.fill_between(x, mark.lower, mark.upper, color=MARK, alpha=0.25, lw=0, zorder=3)
        for bound in (mark.lower, mark.upper):
            if math.isfinite(bound):
                axes.plot(x, np.full(len(block), bound), **style)


def write_condition_page(
    run: Path, items: Sequence[Mapping[str, Any]], pictures: Sequence[Picture], config: Mapping[str, Any]
) -> Path:
    """Write ``report.html``, one self-contained page. Returns its path.

    Args:
        run: directory.
        items: one summary per item, see ``ConditionedForecast.summary``.
        pictures: of the first items.
        config: what the run was given.
    """
    read = files("sadt_ray.report").joinpath
    drawn = [inline_svg(figure_of(picture), f"item-{k}") for k, picture in enumerate(pictures)]
    page = run / "report.html"
    page.write_text(
        Template(read("condition.html").read_text(encoding="utf-8")).substitute(
            style=read("page.css").read_text(encoding="utf-8"),
            title=escape(f"Condition: {items[0]['condition']}"),
            probability=escape(_first_line(items)),
            condition=escape(str(items[0]["condition"])),
            words=escape(str(items[0]["words"]) if len(items) == 1 else ""),
            table=_table(items) if len(items) > 1 else "",
            items="".join(_item(item, drawn[k] if k < len(drawn) else "") for k, item in enumerate(items)),
            config=folded(dict(config)),
        ),
        encoding="utf-8",
    )
    return page


def _first_line(items: Sequence[Mapping[str, Any]]) -> str:
    if len(items) == 1:
        return f"P = {number(items[0]['probability'])}  ({_interval(items[0])})"
    values = [item["probability"] for item in items]
    return f"P from {number(min(values))} to {number(max(values))} for {len(items):,} items"


def _interval(item: Mapping[str, Any]) -> str:
    return f"95 %: {item['probability_low']:.2g} to {item['probability_high']:.2g}"


_COLUMNS = ("item", "probability", "95 % interval", "satisfied", "ESS", "starts", "evaluations", "method")


def _table(items: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in _COLUMNS)
    body = ""
    for item in items:
        cells = [number(item["probability"]), _interval(item).removeprefix("95 %: ")]
        cells += [number(float(item[name])) for name in ("satisfied", "ess", "starts", "evaluations")]
        cells += [str(item["method"])]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body += f'<tr><th scope="row">{escape(str(item["item"]))}</th>{row}</tr>'
    table = f'<table class="summary"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<section><div class="scroll">{table}</div></section>'


def _item(item: Mapping[str, Any], svg: str) -> str:
    facts = {
        "probability": f"{number(item['probability'])} ({_interval(item)}); log P {number(item['log_probability'])}",
        "interval": item["interval_method"],
        "in words": item["words"],
        "satisfied": f"{number(float(item['satisfied']))} of the weight",
        "effective samples": f"{number(float(item['ess']))}, from {number(float(item['starts']))} independent starts",
        "cost": f"{item['evaluations']:,} evaluations, {item['reward_calls']:,} samples checked; pilots included",
        "method": f"{item['method']}: {item['why']}",
        "scenarios": f"{item['scenarios']:,}",
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in item["notes"])
    trust = f'<h3>How far to trust it</h3><ul class="notes">{notes}</ul><dl>{listed}</dl>'
    return section(str(item["item"]), f"{svg}{trust}")
