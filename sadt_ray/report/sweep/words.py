"""Figures and results of a sweep as text: the best settings, and the progress of the trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sadt_ray.metrics.clustered import Estimate
from sadt_ray.report.sweep.compare import (
    by_task,
    clear_winner,
    label,
    ranked,
    varied_axes,
)
from sadt_ray.report.sweep.data import Sweep
from sadt_ray.report.sweep.metrics import METRICS, Metric
from sadt_ray.report.sweep.settings import Setting, compare, main_metric


def best_of_tasks(settings: Sequence[Setting]) -> list[str]:
    """One sentence per task: the best setting, and whether its lead is significant."""
    said = []
    for kind in METRICS:
        for task, of_task in by_task(settings, kind).items():
            metric = main_metric(of_task, METRICS[kind])
            order = ranked(of_task, metric) if metric is not None else []
            if metric is not None and order:
                said.append(f"{task}: {_best(order, of_task, metric)}.")
    return said


def _best(order: Sequence[Setting], of_task: Sequence[Setting], metric: Metric) -> str:
    axes = varied_axes(of_task)
    best = f"{label(order[0], axes)}, {metric.shown} {figure(metric, order[0].figures[metric.name])}"
    if len(order) == 1:
        return f"only {best}, to compare with nothing"
    if clear_winner(of_task, metric) is not None:
        return f"best is {best}, clear of all {len(order) - 1} others"
    rivals = [other for other in order[1:] if (p := compare(order[0], other, metric)) is None or p.verdict != "better"]
    return (
        f"lowest is {best}" * (metric.better < 0)
        + f"highest is {best}" * (metric.better > 0)
        + (
            f", not clearly different from {label(rivals[0], axes)}"
            + f" and {len(rivals) - 1} more" * (len(rivals) > 1)
        )
    )


def how_much(sweep: Sweep) -> str:
    """Numbers of trials by outcome, and the total time."""
    total = len(sweep.trials)
    parts = [f"{sweep.count('complete'):,} of {total:,} trial{'s' * (total != 1)} complete"]
    words = (("failed", "failed"), ("stopped", "stopped early"), ("running", "running"), ("pending", "pending"))
    parts += [f"{sweep.count(status):,} {said}" for status, said in words if sweep.count(status)]
    damaged = sum(result.damage is not None for result in sweep.results.values())
    parts += [f"{damaged} with damaged files"] * bool(damaged)
    parts += [f"{duration(sweep.seconds)} of wall-clock"] if sweep.seconds else []
    return ", ".join(parts) + "." + " The sweep has not come to its end." * (not sweep.complete)


def duration(seconds: float | None) -> str:
    """Format a duration: 8.5 s, 12 min, 3 h 20 min."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def figure(metric: Metric, estimate: Estimate, signed: bool = False) -> str:
    """A figure with the half width of its 95 % interval, if it has one."""
    return decimal(metric, estimate.value, signed) + plus_minus(metric, estimate)


def decimal(metric: Metric, value: float, signed: bool = False) -> str:
    """Format a value with the decimals of its figure and a real minus sign."""
    return f"{value:{'+' if signed else ''},.{metric.decimals}f}".replace("-", "−")


def plus_minus(metric: Metric, estimate: Estimate) -> str:
    half = estimate.half_width()
    return f" ± {half:,.{metric.decimals}f}" if math.isfinite(half) else ""
