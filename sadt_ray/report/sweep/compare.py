"""The comparisons that a sweep is for: against the prior, few rollouts against many, and which setting is best."""

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
"""The search that S-ADT is to equal with a tenth of the rollouts."""
AS_CLAIMED = (200, 2000)
TENTH = 10
"""Few rollouts are this many times fewer than many."""


def by_task(settings: Sequence[Setting], kind: str) -> dict[str, list[Setting]]:
    """The settings of each task of one kind."""
    found: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings:
        if setting.kind == kind:
            found[setting.task].append(setting)
    return dict(found)


def varied_axes(settings: Sequence[Setting]) -> list[str]:
    """Axes, beside method and rollouts, on which some of the settings differ."""
    return [axis for axis in AXES if len({getattr(s, axis) for s in settings} - {None}) > 1]


def is_learned(method: str) -> bool:
    """Whether it is S-ADT, in any of its forms."""
    return method.lower().replace("_", "-").startswith(("sadt", "s-adt"))


def is_partial(setting: Setting, of_task: Sequence[Setting]) -> bool:
    """Whether it was scored on fewer problems than another setting of its task."""
    return setting.stopped or len(setting.problems) < max(len(other.problems) for other in of_task)


def minus_reference(setting: Setting, of_task: Sequence[Setting], metric: Metric) -> Paired | None:
    """Against the prior's samples, or the vote over answers: of the same budget and target if there are such."""
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
    """The settings, each with its paired difference to the reference as one of its figures."""
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
    """Best first, of those that were scored on all problems of their task; never an oracle."""
    judged = [s for s in of_task if metric.name in s.figures and not s.oracle and not is_partial(s, of_task)]
    return sorted(judged, key=lambda s: -metric.better * s.figures[metric.name].value)


def clear_winner(of_task: Sequence[Setting], metric: Metric) -> Setting | None:
    """The best, if the paired 95 % interval against every other excludes nought."""
    order = ranked(of_task, metric)
    if len(order) < 2:
        return None
    against = [compare(order[0], other, metric) for other in order[1:]]
    return order[0] if all(a is not None and a.verdict == "better" for a in against) else None


def few_and_many(settings: Sequence[Setting]) -> tuple[int, int] | None:
    """The budgets to compare: 200 and 2,000; else the largest with its tenth; else the largest and what is nearest.

    Few are those of S-ADT, where it ran.
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
    """S-ADT with few rollouts beside every method with many, at the same target.

    Methods that ask no reward have no target, and stand beside each. Without S-ADT every method meets itself.
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
    """A pair to show: not of two forms of S-ADT, but of one at both budgets; nor with the prior as what is many."""
    if few.oracle or many.oracle:
        return False
    same = (few.method, few.alpha) == (many.method, many.alpha)
    if not learned:
        return same and few.method != "prior"
    return is_learned(few.method) and (same or not is_learned(many.method))


def compared_metrics(kind: str, settings: Sequence[Setting]) -> list[Metric]:
    """Figures with a better direction that problems have one by one: the main one first."""
    have = {name for setting in settings for name in setting.scores}
    main = main_metric(settings, METRICS[kind]) if settings else None
    rest = [m for m in METRICS[kind] if m.better and m.name in have and m != main]
    return ([main] if main is not None and main.name in have else []) + rest


def shown_method(setting: Setting) -> str:
    """The method's name, an oracle's labelled as such."""
    return method_name(setting.method) + " (oracle)" * setting.oracle


def rollouts_of(budget: int) -> str:
    return f"{budget:,} rollout{'s' * (budget != 1)}"


def label(setting: Setting, axes: Sequence[str] = (), rollouts: bool = True) -> str:
    """The setting for a reader: its method, its rollouts and the axes that are named."""
    parts = [shown_method(setting)]
    if rollouts and setting.n_rollouts is not None:
        parts.append(rollouts_of(setting.n_rollouts))
    parts += [f"{AXES[axis]} {getattr(setting, axis):g}" for axis in axes if getattr(setting, axis) is not None]
    return ", ".join(parts)


def short_label(setting: Setting) -> str:
    """Method and budget alone."""
    return shown_method(setting) + (f" {setting.n_rollouts:,}" if setting.n_rollouts is not None else "")


def target_label(setting: Setting, axes: Sequence[str]) -> str:
    """The named axes alone."""
    return ", ".join(f"{AXES[a]} {getattr(setting, a):g}" for a in axes if getattr(setting, a) is not None)
