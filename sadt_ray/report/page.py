"""The report of a run: one self-contained HTML page, without network and other files, in light or dark colours."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sadt_ray.report import plots
from sadt_ray.report.style import HAIR, INK, SOFT
from sadt_ray.report.summary_table import headline, summary_table
from sadt_ray.report.throughput import KeepsTime, throughput_chart, throughput_text
from sadt_ray.report.timeline import timeline_chart, timeline_text
from sadt_ray.report.tree.page import tree_section
from sadt_ray.runs.read import Run, read_run

MAX_PROBLEMS = 8
"""Largest number of problems with their own figures; more would make the page slow."""
_NOTHING = '<p class="quiet">No sample has any weight.</p>'
_OPTIONAL = ("fan_*", "psd_*", "progress", "throughput", "timeline")


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` and ``plots/*.png`` into a run directory, from its files alone. Returns the page's path.

    Raises ValueError with the name of a missing file.
    """
    run = _with_weight(read_run(Path(run_dir)))
    shown = [problem for problem in run.problems if any(owner == problem for _, owner in run.samples)]
    figures = draw_figures(run, shown[:MAX_PROBLEMS])
    pictures = run.directory / "plots"
    pictures.mkdir(exist_ok=True)
    for stale in [path for kind in _OPTIONAL for path in pictures.glob(f"{kind}.png")]:
        stale.unlink()  # an earlier report may have had more problems
    for name, figure in figures.items():
        figure.savefig(pictures / f"{name}.png", facecolor="white")
        figure.set_layout_engine("none")  # keep the layout; computing it again for the page would double the time
    page = run.directory / "report.html"
    page.write_text(render_page(run, figures, shown), encoding="utf-8")
    return page


def _with_weight(run: Run) -> Run:
    """The run without samples of no weight: where nothing satisfies the reward, there is nothing to draw."""
    samples = {key: found for key, found in run.samples.items() if found.weight.any()}
    methods = {method for method, _ in samples}
    return replace(run, samples=samples, figures={key: each for key, each in run.figures.items() if key[0] in methods})


def draw_figures(run: Run, problems: list[str]) -> dict[str, Figure]:
    """All figures by file name. The name of a problem's figure ends with the problem's number."""
    figures = {}
    if run.samples:
        figures = {
            "psd_ratio": plots.psd_ratio_chart(run),
            "rewards": plots.reward_histogram(run),
            "reward_nfe": plots.reward_cost_chart(run),
        }
    for index, problem in enumerate(problems):
        figures[f"fan_{index:02d}"] = plots.fan_chart(run, problem)
        figures[f"psd_{index:02d}"] = plots.psd_chart(run, problem)
    while_running = {
        "progress": plots.progress_chart(run),
        "throughput": throughput_chart(run, plots.WIDTH),
        "timeline": timeline_chart(run, plots.WIDTH),
    }
    return figures | {name: figure for name, figure in while_running.items() if figure is not None}


def render_page(run: Run, figures: dict[str, Figure], problems: list[str]) -> str:
    """The page's HTML."""
    read = files("sadt_ray.report").joinpath
    pictured = problems[:MAX_PROBLEMS]
    grown = list(dict.fromkeys([*run.methods, *(method for method, _ in run.trees)]))
    trees = {(m, p): run.trees[m, p] for m in grown for p in pictured if (m, p) in run.trees}
    svg = {name: inline_svg(figure, name) for name, figure in figures.items()}
    found, detail = headline(run.rows, [method for method, _ in run.trees])
    return Template(read("page.html").read_text(encoding="utf-8")).substitute(
        style=read("page.css").read_text(encoding="utf-8"),
        script=read("page.js").read_text(encoding="utf-8"),
        title=escape(f"Search report: {run.directory.name}"),
        headline=escape(found),
        detail=escape(detail),
        facts=escape(_facts(run)),
        table=summary_table(run.rows),
        notes="".join(f"<li>{escape(note)}</li>" for note in run.notes),
        problem_options="".join(f'<option value="{k:02d}">{escape(name)}</option>' for k, name in enumerate(pictured)),
        problem_note=escape(_problem_note(len(pictured), len(problems))),
        problem_figures="".join(_problem_figures(svg, k) for k in range(len(pictured))),
        psd_ratio=svg.get("psd_ratio", _NOTHING),
        rewards=svg.get("rewards", _NOTHING),
        reward_nfe=svg.get("reward_nfe", _NOTHING),
        progress=section("While it ran", svg["progress"]) if "progress" in svg else "",
        throughput=busy_sections(run, svg),
        tree=section("The tree", tree_section(trees, run.samples, run.problems)) if trees else "",
        config=folded(run.config),
    )


def inline_svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element with text as text, greys of the page's theme, and unique ids."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    for colour, variable in ((INK, "--ink"), (SOFT, "--soft"), (HAIR, "--hair")):
        svg = svg.replace(colour, f"var({variable})")
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None, "matplotlib writes a viewBox"
    return f'<svg class="figure" role="img" {view_box.group()}{svg[svg.index(">") :]}'


def _problem_figures(svg: dict[str, str], index: int) -> str:
    hidden = "" if index == 0 else " hidden"
    pictures = svg[f"fan_{index:02d}"] + svg[f"psd_{index:02d}"]
    return f'<div class="problem" data-problem="{index:02d}"{hidden}>{pictures}</div>'


def _problem_note(pictured: int, known: int) -> str:
    if pictured == known:
        return ""
    return f"The first {pictured} of {known} problems; the table and the figures over all problems hold every one."


def _facts(run: Run) -> str:
    """The origin of the numbers in one line: command, machine, commit."""
    environment = run.config.get("environment", {})
    named = [f"{key} {environment[key]}" for key in ("cpu", "cores", "gpu", "commit") if environment.get(key)]
    count = len({problem for _, problem in run.samples})
    size = f"{count} problem{'s' if count != 1 else ''}, {sum(len(s.weight) for s in run.samples.values()):,} samples"
    command = [str(run.config["command"])] if "command" in run.config else []
    return " · ".join([*command, size, *named])


def busy_sections(run: KeepsTime, svg: Mapping[str, str]) -> str:
    """The sections on throughput and on batches in flight, if their figures exist."""
    parts = (
        ("throughput", "Throughput", throughput_text),
        ("timeline", "What was in flight", timeline_text),
    )
    return "".join(section(title, svg[name] + _notes(text(run))) for name, title, text in parts if name in svg)


def _notes(texts: Iterable[str]) -> str:
    return f'<ul class="notes">{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul>'


def section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def folded(value: Any) -> str:
    """Nested mappings as nested lists of name and value; lists of plain values on one line."""
    if isinstance(value, dict):
        items = "".join(f"<dt>{escape(str(key))}</dt><dd>{folded(entry)}</dd>" for key, entry in value.items())
        return f"<dl>{items}</dl>"
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return "".join(folded(entry) for entry in value)
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return escape(text)
