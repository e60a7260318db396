"""The comparisons of a sweep: with the prior, few rollouts with many, and the best setting."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from sadt_ray.report.style import method_name
from sadt_ray.report.sweep.metrics import AXES, MAIN, METRICS, MINUS_REFERENCE, REFERENCE, Metric
from sadt_ray.report.sweep.settings import Paired, Setting, compare, main_metric

BASELINE = "dts"
"""The method that S-ADT should equal with a tenth of the rollouts."""
AS_CLAIMED = (200, 2000)
TENTH = 10
"""Ratio of many to few rollouts."""


def by_task(settings: Sequence[Setting], kind: str) -> dict[str, list[Setting]]:
    """The settings of each task of one kind."""
    found: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings:
        if setting.kind == kind:
            found[setting.task].append(setting)
    return dict(found)


def varied_axes(settings: Sequence[Setting]) -> list[str]:
    """Axes other than method and rollouts in which some settings differ."""
    return [axis for axis in AXES if len({getattr(s, axis) for s in settings} - {None}) > 1]


def is_learned(method: str) -> bool:
    """Whether the method is a variant of S-ADT."""
    return method.lower().replace("_", "-").startswith(("sadt", "s-adt"))


def is_partial(setting: Setting, of_task: Sequence[Setting]) -> bool:
    """Whether the setting was scored on fewer problems than another setting of its task."""
    return setting.stopped or len(setting.problems) < max(len(other.problems) for other in of_task)


def minus_reference(setting: Setting, of_task: Sequence[Setting], metric: Metric) -> Paired | None:
    """Paired difference to the reference: prior samples or answer vote, at the same budget and target if possible."""
    method = REFERENCE[setting.kind]
    if setting.method == method:
        return None
    axes = ("n_rollouts", "inv_temperature", "spectral_weight")
    others = [(tuple(getattr(r, a) == getattr(setting, a) for a in axes), r) for r in of_task if r.method == method]
    for _, reference in sorted(others, key=lambda pair: (pair[0], pair[1].n_rollouts or 0), reverse=True):
        found = compare(setting, reference, metric)
        if found is not None:
            return found
    return None


def with_minus_reference(settings: Sequence[Setting]) -> list[Setting]:
    """The settings, with the paired difference to the reference as a further figure."""
    tasks = {(s.kind, s.task): [o for o in settings if (o.kind, o.task) == (s.kind, s.task)] for s in settings}
    found = []
    for setting in settings:
        of_task = tasks[setting.kind, setting.task]
        main = main_metric(of_task, METRICS[setting.kind])
        named = main is not None and main.name == MAIN[setting.kind][0]  # the difference is named after that figure
        versus = minus_reference(setting, of_task, main) if main is not None and named else None
        added = {MINUS_REFERENCE: versus.difference} if versus is not None else {}
        found.append(replace(setting, others={**setting.others, **added}))
    return found


def ranked(of_task: Sequence[Setting], metric: Metric) -> list[Setting]:
    """The settings that were scored on all problems of their task, best first, without oracles."""
    judged = [s for s in of_task if metric.name in s.figures and not s.oracle and not is_partial(s, of_task)]
    return sorted(judged, key=lambda s: -metric.better * s.figures[metric.name].value)


def clear_winner(of_task: Sequence[Setting], metric: Metric) -> Setting | None:
    """The best setting, if the paired 95 % interval to every other setting excludes 0."""
    order = ranked(of_task, metric)
    if len(order) < 2:
        return None
    against = [compare(order[0], other, metric) for other in order[1:]]
    return order[0] if all(a is not None and a.verdict == "better" for a in against) else None


def few_and_many(settings: Sequence[Setting]) -> tuple[int, int] | None:
    """The budgets to compare, few and many; None if there are no two budgets.

    They are 200 and 2,000 if both exist, else the largest pair with a ratio of ten, else the largest budget and the one
    nearest to its tenth. The small budget is one of S-ADT, if S-ADT ran.
    """
    budgets = _budgets(settings)
    scarce = _budgets([s for s in settings if is_learned(s.method)]) or budgets
    exact = [(few, many) for few, many in product(scarce, budgets) if few * TENTH == many]
    if exact:
        return AS_CLAIMED if AS_CLAIMED in exact else exact[-1]
    fewer = [few for few in scarce if few < max(budgets)]
    if not fewer:
        return None
    return min(fewer, key=lambda few: abs(math.log(few * TENTH / budgets[-1]))), budgets[-1]


def _budgets(settings: Sequence[Setting]) -> list[int]:
    return sorted({s.n_rollouts for s in settings if s.n_rollouts is not None})


def few_against_many(of_task: Sequence[Setting]) -> list[tuple[Setting, Setting]]:
    """Pairs of S-ADT with few rollouts and every method with many, at the same target.

    A method without a reward has no target and is paired with every target. Without S-ADT, every method is paired with
    itself.
    """
    targets = dict.fromkeys(t for s in of_task if (t := _target(s)) != (None, None)) or {(None, None): None}
    found = []
    for target in targets:
        group = [s for s in of_task if _target(s) in (target, (None, None))]
        budgets = few_and_many(group)
        if budgets is None:
            continue
        few, many = ([s for s in group if s.n_rollouts == budget] for budget in budgets)
        learned = any(is_learned(s.method) and not s.oracle for s in few)
        many.sort(key=lambda s: s.method != BASELINE)
        found += [pair for pair in product(few, many) if _worth(*pair, learned) and pair not in found]
    return found


def _target(setting: Setting) -> tuple[float | None, float | None]:
    return setting.inv_temperature, setting.spectral_weight


def _worth(few: Setting, many: Setting, learned: bool) -> bool:
    """Whether to show a pair: S-ADT with itself or another method; without S-ADT, a searched method with itself."""
    if few.oracle or many.oracle:
        return False
    same = (few.method, few.alpha) == (many.method, many.alpha)
    if not learned:
        return same and few.method != "prior"
    return is_learned(few.method) and (same or not is_learned(many.method))


def compared_metrics(kind: str, settings: Sequence[Setting]) -> list[Metric]:
    """Figures per problem that have a better direction, the main one first."""
    have = {name for setting in settings for name in setting.scores}
    main = main_metric(settings, METRICS[kind]) if settings else None
    rest = [m for m in METRICS[kind] if m.better and m.name in have and m != main]
    return ([main] if main is not None and main.name in have else []) + rest


def shown_method(setting: Setting) -> str:
    """The name of the method; an oracle is labelled."""
    return method_name(setting.method) + " (oracle)" * setting.oracle


def rollouts_of(budget: int) -> str:
    return f"{budget:,} rollout{'s' * (budget != 1)}"


def label(setting: Setting, axes: Sequence[str] = (), rollouts: bool = True) -> str:
    """Label of a setting: its method, its rollouts and the named axes."""
    parts = [shown_method(setting)]
    if rollouts and setting.n_rollouts is not None:
        parts.append(rollouts_of(setting.n_rollouts))
    parts += [f"{AXES[axis]} {getattr(setting, axis):g}" for axis in axes if getattr(setting, axis) is not None]
    return ", ".join(parts)


def short_label(setting: Setting) -> str:
    """Label with method and budget alone."""
    return shown_method(setting) + (f" {setting.n_rollouts:,}" if setting.n_rollouts is not None else "")


def target_label(setting: Setting, axes: Sequence[str]) -> str:
    """Label with the named axes alone."""
    return ", ".join(f"{AXES[a]} {getattr(setting, a):g}" for a in axes if getattr(setting, a) is not None)
