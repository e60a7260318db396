"""The page of a sweep: one self-contained HTML file, and the same figures as CSV, Parquet and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from sadt_ray.report.packing import script_safe
from sadt_ray.report.page import folded
from sadt_ray.report.sweep.charts import (
    KIND_TITLES,
    ChartGroup,
    cost_charts,
    effect_charts,
    few_many_chart,
    node_chart,
)
from sadt_ray.report.sweep.compare import with_minus_reference
from sadt_ray.report.sweep.data import Sweep, read_sweep
from sadt_ray.report.sweep.files import write_files
from sadt_ray.report.sweep.headline import headline
from sadt_ray.report.sweep.metrics import AXES, KIND_NAMES
from sadt_ray.report.sweep.parts import (
    board_section,
    chart_section,
    few_many_section,
    legend,
    status_bar,
    task_section,
    unfinished_section,
)
from sadt_ray.report.sweep.settings import Setting, pool_settings
from sadt_ray.report.sweep.words import best_of_tasks, how_much

KINDS = tuple(KIND_NAMES)
MAX_NOTES = 12
"""Largest number of notes of runs, the most frequent first."""


def write_sweep_report(directory: Path) -> Path:
    """Write ``report.html`` and the tables of ``write_files`` into the directory of a sweep, from its files alone.

    Returns the page's path. Raises ValueError with what is missing in the directory.
    """
    sweep = read_sweep(Path(directory))
    settings = with_minus_reference(pool_settings(sweep))
    page = render_sweep_page(sweep, settings)
    write_files(sweep, settings)
    path = sweep.directory / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def render_sweep_page(sweep: Sweep, settings: Sequence[Setting]) -> str:
    """The page's HTML."""
    read = files("sadt_ray.report").joinpath
    costs = {kind: cost_charts(settings, kind) for kind in KINDS}
    few = {kind: few_many_chart(settings, kind) for kind in KINDS}
    effects = [group for kind in KINDS for group in effect_charts(settings, kind)]
    nodes = node_chart(sweep.nodes)
    groups = [group for group in (*costs.values(), *few.values(), *effects, nodes) if group is not None]
    return Template(read("sweep/page.html").read_text(encoding="utf-8")).substitute(
        style="".join(read(f"{name}.css").read_text(encoding="utf-8") for name in ("page", "sweep/page")),
        title=escape(f"Sweep: {sweep.directory.resolve().name}"),
        warnings="".join(f'<p class="warning">{escape(text)}</p>' for text in warnings(sweep, settings)),
        headline=escape(headline(settings)[0]),
        detail="".join(f'<p class="lead">{escape(sentence)}</p>' for sentence in headline(settings)[1:]),
        how_much=escape(how_much(sweep)),
        status_bar=status_bar(sweep),
        best="".join(_found(sentence) for sentence in best_of_tasks(settings)),
        facts=escape(_facts(sweep)),
        legend=legend(settings),
        boards="".join(board_section(sweep, settings, kind) for kind in KINDS),
        few_many="".join(few_many_section(settings, kind, few[kind]) for kind in KINDS),
        costs="".join(chart_section(KIND_TITLES[kind], costs[kind], _COST_NOTE) for kind in KINDS),
        tasks="".join(task_section(settings, kind) for kind in KINDS),
        effects="".join(_effect(group) for group in effects),
        unfinished=unfinished_section(sweep),
        nodes=chart_section("Nodes and trials over time", nodes),
        notes="".join(f"<li>{escape(note)}</li>" for note in _notes(sweep)),
        config=folded({**sweep.config, **_totals(sweep)}),
        charts=script_safe([_packed(group) for group in groups]),
        plotly=get_plotlyjs() if groups else "const Plotly = { react() {} };",
        script="\n".join(read(f"sweep/{part}.js").read_text(encoding="utf-8") for part in ("board", "charts")),
    )


_COST_NOTE = "Bars: 95 % intervals, clustered. A line joins the budgets of one method; open marks: fewer problems."
_HOW = (
    "A setting is what trials share that differ by their seed only. Its figures are means over problems and seeds.",
    "Settings are compared on problems and seeds that both have; rewards at the same spectral weight only.",
    "Intervals use Student's t, one degree less than there are clusters; with few clusters they are rough.",
    "Figures that single problems do not have (seconds, macro-F1, ECE) are means over seeds, with the runs' errors.",
    "Beside this page: results.csv and .parquet (a row a trial), settings.csv (a row a setting and figure), results.md",
)


def warnings(sweep: Sweep, settings: Sequence[Setting]) -> list[str]:
    """Warnings that appear above all numbers."""
    said = []
    if not sweep.complete:
        said.append("The sweep has not come to its end; what is here is what had been written.")
    lost = sum(sweep.results[t.name].damage is not None for t in sweep.trials if t.name in sweep.results)
    if lost:
        said.append(
            f"{lost} run{'s' * (lost != 1)} cannot be read, and {'are' if lost != 1 else 'is'} left out; see below."
        )
    tasks = {t.task for t in sweep.trials if t.name in sweep.results and sweep.results[t.name].stand_in}
    if tasks:
        named = ", ".join(sorted(tasks))
        said.append(f"The model is a stand-in, tiny and trained in minutes, not a published checkpoint: {named}.")
    oracles = sorted({s.task for s in settings if s.oracle})
    if oracles:
        said.append(f"Oracle: its reward reads the gold answer, a ceiling and never a result: {', '.join(oracles)}.")
    return said


def _notes(sweep: Sweep) -> list[str]:
    """Notes of the sweep and its runs, and an explanation of the figures."""
    runs = sweep.run_notes()
    told = [f"{note} ({count} run{'s' * (count != 1)})" for note, count in runs[:MAX_NOTES]]
    more = [f"{len(runs) - MAX_NOTES} more notes stand on the pages of single runs."] * (len(runs) > MAX_NOTES)
    return [*sweep.notes, *told, *more, *_HOW]


def _found(sentence: str) -> str:
    task, _, rest = sentence.partition(": ")
    return f"<li><b>{escape(task)}</b>: {escape(rest)}</li>"


def _effect(group: ChartGroup) -> str:
    axis = next(iter(group.x))
    kind = group.name.rsplit("-", 1)[1]
    return chart_section(
        f"{KIND_NAMES[kind]}: what {AXES[axis]} does", group, "A line joins settings that differ in it alone."
    )


def _facts(sweep: Sweep) -> str:
    """The origin of the numbers in one line: command, machine, commit."""
    environment = sweep.config.get("environment") or {}
    named = [f"{key} {environment[key]}" for key in ("cpu", "cores", "gpu", "commit") if environment.get(key)]
    return " · ".join([str(sweep.config["command"])] * ("command" in sweep.config) + named)


def _totals(sweep: Sweep) -> dict[str, object]:
    return {"seconds": sweep.seconds, "trials": len(sweep.trials)}


def _packed(group: ChartGroup) -> dict[str, object]:
    return {"name": group.name, "x": group.x, "y": group.y, "charts": [{"figure": c.figure} for c in group.charts]}
