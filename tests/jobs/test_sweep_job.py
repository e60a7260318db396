"""A small sweep as a program of its own: on Ray Tune, with trials that fail and come back, to the page."""

import json
import os
import subprocess
import sys
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

REWARD = """
import os
from pathlib import Path

def moody(samples, problem):
    here = Path(__file__).parent
    if not (here / "died").exists():
        (here / "died").touch()
        os._exit(1)
    first_ended = any(here.glob("sweep/runs/*/summary.json"))
    if first_ended and not (here / "mended").exists():
        raise OSError("the scale is out of order")
    return -abs(samples).mean(1)
"""
SEARCHES = ("--num-windows", "1", "--channels", "channel_6", "--no-report", "--reward")

pytestmark = pytest.mark.timeout(900)  # a guard: a sweep starts several processes


def sweep(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jobs.sweep", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=800)


def trials(folder):
    return json.loads((folder / "sweep" / "trials.json").read_text())["trials"]


class Swept(NamedTuple):
    """What a sweep printed and held at its end, and what it printed when it was resumed."""

    said: str
    held: dict
    said_when_resumed: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "moods.py").write_text(REWARD)
    return folder


@pytest.fixture(scope="module")
def swept(folder):
    """A sweep whose reward killed the process of its first trial once, and raised in the second until it resumed."""
    grid = ("--dataset", "synthetic", "--method", "snis", "dts", "--n-rollouts", 30, "--at-once", 1)
    flags = "--forecast-flags=" + " ".join([*SEARCHES, "moods:moody"])
    first = sweep(folder, *grid, flags, "--track", "tensorboard", "--retries", 1, "--out", "sweep")
    assert first.returncode == 1, first.stdout + first.stderr
    held = {row["method"]: row for row in trials(folder)}
    (folder / "mended").touch()
    resumed = sweep(folder, "--resume", "sweep")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    return Swept(first.stdout, held, resumed.stdout)


def test_a_trial_whose_process_dies_is_tried_again(swept):
    assert (swept.held["snis"]["status"], swept.held["snis"]["attempts"]) == ("complete", 2)


def test_trials_that_failed_are_reported_and_a_resumed_sweep_runs_them_again(swept, folder):
    assert "the scale is out of order" in swept.said
    assert "2 trials: 1 complete, 1 failed" in swept.said
    assert (swept.held["dts"]["status"], swept.held["dts"]["attempts"]) == ("failed", 2)
    assert [row["status"] for row in trials(folder)] == ["complete", "complete"]
    assert "2 trials: 2 complete" in swept.said_when_resumed


@pytest.mark.usefixtures("swept")
def test_every_run_is_an_ordinary_run_directory_and_the_results_are_in_one_table(folder):
    table = pq.read_table(folder / "sweep" / "results.parquet").to_pylist()
    assert len(table) == 2
    for row in trials(folder):
        run = folder / "sweep" / row["run"]
        assert json.loads((run / "config.json").read_text())["search"]["method"] == [row["method"]]
        assert json.loads((run / "summary.json").read_text())["rows"][0]["rollouts"] == 30
    assert (folder / "sweep" / "report.html").stat().st_size > 100_000
    assert list((folder / "sweep").rglob("events.out.tfevents*"))
