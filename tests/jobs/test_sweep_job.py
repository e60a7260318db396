"""A small sweep as a program of its own: on Ray Tune, with trials that fail and come back, to the page."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

REWARD = """
import os
from pathlib import Path

def moody(samples, problem):
    here = Path(__file__).parent
    if (here / "broken").exists():
        raise OSError("the scale is out of order")
    if not (here / "died").exists():
        (here / "died").touch()
        os._exit(1)
    return -abs(samples).mean(1)
"""
SEARCHES = ("--num-windows", "1", "--channels", "channel_6", "--no-report", "--reward")


def sweep(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jobs.sweep", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def trials(folder):
    return {row["name"]: row for row in json.loads((folder / "sweep" / "trials.json").read_text())["trials"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a sweep has run whose reward killed one trial's process at first, and raised in every one of another's."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "moods.py").write_text(REWARD)
    grid = ("--dataset", "synthetic", "--method", "snis", "dts", "--n-rollouts", 30, "--at-once", 1)
    flags = "--forecast-flags=" + " ".join([*SEARCHES, "moods:moody"])
    done = sweep(folder, *grid, flags, "--track", "tensorboard", "--retries", 1, "--out", "sweep")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


def test_a_trial_whose_process_dies_is_tried_again_and_the_sweep_ends_complete(folder):
    rows = trials(folder)
    assert [row["status"] for row in rows.values()] == ["complete", "complete"]
    assert sorted(row["attempts"] for row in rows.values()) == [1, 2]
    assert "2 trials: 2 complete" in (folder / "said").read_text()


def test_every_run_is_an_ordinary_run_directory_and_the_results_are_in_one_table(folder):
    table = pq.read_table(folder / "sweep" / "results.parquet").to_pylist()
    assert len(table) == 2
    for row in trials(folder).values():
        run = folder / "sweep" / row["run"]
        assert json.loads((run / "config.json").read_text())["search"]["method"] == [row["method"]]
        assert json.loads((run / "summary.json").read_text())["rows"][0]["rollouts"] == 30
    assert (folder / "sweep" / "report.html").stat().st_size > 100_000
    assert list((folder / "sweep").rglob("events.out.tfevents*"))


def test_trials_that_failed_are_reported_and_a_resumed_sweep_runs_them_again(folder):
    (folder / "broken").touch()
    grid = ("--dataset", "synthetic", "--method", "snis", "--n-rollouts", 30, "--retries", 0)
    flags = "--forecast-flags=" + " ".join([*SEARCHES, "moods:moody"])
    out = folder / "failing"
    failed = sweep(folder, *grid, flags, "--out", out)
    assert failed.returncode == 1
    assert "the scale is out of order" in failed.stdout
    row = json.loads((out / "trials.json").read_text())["trials"][0]
    assert (row["status"], row["attempts"]) == ("failed", 1)
    (folder / "broken").unlink()
    healed = sweep(folder, "--resume", out)
    assert healed.returncode == 0, healed.stdout + healed.stderr
    assert json.loads((out / "trials.json").read_text())["trials"][0]["status"] == "complete"
