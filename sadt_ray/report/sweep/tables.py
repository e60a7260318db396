"""The tables of a sweep: the leaderboard, one of methods by rollouts for each task, few rollouts against many."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from sadt_ray.report.style import method_colours
from sadt_ray.report.sweep.cells import Cell, Grid, cost_cell, metric_cell, paired_cell
from sadt_ray.report.sweep.compare import (
    by_task,
    clear_winner,
    compared_metrics,
    few_against_many,
    is_partial,
    label,
    minus_reference,
    rollouts_of,
    short_label,
    shown_method,
    target_label,
    varied_axes,
)
from sadt_ray.report.sweep.data import Sweep
from sadt_ray.report.sweep.metrics import AXES, CLUSTER_NAMES, COSTS, METRICS, REFERENCE, Metric
from sadt_ray.report.sweep.settings import Paired, Setting, compare, main_metric
from sadt_ray.report.sweep.words import decimal, plus_minus

LEADING = 2
"""Figures before the costs: the main one, and its difference to the reference."""
MAX_LINKS = 8
"""Largest number of runs of a setting that its row links to."""


def leaderboard(sweep: Sweep, settings: Sequence[Setting], kind: str) -> Grid:
    """One row per setting of the kind, best first within each task, with all figures that a setting has."""
    tasks = by_task(settings, kind)
    mine = [setting for of_task in tasks.values() for setting in _ordered(of_task)]
    axes = varied_axes(mine)
    metrics, costs = ([m for m in known[kind] if any(m.name in s.figures for s in mine)] for known in (METRICS, COSTS))
    columns = [*metrics[:LEADING], *costs, *metrics[LEADING:]]
    best = {task: clear_winner(of_task, m) if (m := _main(of_task)) else None for task, of_task in tasks.items()}
    colours = method_colours(dict.fromkeys(s.method for s in settings))
    rows = []
    for s in mine:
        named = [Cell(s.task, sort=s.task), _method_cell(s, colours), _plain_number(s.n_rollouts)]
        named += [_plain_number(getattr(s, axis)) for axis in axes]
        figures = [_figure_cell(m, s, is_best=s is best[s.task] and m == _main(tasks[s.task])) for m in columns]
        rows.append([*named, *figures, _count_cell(s, is_partial(s, tasks[s.task])), _runs_cell(sweep, s)])
    head = ["task", "method", "rollouts", *(AXES[axis] for axis in axes), *(m.shown for m in columns)]
    data = [{"task": s.task, "method": s.method} for s in mine]
    return Grid([*head, "scored on", "runs"], rows, ("runs",), data)


def _figure_cell(metric: Metric, setting: Setting, is_best: bool) -> Cell:
    """A cell: costs without an interval, all other figures with one."""
    return cost_cell(metric, setting) if metric in COSTS[setting.kind] else metric_cell(metric, setting, is_best)


def _main(of_task: Sequence[Setting]) -> Metric | None:
    return main_metric(of_task, METRICS[of_task[0].kind])


def _ordered(of_task: Sequence[Setting]) -> list[Setting]:
    """Sort by the main figure, best first; complete settings before partial ones, and unscored ones last."""
    main = _main(of_task)
    if main is None:
        return list(of_task)
    inf = float("inf")

    def place(s: Setting) -> tuple[bool, float]:
        value = s.figures[main.name].value if main.name in s.figures else inf * -main.better
        return is_partial(s, of_task), -main.better * value

    return sorted(of_task, key=place)


def _method_cell(setting: Setting, colours: dict[str, str]) -> Cell:
    name = shown_method(setting)
    return Cell(name, sort=name, kind="text method", colour=colours[setting.method])


def _plain_number(value: float | None) -> Cell:
    return Cell("–") if value is None else Cell(f"{value:,}" if isinstance(value, int) else f"{value:g}", sort=value)


def _count_cell(setting: Setting, partial: bool) -> Cell:
    """Numbers of problems, seeds and independent clusters."""
    main = _main([setting])
    clusters = setting.figures[main.name].clusters if main else 0
    seeds = f"{len(setting.seeds)} seed{'s' * (len(setting.seeds) != 1)}"
    text = f"{len(setting.problems):,} × {seeds}"
    below = _counted(clusters, setting.kind) + ", stopped early" * setting.stopped
    below += ", not all problems" * (partial and not setting.stopped)
    return Cell(text, below=below, sort=len(setting.problems) * len(setting.seeds), kind="partial" * partial)


def _runs_cell(sweep: Sweep, setting: Setting) -> Cell:
    """Links to the pages of the runs, if they exist, and the commands that repeat them."""
    links = []
    for trial in setting.trials[:MAX_LINKS]:
        page = sweep.results[trial.name].page
        title = escape(trial.name)
        shown = f"seed {trial.seed}" if len(setting.trials) == 1 else str(trial.seed)
        links.append(
            f'<a href="{escape(quote(page))}" title="{title}">{shown}</a>' if page else f"<span>{shown}</span>"
        )
    commands = "\n".join(trial.command for trial in setting.trials if trial.command)
    repeat = _repeat(commands) if commands else ""
    return Cell(html=f'<span class="runs">{" ".join(links)} {repeat}</span>')


def task_table(of_task: Sequence[Setting]) -> Grid:
    """Methods by rollouts: the task's main figure, and below it the paired difference to the reference."""
    main = _main(of_task)
    assert main is not None, "only tasks with a main figure have a table"
    scored = [s for s in of_task if main.name in s.figures]
    axes, winner = varied_axes(scored), clear_winner(scored, main)
    budgets = sorted({s.n_rollouts for s in scored}, key=lambda n: n or 0)
    colours = method_colours(dict.fromkeys(s.method for s in of_task))
    rows: dict[str, list[Cell]] = {}
    for s in scored:
        name = label(s, axes, rollouts=False)
        row = rows.setdefault(name, [Cell(name, colour=colours[s.method]), *[Cell("")] * len(budgets)])
        row[1 + budgets.index(s.n_rollouts)] = _task_cell(s, scored, main, s is winner)
    head = [main.shown, *("–" if n is None else rollouts_of(n) for n in budgets)]
    return Grid(head, list(rows.values()))


def _task_cell(setting: Setting, of_task: Sequence[Setting], main: Metric, best: bool) -> Cell:
    versus = minus_reference(setting, of_task, main)
    below = f"{difference(versus)} vs {REFERENCE[setting.kind]}" if versus is not None else ""
    partial = is_partial(setting, of_task)
    below += f"{'; ' * bool(below)}only {len(setting.problems):,} problems" * partial
    cell = metric_cell(main, setting, best, below)
    return Cell(cell.text, cell.error, cell.below, cell.sort, "partial" if partial else cell.kind)


def difference(paired: Paired) -> str:
    """A paired difference with its interval."""
    return decimal(paired.metric, paired.difference.value, signed=True) + plus_minus(paired.metric, paired.difference)


def few_many_table(settings: Sequence[Setting], kind: str) -> Grid | None:
    """Few rollouts minus many, paired, in every figure with a better direction; None without pairs."""
    pairs = [(few, many) for of_task in by_task(settings, kind).values() for few, many in few_against_many(of_task)]
    if not pairs:
        return None
    involved = list({id(s): s for pair in pairs for s in pair}.values())
    metrics, axes, cost = compared_metrics(kind, involved), varied_axes(involved), COSTS[kind][0]
    rows = []
    for few, many in pairs:
        cells = [Cell(few.task, below=target_label(few, [axis for axis in axes if axis != "alpha"]), sort=few.task)]
        cells += [
            Cell(short_label(s), below=target_label(s, [a for a in axes if a == "alpha"]), kind="text")
            for s in (few, many)
        ]
        found = [compare(few, many, metric) for metric in metrics]
        cells += [_share_cell(few, many, cost), *(paired_cell(p, _wins(p, kind)) for p in found)]
        rows.append(cells)
    share = f"share of {cost.shown.partition('/')[0]}"
    return Grid(["task", "few", "minus many", share, *(metric.shown for metric in metrics)], rows)


def _wins(paired: Paired | None, kind: str) -> str:
    if paired is None:
        return ""
    ties = f", {paired.ties} alike" if paired.ties else ""
    return f"{paired.wins} of {_counted(paired.difference.clusters, kind)}{ties}"


def _counted(clusters: int, kind: str) -> str:
    name = CLUSTER_NAMES[kind]
    return f"{clusters:,} {name.removesuffix('s') if clusters == 1 else name}"


def _share_cell(few: Setting, many: Setting, cost: Metric) -> Cell:
    if not all(cost.name in s.figures for s in (few, many)) or not many.figures[cost.name].value:
        return Cell("–")
    share = few.figures[cost.name].value / many.figures[cost.name].value
    return Cell(f"{100 * share:.0f}\u00a0%" if share >= 0.01 else f"{100 * share:.1g}\u00a0%", sort=share)


def unfinished(sweep: Sweep) -> Grid | None:
    """Trials that failed, were stopped, have not ended, or have damaged files; None if there are none."""
    rows = []
    for trial in sweep.trials:
        damage = sweep.results[trial.name].damage if trial.name in sweep.results else None
        if trial.status == "complete" and damage is None:
            continue
        status = (
            "files damaged" if damage is not None else "stopped early" if trial.status == "stopped" else trial.status
        )
        said = Cell(damage or trial.error or "", kind="text wrap")
        cells = [Cell(trial.name, sort=trial.name), Cell(status, sort=status, kind=f"text {trial.status}")]
        command = Cell(html=_repeat(trial.command)) if trial.command else Cell("–")
        rows.append([*cells, Cell(f"{trial.attempts}", sort=trial.attempts), said, command])
    order = ("failed", "files damaged", "stopped early", "running", "pending")
    rows.sort(key=lambda row: order.index(row[1].text))
    return Grid(["trial", "status", "attempts", "what it said", "repeat"], rows, ("repeat",)) if rows else None


def _repeat(commands: str) -> str:
    said = f'title="copy the command" data-command="{escape(commands)}"'
    return f'<button type="button" class="copy" {said}>copy</button>'
