"""The search of the Kubernetes manifest is one that the program understands; those of the pages are in test_docs."""

import shlex
from pathlib import Path

import tyro
import yaml

from jobs.search_job import SearchJob

ROOT = Path(__file__).parents[2]


def test_the_search_of_the_manifest_is_understood_and_keeps_its_checkpoints_elsewhere():
    manifest = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text())
    words = shlex.split(manifest["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "jobs.search"]
    assert tyro.cli(SearchJob, args=words[3:]).execution.checkpoint_to is not None
