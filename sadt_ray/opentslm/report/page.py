"""The page of a stage run: results and costs, and each question with its answers, reasons and tree."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from sadt_ray.opentslm.report.data import StageRun, read_stage_run
from sadt_ray.opentslm.report.examples import MAX_QUESTIONS, pack_examples
from sadt_ray.opentslm.report.plots import stage_figures
from sadt_ray.opentslm.report.words import headline, main_metric, stage_table
from sadt_ray.report.page import busy_sections, folded, inline_svg, section
from sadt_ray.report.plots import WIDTH
from sadt_ray.report.throughput import throughput_chart
from sadt_ray.report.timeline import timeline_chart

_SCRIPTS = ("data", "draw", "tree", "view")
_KINDS = ("accuracy_tokens", "reliability", "entropy", "throughput", "timeline")


def write_stage_report(run_dir: Path) -> Path:
    """Write ``report.html`` and ``plots/*.png`` into the directory of a stage run, from its files alone.

    Returns the path of the page. Raises ValueError naming what is missing in the directory.
    """
    run = read_stage_run(Path(run_dir))
    while_running = {"throughput": throughput_chart(run, WIDTH), "timeline": timeline_chart(run, WIDTH)}
    figures = stage_figures(run) | {name: figure for name, figure in while_running.items() if figure is not None}
    pictures = run.directory / "plots"
    pictures.mkdir(exist_ok=True)
    for kind in _KINDS:
        (pictures / f"{kind}.png").unlink(missing_ok=True)  # an earlier report may have had more figures
    for name, figure in figures.items():
        figure.savefig(pictures / f"{name}.png", facecolor="white")
        figure.set_layout_engine("none")  # keep the layout: computing it again for the page would double the time
    page = run.directory / "report.html"
    page.write_text(render_stage_page(run, figures), encoding="utf-8")
    return page


def render_stage_page(run: StageRun, figures: dict[str, Figure]) -> str:
    """The HTML of the page."""
    read, shared = files("sadt_ray.opentslm.report").joinpath, files("sadt_ray.report").joinpath
    svg = {name: inline_svg(figure, name) for name, figure in figures.items()}
    found, detail = headline(run)
    unit = "Accuracy" if main_metric(run) == "accuracy" else "Quality"
    titles = {
        "accuracy_tokens": f"{unit} against cost",
        "reliability": "Can its confidence be believed?",
        "entropy": "Where a text decides its answer",
    }
    parts = {name: section(title, svg[name]) if name in svg else "" for name, title in titles.items()}
    return Template(read("page.html").read_text(encoding="utf-8")).substitute(
        style=shared("page.css").read_text(encoding="utf-8") + read("page.css").read_text(encoding="utf-8"),
        title=escape(f"Stage {run.search['stage']}: {run.directory.name}" + ", stand-in" * run.stand_in),
        warnings="".join(f'<p class="warning">{escape(text)}</p>' for text in warnings(run)),
        headline=escape(found),
        detail=escape(detail),
        facts=escape(_facts(run)),
        table=stage_table(run),
        notes="".join(f"<li>{escape(note)}</li>" for note in run.notes),
        accuracy=parts["accuracy_tokens"],
        reliability=parts["reliability"],
        entropy=parts["entropy"],
        examples=section("Questions, answers, trees", _examples(run)) if run.answered else "",
        throughput=busy_sections(run, svg),
        config=folded(run.config),
    )


def warnings(run: StageRun) -> list[str]:
    """Warnings at the top of the page: a stand-in, an oracle, or an unfinished run."""
    said = []
    if run.stand_in:
        said.append("The model is a stand-in, tiny and trained in minutes: not a published OpenTSLM checkpoint.")
    if run.oracles:
        names = ", ".join(run.shown(method) for method in run.methods if method in run.oracles)
        said.append(f"Oracle: the reward of {names} reads the gold answer. Its figures are a ceiling, never a result.")
    if not run.complete:
        said.append("The run did not come to its end; what is here is what it had written.")
    return said


def _examples(run: StageRun) -> str:
    read = files("sadt_ray.opentslm.report").joinpath
    known = len(run.questions)
    note = "" if known <= MAX_QUESTIONS else f"{MAX_QUESTIONS} of {known} questions; the table and figures hold all."
    markup = read("answer_view.html").read_text(encoding="utf-8")
    script = "\n".join(read(f"answer_{part}.js").read_text(encoding="utf-8") for part in _SCRIPTS)
    data = f'<script type="application/octet-stream" id="answers-data">{pack_examples(run)}</script>'
    return f'<p class="quiet">{note}</p>{markup}\n{data}\n<script>\n(() => {{\n{script}}})();\n</script>\n'


def _facts(run: StageRun) -> str:
    """The origin of the numbers in one line: model, reward, command, machine, commit."""
    search, environment = run.search, run.config.get("environment") or {}
    named = [f"{key} {environment[key]}" for key in ("cpu", "cores", "gpu", "commit") if environment.get(key)]
    model = f"checkpoint {search.get('checkpoint') or 'stand-in'}"
    reward = [f"reward {search['reward']}"] if search.get("reward") else []
    lam = [f"inverse temperature {search['inv_temperature']}"] if search.get("inv_temperature") is not None else []
    command = [str(run.config["command"])] if "command" in run.config else []
    return " · ".join([*command, model, *reward, *lam, f"{len(run.questions)} questions", *named])
