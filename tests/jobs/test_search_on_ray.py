"""``python -m jobs.search`` on Ray, as a user starts it: killed, stopped, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import search
from sadt_ray.runs.lock import only_writer
from sadt_ray.trajectories import read_trajectories

TINY = ("--dataset", "synthetic", "--num-windows", "1", "--channels", "channel_6", "--method", "dts", "--no-report")
SLOW = """
import time
from pathlib import Path
import numpy as np

def reward(samples, problem):
    # takes its time until a file says that there is no more need to
    if not Path(__file__).with_name("hurry").exists():
        time.sleep(0.1)
    return -np.abs(samples).mean(1)
"""


@pytest.fixture
def folder(tmp_path):
    """Where the user stands: their reward is a module beside them."""
    (tmp_path / "slow.py").write_text(SLOW)
    yield tmp_path
    sys.modules.pop("slow", None)


def start(folder, *arguments):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "RAY_memory_monitor_refresh_ms": "0", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "jobs.search", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run_here(monkeypatch, *arguments):
    """Exit code of the program in this process, which has loaded everything, or what it refuses."""
    monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        search.main()
    return " ".join(str(ended.value).split())


def wait_until(condition, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def finish(process, code=0):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    return output


def simulations(run):
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return json.loads(lines[-1])["simulations"] if lines else 0


def test_a_killed_search_resumes_to_the_same_total_and_a_stopped_one_too(folder, monkeypatch):
    """SIGKILL, then SIGTERM as ``ray job stop`` sends it, then to the end without Ray."""
    run = folder / "run"
    slow = ("--reward", "slow:reward", "--n-rollouts", 4_000, "--checkpoint-seconds", 0.3, "--num-workers", 1)
    first = start(folder, *TINY, *slow, "--executor", "ray", "--out", run)
    wait_until(lambda: len(list(run.glob("checkpoints/dts/*.safetensors"))) > 1 and simulations(run) > 100)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with only_writer(run):  # the owner outlives its driver for a moment
        killed_at = simulations(run)
    second = start(folder, "--resume", "run")
    wait_until(lambda: simulations(run) > killed_at + 50)
    second.send_signal(signal.SIGTERM)
    assert "SIGTERM" in finish(second, 143)
    assert not json.loads((run / "summary.json").read_text())["complete"]
    monkeypatch.syspath_prepend(folder)  # where the reward is
    assert "a run keeps its settings: n_rollouts was 4000" in run_here(monkeypatch, "--resume", run, "--n-rollouts", 9)
    (folder / "hurry").touch()
    assert run_here(monkeypatch, "--resume", run, "--executor", "serial") == "0"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["complete"]
    assert [row["rollouts"] for row in summary["rows"]] == [4_000]
    tree = pq.read_table(run / "tree" / "dts.parquet")
    rows = read_trajectories(run / "trajectories" / "dts")
    assert rows["node"].to_pylist() == tree["node"].to_pylist()
    assert rows["parent"].to_pylist() == tree["parent"].to_pylist()
    assert tree["visits"].to_pylist()[0] == 4_000
    weights = np.array(pq.read_table(run / "samples.parquet")["weight"])
    assert weights.sum() == pytest.approx(1)
    assert not (run / "checkpoints").exists()
    assert "is complete" in run_here(monkeypatch, "--resume", run)


@pytest.mark.slow
def test_checkpoints_kept_elsewhere_are_enough_to_go_on_without_the_run_directory(folder):
    elsewhere = f"file://{folder}/elsewhere"
    slow = ("--executor", "serial", "--reward", "slow:reward", "--n-rollouts", 4_000, "--checkpoint-seconds", 0.3)
    stopped = start(folder, *TINY, *slow, "--out", "first", "--checkpoint-to", elsewhere)
    for run, arguments in (("first", None), ("second", ("--resume", elsewhere, "--out", "second"))):
        stopped = stopped if arguments is None else start(folder, *arguments)
        wait_until(lambda run=run: simulations(folder / run) > 50)
        stopped.send_signal(signal.SIGTERM)
        assert f"--resume {elsewhere}" in " ".join(finish(stopped, 143).split())
    before = simulations(folder / "second")
    (folder / "hurry").touch()
    finish(start(folder, "--resume", elsewhere, "--out", "third"))
    (row,) = json.loads((folder / "third" / "summary.json").read_text())["rows"]
    assert row["rollouts"] == 4_000 > before > simulations(folder / "first") > 50
    tree = pq.read_table(folder / "third" / "tree" / "dts.parquet")
    assert read_trajectories(folder / "third" / "trajectories" / "dts")["node"].to_pylist() == tree["node"].to_pylist()
    assert not (folder / "elsewhere").exists()
    gone = finish(start(folder, "--resume", elsewhere), 1)
    assert f"there is no run to resume at {elsewhere}" in " ".join(gone.split())


@pytest.mark.slow
def test_of_two_processes_that_go_on_with_a_run_the_second_finds_it_complete(folder):
    slow = ("--executor", "serial", "--reward", "slow:reward", "--n-rollouts", 4_000)
    stopped = start(folder, *TINY, *slow, "--out", "run")
    wait_until(lambda: simulations(folder / "run") > 50)
    stopped.send_signal(signal.SIGTERM)
    finish(stopped, 143)
    done = simulations(folder / "run")
    first = start(folder, "--resume", "run")
    wait_until(lambda: simulations(folder / "run") > done)
    second = start(folder, "--resume", "run")
    time.sleep(5)  # it waits for the first
    (folder / "hurry").touch()
    finish(first)
    assert "run is complete; there is nothing to resume" in " ".join(finish(second, 1).split())
    (row,) = json.loads((folder / "run" / "summary.json").read_text())["rows"]
    assert row["rollouts"] == 4_000


def test_without_ray_the_search_runs_in_this_process_and_says_why(folder, monkeypatch, capsys):
    (folder / "ray.py").write_text("raise ImportError('no wheel for this machine')\n")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):  # which it may set
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert run_here(monkeypatch, *TINY, "--n-rollouts", 20, "--out", folder / "run") == "0"
    said = " ".join(capsys.readouterr().out.split())
    assert "searching in this process: Ray cannot be imported (no wheel for this machine)" in said
    assert json.loads((folder / "run" / "config.json").read_text())["execution"]["executor"] == "serial"
    refused = run_here(monkeypatch, *TINY, "--executor", "ray", "--out", folder / "other")
    assert "or use --executor serial" in refused
    assert not (folder / "other").exists()


def test_more_than_the_cluster_has_is_refused_before_a_run_begins(folder, monkeypatch):
    monkeypatch.setattr("actors.cluster.connect", lambda address: {"CPU": 4.0})
    refused = run_here(monkeypatch, *TINY, "--gpus-per-worker", 3, "--out", folder / "run")
    assert "a worker takes 1 CPU and 3 GPU, but the cluster has 4 CPU, 0 GPU now" in refused
    assert not (folder / "run").exists()
