"""The searches that the manifest and the page on clusters tell people to run are ones that the program understands."""

import re
import shlex
from pathlib import Path

import pytest
import tyro
import yaml

from jobs.search_job import SearchJob

ROOT = Path(__file__).parents[2]


def searches_of_the_page():
    """The arguments of every jobs.search in a block of shell commands."""
    page = (ROOT / "docs/cluster.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if "python -m jobs.search" in line:
                yield shlex.split(line.partition("jobs.search")[2], comments=True)


def search_of_the_manifest():
    manifest = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())
    return shlex.split(manifest["spec"]["entrypoint"])[3:]


SEARCHES = [search_of_the_manifest(), *searches_of_the_page()]


@pytest.mark.parametrize("arguments", SEARCHES, ids=" ".join)
def test_a_search_that_people_are_told_to_run_is_understood(arguments):
    tyro.cli(SearchJob, args=arguments)


def test_all_searches_are_found():
    assert len(SEARCHES) >= 6
