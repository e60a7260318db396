"""From no worker to two and back, on Ray's own autoscaler, with raylets on this machine for the cloud's machines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_autoscaling import ENVIRONMENT, autoscaling_cluster
from scaled_search import N_ROLLOUTS, NUM_WORKERS, PROBLEMS

WORKER_RESOURCES = {"CPU": 1, "GPU": 1, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def report():
    """What a search in a process of its own saw: this one may be connected to another cluster."""
    program = Path(__file__).with_name("scaled_search.py")
    with autoscaling_cluster(NUM_WORKERS, WORKER_RESOURCES) as cluster:
        command = [sys.executable, program, cluster.address]
        done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=200)
        logs = "".join(log.read_text() for log in cluster.logs.glob("monitor*"))[-5000:]
    assert done.returncode == 0, done.stderr + logs
    return json.loads(done.stdout.splitlines()[-1])


def test_nodes_come_when_a_search_starts_and_go_when_its_workers_are_gone(report):
    assert report["nodes"] == {"before": 0, "during": NUM_WORKERS, "after": 0}
    assert len({worker["node"] for worker in report["workers"]}) == NUM_WORKERS


def test_every_simulation_is_told_exactly_once(report):
    assert report["told"] == [N_ROLLOUTS] * len(PROBLEMS)
    assert report["ignored"] == 0
    assert sum(worker["rows"] for worker in report["workers"]) == N_ROLLOUTS * len(PROBLEMS)


def test_workers_that_join_in_mid_search_are_used_at_once(report):
    first, *_, last = sorted(report["workers"], key=lambda worker: worker["ready"])
    assert first["told_when_ready"] == 0
    assert 0 < last["told_when_ready"] < N_ROLLOUTS * len(PROBLEMS)
    assert all(worker["rows"] > 0 for worker in report["workers"])
    assert all(worker["first_run"] - worker["ready"] < 2 for worker in report["workers"])
