"""The parts of a sweep's page: sections with their controls, tables and places for charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sadt_ray.report.page import section
from sadt_ray.report.style import method_colours, method_name
from sadt_ray.report.sweep.cells import to_html
from sadt_ray.report.sweep.charts import ChartGroup
from sadt_ray.report.sweep.compare import by_task, is_partial, varied_axes
from sadt_ray.report.sweep.data import STATUSES, Sweep
from sadt_ray.report.sweep.metrics import AXES, CLUSTER_NAMES, KIND_NAMES, METRICS, REFERENCE
from sadt_ray.report.sweep.settings import Setting, main_metric
from sadt_ray.report.sweep.tables import few_many_table, leaderboard, task_table, unfinished

INTERVALS = "±: half-width of the 95 % interval, clustered: problems of one {unit}, and its seeds, count as one."
FILTER_NAMES = {"n_rollouts": "rollouts", **AXES}


def legend(settings: Sequence[Setting]) -> str:
    """One button per method that hides it in all charts."""
    methods = list(dict.fromkeys(s.method for s in settings))
    colours = method_colours(methods)
    buttons = [
        f'<button type="button" aria-pressed="true" data-method="{escape(method)}">'
        f'<i style="background:{colours[method]}"></i>{escape(method_name(method))}</button>'
        for method in methods
    ]
    return (
        f'<div class="legend" role="group" aria-label="Methods in the charts">{"".join(buttons)}</div>'
        if methods
        else ""
    )


def status_bar(sweep: Sweep) -> str:
    """The outcomes of the trials as shares of a bar."""
    total = max(len(sweep.trials), 1)
    parts = [
        f'<i class="{status}" style="width:{100 * count / total:.2f}%" title="{count} {status}"></i>'
        for status in STATUSES
        if (count := sweep.count(status))
    ]
    return f'<div class="status" aria-hidden="true">{"".join(parts)}</div>'


def board_section(sweep: Sweep, settings: Sequence[Setting], kind: str) -> str:
    """The leaderboard of one kind, with its controls."""
    mine = [s for s in settings if s.kind == kind]
    if not mine:
        return ""
    grid = leaderboard(sweep, settings, kind)
    choices = _options("task", [s.task for s in mine]) + _options("method", [s.method for s in mine])
    shown = f'<span class="shown" role="status">{len(mine)} settings</span>'
    same = _held(mine)
    note = INTERVALS.format(unit=CLUSTER_NAMES[kind].removesuffix("s"))
    note += " Bold: best of its task, its paired interval against every other row of the task excluding nought."
    note += " Click a head to sort; copy: the commands that repeat a row." + same
    partial = any(is_partial(s, of_task) for of_task in by_task(mine, kind).values() for s in of_task)
    note += " Rows in italics were scored on fewer problems: read them in paired differences only." * partial
    table = to_html(grid, "summary", sortable=True)
    board = f'<div class="board"><div class="controls">{choices}{shown}</div>{table}</div>'
    return section(f"Leaderboard: {KIND_NAMES[kind].lower()}", f'{board}<p class="quiet">{escape(note)}</p>')


def _options(by: str, values: Sequence[str]) -> str:
    shown = method_name if by == "method" else str
    options = "".join(f'<option value="{escape(v)}">{escape(shown(v))}</option>' for v in dict.fromkeys(values))
    return f'<label>{by} <select data-by="{by}"><option value="">all</option>{options}</select></label>'


def _held(settings: Sequence[Setting]) -> str:
    """The axes in which all settings agree, as one line instead of columns."""
    varied = varied_axes(settings)
    values = {axis: {getattr(s, axis) for s in settings} - {None} for axis in AXES if axis not in varied}
    said = [f"{AXES[axis]} = {next(iter(found)):g}" for axis, found in values.items() if found]
    return f" Throughout: {', '.join(said)}." if said else ""


def few_many_section(settings: Sequence[Setting], kind: str, group: ChartGroup | None) -> str:
    """Few rollouts against many: a chart of intervals, then the table."""
    grid = few_many_table(settings, kind)
    if grid is None:
        return ""
    key = (
        '<p class="quiet key">Paired over the same problems and seeds, with 95 % intervals. '
        '<b class="good">Green</b>: few is better. <b class="bad">Red</b>: worse. <b class="same">Blue</b>: equal, the '
        "whole interval being within 2 % of what many reach (scores out of one: 2 points), the grey band. Plain: "
        "the interval is too wide to say.</p>"
    )
    drawn = charts(group) if group is not None else ""
    title = f"{KIND_NAMES[kind]}: few rollouts against many"
    return section(title, drawn + key + to_html(grid, "summary plain pairs", sortable=True))


def charts(group: ChartGroup) -> str:
    """The elements for a group's charts, with their controls."""
    picks = _pick(group, "y", group.y) + _pick(group, "x", group.x)
    filters = "".join(_filter(group, axis, *told) for axis, told in group.filters.items())
    titles = [f"<h3>{escape(chart.title)}</h3>" * bool(chart.title) for chart in group.charts]
    places = "".join(
        f'<div>{title}<div class="chart" id="{group.name}-{k}"></div></div>' for k, title in enumerate(titles)
    )
    controls = f'<div class="controls">{picks}{filters}</div>' if picks or filters else ""
    return f'{controls}<div class="charts{" wide" * group.wide}">{places}</div>'


def _pick(group: ChartGroup, which: str, choices: dict[str, str]) -> str:
    if len(choices) < 2:
        return ""
    options = "".join(f'<option value="{escape(key)}">{escape(shown)}</option>' for key, shown in choices.items())
    name = "show" if which == "y" or len(group.y) < 2 else "against"
    return f'<label>{name} <select data-charts="{group.name}" data-pick="{which}">{options}</select></label>'


def _filter(group: ChartGroup, axis: str, values: list[float], first: float | None) -> str:
    marked = ["" if value != first else " selected" for value in values]
    options = "".join(f'<option value="{v:g}"{mark}>{v:g}</option>' for v, mark in zip(values, marked, strict=True))
    label = escape(FILTER_NAMES[axis])
    select = f'<select data-charts="{group.name}" data-filter="{axis}"><option value="">all</option>{options}</select>'
    return f"<label>{label} {select}</label>"


def chart_section(title: str, group: ChartGroup | None, note: str = "") -> str:
    said = f'<p class="quiet">{escape(note)}</p>' if note else ""
    return section(title, charts(group) + said) if group is not None else ""


def task_section(settings: Sequence[Setting], kind: str) -> str:
    """Methods by rollouts, one table per task."""
    tables = [
        f"<div><h3>{escape(task)}</h3>{to_html(task_table(of_task), 'summary plain')}</div>"
        for task, of_task in by_task(settings, kind).items()
        if main_metric(of_task, METRICS[kind]) is not None
    ]
    if not tables:
        return ""
    note = INTERVALS.format(unit=CLUSTER_NAMES[kind].removesuffix("s"))
    note += f" Below each: its paired difference to {method_name(REFERENCE[kind])}, where that ran."
    note += " Bold: best, and its paired interval against every other entry of the table excludes nought."
    joined = f'<div class="tables">{"".join(tables)}</div><p class="quiet">{escape(note)}</p>'
    return section(f"{KIND_NAMES[kind]}: methods by rollouts", joined)


def unfinished_section(sweep: Sweep) -> str:
    grid = unfinished(sweep)
    return (
        section("Trials without a whole result", to_html(grid, "summary plain trials", sortable=True))
        if grid is not None
        else ""
    )
