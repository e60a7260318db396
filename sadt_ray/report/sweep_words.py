"""What a sweep found, in words made from its figures: a headline, what is best where, and how much of it ran."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sadt_ray.metrics.clustered import Estimate
from sadt_ray.report.style import method_name
from sadt_ray.report.sweep_compare import (
    BASELINE,
    by_task,
    clear_winner,
    compared_metrics,
    few_against_many,
    is_learned,
    label,
    ranked,
    varied_axes,
)
from sadt_ray.report.sweep_data import Sweep
from sadt_ray.report.sweep_metrics import METRICS, Metric
from sadt_ray.report.sweep_settings import Paired, Setting, compare, main_metric

SAID = {
    "better": "is better than {it}{in_} on {where}",
    "equal": "equals {it}{in_} within {margin} on {where}",
    "worse": "is worse than {it}{in_} on {where}",
    "open": "cannot be told from {it}{in_} on {where}, where the interval is too wide",
    "mixed": "is better or worse than {it}{in_} as the target is chosen on {where}",
}
MAX_NAMED = 4
"""Tasks that a sentence names; of more it says how many."""


class Verdict(NamedTuple):
    """A pair of settings of one task, and what came of it."""

    few: Setting
    many: Setting
    paired: Paired


def headline(settings: Sequence[Setting]) -> list[str]:
    """Whether S-ADT with few rollouts reaches DTS with many, a sentence a kind; without these, what was best first."""
    found = verdicts(settings)
    said = [
        _sentence([v for v in found if v.few.kind == kind])
        for kind in METRICS
        if any(v.few.kind == kind for v in found)
    ]
    return said or [_without_pairs(settings)]


def _sentence(found: Sequence[Verdict]) -> str:
    subject, reference = (_budgeted([getattr(v, side) for v in found], side) for side in ("few", "many"))
    metrics = list(dict.fromkeys(v.paired.metric for v in found))
    tasks: dict[str, list[str]] = defaultdict(list)
    for task in dict.fromkeys(v.few.task for v in found):
        outcomes = {v.paired.verdict for v in found if v.few.task == task}
        tasks[outcomes.pop() if len(outcomes) == 1 else "mixed"].append(task)
    clauses: list[str] = []
    for outcome in (outcome for outcome in SAID if outcome in tasks):
        first = not clauses
        words = {"it": reference if first else "it", "where": _where(tasks[outcome], len(set().union(*tasks.values())))}
        words |= {"in_": f" in {_listed([m.shown for m in metrics])}" * first, "margin": _margin(metrics)}
        clauses.append(SAID[outcome].format(**words))
    return f"{subject} {_listed(clauses)}."


def _budgeted(settings: Sequence[Setting], otherwise: str) -> str:
    """The method with its rollouts, if they are the same wherever it is spoken of."""
    budgets = {s.n_rollouts for s in settings}
    count = f"{budgets.pop():,}" if len(budgets) == 1 else otherwise
    return f"{method_name(settings[0].method)} with {count}" + " rollouts" * (otherwise == "few")


def _margin(metrics: Sequence[Metric]) -> str:
    return f"{100 * metrics[0].margin:g}" + ("\u00a0%" if metrics[0].relative else " points")


def _where(tasks: Sequence[str], of: int) -> str:
    if len(tasks) <= MAX_NAMED:
        return _listed(tasks)
    return f"all {of} tasks" if len(tasks) == of else f"{len(tasks)} of {of} tasks"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verdicts(settings: Sequence[Setting]) -> list[Verdict]:
    """S-ADT with few rollouts against DTS with many, wherever both are; in each task's main figure."""
    found = []
    for kind in METRICS:
        for of_task in by_task(settings, kind).values():
            metrics = compared_metrics(kind, of_task)[:1]
            pairs = few_against_many(of_task)
            for few, many in ((a, b) for a, b in pairs if is_learned(a.method) and b.method == BASELINE):
                paired = compare(few, many, metrics[0]) if metrics else None
                if paired is not None:
                    found.append(Verdict(few, many, paired))
    return found


def _without_pairs(settings: Sequence[Setting]) -> str:
    if not settings:
        return "No trial has left a result yet."
    best = best_of_tasks(settings)
    return best[0] if best else "No trial could be scored: none of them has a truth to compare with."


def best_of_tasks(settings: Sequence[Setting]) -> list[str]:
    """A sentence a task: what was best, and whether that is clear."""
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
    """Trials by how they ended, and the time it took."""
    total = len(sweep.trials)
    parts = [f"{sweep.count('complete'):,} of {total:,} trial{'s' * (total != 1)} complete"]
    words = (("failed", "failed"), ("stopped", "stopped early"), ("running", "running"), ("pending", "pending"))
    parts += [f"{sweep.count(status):,} {said}" for status, said in words if sweep.count(status)]
    damaged = sum(result.damage is not None for result in sweep.results.values())
    parts += [f"{damaged} with damaged files"] * bool(damaged)
    parts += [f"{duration(sweep.seconds)} of wall-clock"] if sweep.seconds else []
    return ", ".join(parts) + "." + " The sweep has not come to its end." * (not sweep.complete)


def duration(seconds: float | None) -> str:
    """As one says it: 8.5 s, 12 min, 3 h 20 min."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def figure(metric: Metric, estimate: Estimate, signed: bool = False) -> str:
    """A figure with the half-width of its 95 % interval, where there is one."""
    return decimal(metric, estimate.value, signed) + plus_minus(metric, estimate)


def decimal(metric: Metric, value: float, signed: bool = False) -> str:
    """With the figure's decimals and a real minus sign."""
    return f"{value:{'+' if signed else ''},.{metric.decimals}f}".replace("-", "−")


def plus_minus(metric: Metric, estimate: Estimate) -> str:
    half = estimate.half_width()
    return f" ± {half:,.{metric.decimals}f}" if math.isfinite(half) else ""
