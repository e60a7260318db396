"""The headline of a sweep: whether S-ADT with few rollouts reaches DTS with many, judged by confidence intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sadt_ray.report.style import method_name
from sadt_ray.report.sweep.compare import BASELINE, by_task, compared_metrics, few_against_many, is_learned
from sadt_ray.report.sweep.metrics import METRICS, Metric
from sadt_ray.report.sweep.settings import Paired, Setting, compare
from sadt_ray.report.sweep.words import best_of_tasks

SAID = {
    "better": "is better than {it}{by} on {where}",
    "equal": "equals {it}{by} within {margin} on {where}",
    "worse": "is worse than {it}{by} on {where}",
    "open": "cannot be told from {it}{by} on {where}, where the interval is too wide",
    "mixed": "compares with {it}{by} as the target is chosen on {where}",
}
BRIEFLY = {
    "better": "better on {where}",
    "equal": "equal within {margin} on {where}",
    "worse": "worse on {where}",
    "open": "not clear on {where}",
    "mixed": "not alike for all targets on {where}",
}
MAX_NAMED = 4
"""Largest number of tasks that a sentence names; for more it gives their number."""


class Verdict(NamedTuple):
    """A pair of settings of one task, and the result of the comparison."""

    few: Setting
    many: Setting
    paired: Paired


def headline(settings: Sequence[Setting]) -> list[str]:
    """Sentences, the most important first: for each kind the result in its main figure, then in the others.

    Without S-ADT and DTS at two budgets, the sentences name the best settings.
    """
    said = []
    for kind in METRICS:
        if found := verdicts(settings, kind):
            said += [_sentence(found), _by_other_figures(settings, kind)]
    return [sentence for sentence in said if sentence] or [_without_pairs(settings)]


def verdicts(settings: Sequence[Setting], kind: str, metric: Metric | None = None) -> list[Verdict]:
    """S-ADT with few rollouts against DTS with many in every task that has both, by the main or another figure."""
    found = []
    for of_task in by_task(settings, kind).values():
        known = compared_metrics(kind, of_task)
        judged = known[:1] if metric is None else [m for m in known[1:] if m == metric]
        for few, many in few_against_many(of_task) if judged else []:
            if is_learned(few.method) and many.method == BASELINE and (paired := compare(few, many, judged[0])):
                found.append(Verdict(few, many, paired))
    return found


def _outcomes(found: Sequence[Verdict]) -> dict[str, list[str]]:
    """Tasks by outcome, in the order of ``SAID``; ``mixed`` if targets disagree."""
    tasks: dict[str, list[str]] = defaultdict(list)
    for task in dict.fromkeys(v.few.task for v in found):
        outcomes = {v.paired.verdict for v in found if v.few.task == task}
        tasks[outcomes.pop() if len(outcomes) == 1 else "mixed"].append(task)
    return {outcome: tasks[outcome] for outcome in SAID if outcome in tasks}


def _clauses(found: Sequence[Verdict], words: Mapping[str, str], first: Mapping[str, str]) -> list[str]:
    """One clause per outcome. Only the first clause includes ``first``."""
    outcomes = _outcomes(found)
    total = sum(len(tasks) for tasks in outcomes.values())
    later = {"it": "it", "by": ""}
    return [
        words[outcome].format(
            **(later if number else first), margin=_margin(found[0].paired.metric), where=_where(tasks, total)
        )
        for number, (outcome, tasks) in enumerate(outcomes.items())
    ]


def _sentence(found: Sequence[Verdict]) -> str:
    subject, reference = (_budgeted([getattr(v, side) for v in found], side) for side in ("few", "many"))
    figures = list(dict.fromkeys(v.paired.metric.shown for v in found))
    clauses = _clauses(found, SAID, {"it": reference, "by": f" in {listed(figures)}"})
    return f"{subject} {listed(clauses)}."


def _by_other_figures(settings: Sequence[Setting], kind: str) -> str:
    said = []
    for metric in METRICS[kind]:
        if metric.better and (found := verdicts(settings, kind, metric)):
            said.append(f"By {metric.shown}: {listed(_clauses(found, BRIEFLY, {}))}.")
    return " ".join(said)


def _budgeted(settings: Sequence[Setting], otherwise: str) -> str:
    """The method, with its rollouts if they are the same in all pairs."""
    budgets = {s.n_rollouts for s in settings}
    count = f"{budgets.pop():,}" if len(budgets) == 1 else otherwise
    return f"{method_name(settings[0].method)} with {count}" + " rollouts" * (otherwise == "few")


def _margin(metric: Metric) -> str:
    return f"{100 * metric.margin:g}" + ("\u00a0%" if metric.relative else " points")


def _where(tasks: Sequence[str], of: int) -> str:
    if len(tasks) <= MAX_NAMED:
        return listed(tasks)
    return f"all {of} tasks" if len(tasks) == of else f"{len(tasks)} of {of} tasks"


def listed(names: Sequence[str]) -> str:
    """Join words as in "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _without_pairs(settings: Sequence[Setting]) -> str:
    if not settings:
        return "No trial has left a result yet."
    best = best_of_tasks(settings)
    return best[0] if best else "No trial could be scored: none of them has a truth to compare with."
