"""A sweep on a cluster that scales itself: no node, three, none; a node and the driver are killed on the way.

Prints nodes over time: python -m pytest -m slow -s tests/cluster/test_sweep_autoscaling.py
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_autoscaling import ENVIRONMENT, autoscaling_cluster, processes_of, wait_until
from ray._raylet import GcsClient

MAX_NODES = 3
NODE = {"CPU": 1, "GPU": 1, "object_store_memory": 80_000_000}
SEARCHES = """--dataset synthetic --method snis dts --n-rollouts 200 400 --seed 0 1 2 --retries 3 --forecast-flags
"--num-windows 1 --channels channel_6 --reward slow_reward:slow --checkpoint-seconds 1" """
REWARD = """import time
def slow(samples, problem):
    time.sleep(.01 * len(samples))
    return -abs(samples).mean(1)
"""
GPU_TRIALS = ("--num-workers", "1", "--gpus-per-worker", "1")
NUM_TRIALS = 12


def sweep(*arguments: str, cwd: Path) -> subprocess.Popen:
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(cwd), *sys.path])}
    return subprocess.Popen([sys.executable, "-m", "jobs.sweep", *arguments], cwd=cwd, env=environment)


def nodes_alive(address: str) -> int:
    """Beside the head."""
    nodes = GcsClient(address=address).get_all_node_info().values()
    return sum(node.state == 0 for node in nodes) - 1


def trials(out: Path) -> list[dict]:
    ledger = out / "trials.json"
    return json.loads(ledger.read_text())["trials"] if ledger.exists() else []


def count(out: Path, status: str) -> int:
    return sum(trial["status"] == status for trial in trials(out))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_survives_its_nodes_and_its_driver_and_the_cluster_scales_with_it(tmp_path):
    out = tmp_path / "sweep"
    (tmp_path / "slow_reward.py").write_text(REWARD)
    with autoscaling_cluster(MAX_NODES, NODE) as cluster:
        assert nodes_alive(cluster.address) == 0
        began = time.monotonic()
        first = sweep(
            *shlex.split(SEARCHES), *GPU_TRIALS, "--address", cluster.address, "--out", str(out), cwd=tmp_path
        )
        wait_until(lambda: count(out, "complete") >= 2 and count(out, "running") > 0, 200, "two trials")
        victim = next(pid for pid in processes_of(cluster.directory) if is_worker_raylet(pid))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: count(out, "complete") >= 5, 200, "five trials, a node being lost")
        first.kill()
        first.wait()
        assert 5 <= count(out, "complete") < NUM_TRIALS
        assert sweep("--resume", str(out), cwd=tmp_path).wait(300) == 0
        down = wait_until(lambda: nodes_alive(cluster.address) == 0, 90, "nodes go down")
        lines = [json.loads(line) for line in (out / "nodes.jsonl").read_text().splitlines()]
        for line in lines:
            print(line)
        print(f"ended after {time.monotonic() - began - down:.0f} s, no node left {down:.0f} s later")
    assert [trial["status"] for trial in trials(out)] == ["complete"] * NUM_TRIALS
    assert max(line["nodes"] for line in lines) == MAX_NODES
    assert lines[0]["nodes"] == 0
    assert any(trial["attempts"] > 1 for trial in trials(out))
    for trial in trials(out):
        row = json.loads((out / trial["run"] / "summary.json").read_text())["rows"][0]
        assert row["rollouts"] == trial["n_rollouts"]
        assert (out / trial["run"] / "report.html").exists()
    assert (out / "report.html").exists()


def is_worker_raylet(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"raylet/raylet" in command and b"internal_head" not in command
