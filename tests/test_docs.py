"""The pages hold what they promise: links lead somewhere, Python compiles, commands are understood, HTML builds."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import tyro
import yaml

import sadt_ray
from jobs.bench import questions
from jobs.condition import ConditionJob
from jobs.search_job import SearchJob
from jobs.stage_job import StageJob
from jobs.sweep import parse
from sadt_ray import parse_condition

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
API = TEXTS["docs/api/index.md"]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text):
    """As GitHub and the builder name headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(text):
    """Relative ones, of text outside code."""
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def commands(program):
    """The arguments of every ``python -m PROGRAM`` in a block of shell commands."""
    for text in TEXTS.values():
        for block in blocks(text, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if f"python -m {program}" in line:
                    yield shlex.split(line.partition(program)[2], comments=True)


@pytest.mark.parametrize("name", TEXTS)
def test_relative_links_lead_to_files_and_headings(name):
    for link in links(TEXTS[name]):
        where, _, heading = link.partition("#")
        target = (ROOT / name).parent / where if where else ROOT / name
        assert target.is_file(), link
        assert not heading or heading in anchors(target.read_text()), link


def test_python_in_the_pages_compiles():
    found = [(name, block) for name, text in TEXTS.items() for block in blocks(text, "python")]
    assert len(found) >= 5
    for name, block in found:
        compile(block, name, "exec")


def test_what_python_in_the_pages_imports_exists():
    for text in TEXTS.values():
        for block in blocks(text, "python"):
            for module, names in re.findall(
                r"^from ((?:sadt_ray|actors|jobs|benchmarks)[\w.]*) import (.*)$", block, re.MULTILINE
            ):
                for name in names.split(","):
                    assert hasattr(importlib.import_module(module), name.strip()), (module, name)


@pytest.mark.parametrize("arguments", [*commands("jobs.search")], ids=" ".join)
def test_a_search_of_the_pages_is_understood(arguments):
    if "--help" not in arguments:
        tyro.cli(StageJob if "--stage" in arguments else SearchJob, args=arguments)


@pytest.mark.parametrize("arguments", [*commands("jobs.condition")], ids=" ".join)
def test_a_condition_of_the_pages_is_understood_and_its_forecast_is_there(arguments):
    job = tyro.cli(ConditionJob, args=arguments)
    assert (ROOT / job.forecast).is_file()
    parse_condition(job.given)


@pytest.mark.parametrize("arguments", [*commands("jobs.sweep")], ids=" ".join)
def test_a_sweep_of_the_pages_is_understood(arguments):
    if "--resume" not in arguments:
        job, _ = parse(arguments)
        assert len(job.trials()) > 1


def test_a_bench_of_the_pages_exists():
    named = {arguments[0] for arguments in commands("jobs.bench")}
    named |= set(re.findall(r"`python -m jobs\.bench (\w+)`", "".join(TEXTS.values())))
    assert len(named) > 15
    assert named <= set(questions())


def test_every_public_name_is_in_the_reference():
    modules = set(re.findall(r"automodule:: ([\w.]+)", API))
    missing = {name: home for name, home in sadt_ray._HOME.items() if home not in modules}
    assert not missing


def test_every_page_is_in_the_table_of_contents():
    index = TEXTS["docs/index.md"]
    listed = {line for block in re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL) for line in block.split("\n")}
    assert listed >= {name[len("docs/") : -len(".md")] for name in TEXTS if name.startswith("docs/")} - {"index"}


def test_the_readme_begins_with_a_sentence_a_figure_ten_lines_and_two_commands():
    first = TEXTS["README.md"].partition("\n## ")[0]
    (code,), (shell,) = blocks(first, "python"), blocks(first, "sh")
    assert len(code.splitlines()) <= 10
    assert [line.partition("#")[0].strip() for line in shell.splitlines()] == ["make search", "make test"]
    assert first.count("![") == 1
    assert len(first.splitlines()) < 30


def test_the_citation_names_this_version_and_the_papers():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert [each["year"] for each in cited["references"]] == [2025, 2025]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("sphinx") is None, reason="the extra docs is not installed")
def test_the_pages_and_the_reference_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = re.sub(r"<[^>]+>", "", (tmp_path / "api/index.html").read_text())
    assert "Weighted samples of p(x_0 | c) exp(lambda r(x_0)) / Z for every problem" in page
