"""The benches that need Ray, small, each in a process of its own: the tests' own cluster would be in their way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def bench(name, folder):
    """Figures of ``python -m jobs.bench NAME --quick``."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "RAY_memory_monitor_refresh_ms": "0", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "jobs.bench", name, "--quick", "--out", str(folder)]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=280)
    return json.loads((folder / "bench.json").read_text())


def test_a_search_whose_workers_node_and_owner_are_killed_loses_and_doubles_nothing(tmp_path):
    figures = bench("faults", tmp_path)
    assert figures["kills"] == 4
    assert figures["asked"] == figures["told"] == 400
    assert figures["lost"] == figures["duplicated"] == figures["set_aside"] == 0


@pytest.mark.slow
def test_the_search_over_ray_is_compared_with_the_bare_process_and_the_serial_search(tmp_path):
    figures = bench("throughput", tmp_path)
    assert {"nfe_ratio", "nfe_ratio_two_threads", "speedup_vs_serial"} <= figures.keys()
    assert all(figure > 0.1 for figure in figures.values())
