"""The figures of a stage run: accuracy against cost, calibration, and the entropy of the answer along the text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from sadt_ray.opentslm.report.data import StageRun
from sadt_ray.opentslm.report.words import COLUMNS, known, main_metric
from sadt_ray.report.plots import WIDTH
from sadt_ray.report.style import (
    HAIR,
    SOFT,
    Label,
    explain,
    heading,
    label_ends,
    method_colours,
    new_figure,
    plain,
    small_multiples,
    spread_apart,
)

_APART = 16.0  # pixels between points of the same cost, which are drawn side by side
_ONE_COST = 1.8  # methods within this factor in tokens share a column of names


def stage_figures(run: StageRun) -> dict[str, Figure]:
    """All figures by file name; empty figures are left out."""
    figures = {
        "accuracy_tokens": accuracy_chart(run),
        "reliability": reliability_chart(run),
        "entropy": entropy_chart(run),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def accuracy_chart(run: StageRun) -> Figure | None:
    """Accuracy (captions: ROUGE-L) against tokens per question, with standard errors; hollow points are oracles."""
    metric = main_metric(run)
    rows = [row for row in run.rows if known(row, metric) is not None and (known(row, "tokens") or 0) > 0]
    if not rows:
        return None
    rows.sort(key=lambda row: row["tokens"])
    figure = new_figure(WIDTH, 3.9)
    axes = plain(figure.subplots())
    tokens = np.array([row["tokens"] for row in rows], float)
    axes.set(xscale="log", xlabel="tokens per example, generated or scored", ylabel=COLUMNS[metric])
    axes.set_xlim(tokens[0] / 1.25, tokens[-1] * 1.25)
    _token_axis(axes)
    if run.template_accuracy is not None and metric == "accuracy":
        axes.axhline(run.template_accuracy, color=HAIR, lw=1.2, ls=(0, (4, 3)), zorder=0)
        place: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        place |= {"color": SOFT, "fontsize": 8}
        axes.annotate("template classifier alone", (0.5, run.template_accuracy), (0, 3), ha="center", **place)
    explain(figure, _said(run, "Bars: one standard error, clustered by source; methods of one cost stand side by side"))
    figure.draw_without_rendering()
    _draw_points(figure, axes, run, rows, tokens, metric)
    return figure


def _draw_points(
    figure: Figure, axes: Axes, run: StageRun, rows: list[dict[str, Any]], tokens: np.ndarray, metric: str
) -> None:
    colours = method_colours(run.methods)
    pixels = axes.transData.transform(np.column_stack([tokens, np.full(len(tokens), axes.get_ylim()[0])]))[:, 0]
    spread = spread_apart(pixels, _APART)
    places = axes.transData.inverted().transform(np.column_stack([spread, np.zeros(len(spread))]))[:, 0]
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        mine = [k for k, row in enumerate(rows) if row["method"] == method]
        colour, hollow = colours[method], method in run.oracles
        values = [rows[k][metric] for k in mine]
        axes.plot(places[mine], values, color=colour, lw=0.9, zorder=2)
        axes.errorbar(
            places[mine], values, [known(rows[k], f"{metric}_se") or 0.0 for k in mine], fmt="o", ms=6.5, color=colour,
            mfc="white" if hollow else colour, mew=1.5, elinewidth=1.3, capsize=0, zorder=3,
        )  # fmt: skip
    figure.draw_without_rendering()
    for group in _columns(tokens):
        ends = [
            Label(rows[k][metric], run.shown(str(rows[k]["method"])), colours[str(rows[k]["method"])]) for k in group
        ]
        label_ends(axes, ends, places[group[-1]] * 1.015)


def _columns(tokens: np.ndarray) -> list[list[int]]:
    """Ascending costs, grouped; a new group begins where a cost is much larger than the one before."""
    groups = [[0]]
    for k, (low, high) in enumerate(pairwise(tokens), start=1):
        if high > _ONE_COST * low:
            groups.append([])
        groups[-1].append(k)
    return groups


def _token_axis(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 times powers of ten."""
    low, high = axes.get_xlim()
    steps = [m * 10.0**k for k in range(7) for m in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))


def reliability_chart(run: StageRun) -> Figure | None:
    """Accuracy against confidence, one panel per method; a calibrated method is on the diagonal."""
    methods = [method for method in run.methods if run.calibration.get(method)]
    if not methods:
        return None
    colours = method_colours(run.methods)
    figure, panels = small_multiples(len(methods), 4, WIDTH, 2.5)
    for axes, method in zip(panels, methods, strict=True):
        bins = [bin_ for bin_ in run.calibration[method] if bin_["count"] > 0]
        confidence, right, count = (
            np.array([b[name] for b in bins], float) for name in ("confidence", "accuracy", "count")
        )
        axes.plot([0, 1], [0, 1], color=HAIR, lw=1.0, zorder=0)
        axes.vlines(confidence, confidence, right, color=colours[method], lw=1.0, alpha=0.6)
        hollow = method in run.oracles
        axes.scatter(
            confidence, right, s=8 + 150 * count / max(count.sum(), 1), color="white" if hollow else colours[method],
            edgecolors=colours[method], alpha=0.85, lw=1.0, zorder=3, clip_on=False,
        )  # fmt: skip
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        ece = known(run.row(method), "ece")
        heading(axes, run.shown(method), colours[method], "" if ece is None else f"ECE {ece:.3f}")
    panels[0].set_ylabel("share of answers that are right")
    figure.supxlabel("confidence: probability of the answer given", fontsize=8.5, color=SOFT)
    explain(figure, _said(run, "Area: how many answers; ECE: mean distance from the diagonal, weighted by them"))
    return figure


def entropy_chart(run: StageRun) -> Figure | None:
    """H(answer | text so far) in nats by depth of the text. The answer is decided where it falls."""
    profile = [point for point in run.entropy_profile if known(point, "entropy") is not None]
    if len(profile) < 2:
        return None
    depth, entropy = (np.array([point[name] for point in profile], float) for name in ("depth", "entropy"))
    figure = new_figure(WIDTH, 2.9)
    axes = plain(figure.subplots())
    axes.fill_between(depth, 0, entropy, color="#6a51a3", alpha=0.12, lw=0)
    axes.plot(depth, entropy, color="#6a51a3", lw=1.8, marker="o", ms=4)
    for x, y, point in zip(depth, entropy, profile, strict=True):
        tokens = known(point, "tokens")
        named = f"{y:.2f}" + (f"\n{tokens:,.0f} tokens" if tokens is not None else "")
        axes.annotate(named, (x, y), (0, 7), textcoords="offset points", ha="center", color=SOFT, fontsize=7.5)
    axes.set(
        xlabel="blocks of text written", ylabel="H(answer | text), nats", ylim=(0, 1.35 * max(entropy.max(), 1e-9))
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.06)
    explain(figure, _said(run, f"{entropy_text(run)} Search can help where it falls before".strip()))
    return figure


def entropy_text(run: StageRun) -> str:
    """A sentence about the entropy that is left after the last block of the profile; empty without a profile."""
    entropy = [value for point in run.entropy_profile if (value := known(point, "entropy")) is not None]
    if len(entropy) < 2 or not entropy[0] > 0:
        return ""
    return f"{entropy[-1] / entropy[0]:.0%} of the answer's entropy is left after the last block shown."


def _said(run: StageRun, text: str) -> str:
    """The title of a figure, which says if the model is a stand-in."""
    return text + ". Stand-in model" * run.stand_in
