"""The searches and sweeps that the manifest and the documents tell people to run are understood."""

import re
import shlex
from pathlib import Path

import pytest
import tyro
import yaml

from jobs.search import asks_a_stage
from jobs.search_job import SearchJob
from jobs.stages.job import StageJob
from jobs.sweep import parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs/how-to").glob("*.md"))]


def commands_of_the_pages(program):
    """The arguments of a program wherever a block of shell commands runs it."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if f"python -m {program} " in line:
                    yield shlex.split(line.partition(program)[2], comments=True)


def search_of_the_manifest():
    manifest = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())
    return shlex.split(manifest["spec"]["entrypoint"])[3:]


SEARCHES = [search_of_the_manifest(), *commands_of_the_pages("jobs.search")]
SWEEPS = [arguments for arguments in commands_of_the_pages("jobs.sweep") if "--resume" not in arguments]


@pytest.mark.parametrize("arguments", [words for words in SEARCHES if "--help" not in words], ids=" ".join)
def test_a_search_that_people_are_told_to_run_is_understood(arguments):
    tyro.cli(StageJob if asks_a_stage(arguments) else SearchJob, args=arguments)


@pytest.mark.parametrize("arguments", SWEEPS, ids=" ".join)
def test_a_sweep_that_people_are_told_to_run_has_trials(arguments):
    job, _ = parse(arguments)
    assert len(job.trials()) > 1


def test_all_commands_are_found():
    assert len(SEARCHES) >= 20
    assert len(SWEEPS) >= 5
