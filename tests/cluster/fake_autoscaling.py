"""A cluster that scales itself on one machine: Ray's fake provider starts raylets where a cloud would start machines.

Ray ships an `AutoscalingCluster` for this, but it needs a file that the wheel lacks and begins with `ray stop --force`,
which ends every other cluster on the machine. This one ends the processes of its own temporary directory only.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

HEAD_TYPE = "ray.head.default"
WORKER_TYPE = "fake-gpu"
HOST = "127.0.0.1"

ENVIRONMENT = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_AUTH_MODE": "disabled",  # loopback only
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # stay on loopback, as Ray does on macOS and Windows
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_FAKE_CLUSTER": "1",
    "RAY_NODE_TYPE_NAME": HEAD_TYPE,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_autoscaler_v2": "1",  # as `ray up` and KubeRay do
    "RAY_memory_monitor_refresh_ms": "0",
}


@dataclass(frozen=True)
class FakeCluster:
    """Where to connect, and where to read what went wrong."""

    address: str
    directory: Path  # named on the command line of every process of the cluster

    @property
    def logs(self) -> Path:
        return self.directory / "session_latest" / "logs"


@contextmanager
def autoscaling_cluster(
    max_workers: int, worker_resources: dict[str, int], idle_seconds: float = 3
) -> Iterator[FakeCluster]:
    """A head that runs nothing itself, and nodes of `worker_resources` as they are asked for, at most `max_workers`.

    For programs that run with `ENVIRONMENT` and end before the cluster does.
    """
    directory = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: a socket's path is limited to 107 bytes
    address = f"{HOST}:{_free_port()}"
    config = directory / "autoscaler.json"
    config.write_text(json.dumps(_config(address, max_workers, worker_resources, idle_seconds)))
    try:
        _start_head(address, config, directory)
        yield FakeCluster(address, directory)
    finally:
        _endprocesses_of(directory)
        shutil.rmtree(directory, ignore_errors=True)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Poll until `condition` holds and give the seconds it took; `TimeoutError` names what never came."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.1)
    return time.monotonic() - start


def _config(address: str, max_workers: int, worker_resources: dict[str, int], idle_seconds: float) -> dict:
    head = {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    worker = {"resources": worker_resources, "node_config": {}, "min_workers": 0, "max_workers": max_workers}
    return {
        "cluster_name": "fake",
        "max_workers": max_workers,
        "idle_timeout_minutes": idle_seconds / 60,
        "upscaling_speed": 10,
        "provider": {
            "type": "external",  # not "fake_multinode", whose defaults are the file that the wheel lacks
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
        },
        "available_node_types": {HEAD_TYPE: head, WORKER_TYPE: worker},
        "head_node_type": HEAD_TYPE,
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        **{key: [] for key in ("cluster_synced_files", "initialization_commands", "setup_commands", "rsync_exclude")},
        **{key: [] for key in ("head_setup_commands", "worker_setup_commands", "rsync_filter")},
        **{key: [] for key in ("head_start_ray_commands", "worker_start_ray_commands")},
    }


def _start_head(address: str, config: Path, directory: Path) -> None:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats"]
    command += [f"--node-ip-address={HOST}", f"--port={address.split(':')[1]}", "--include-dashboard=false"]
    command += ["--num-cpus=0", "--num-gpus=0", f"--object-store-memory={100_000_000}"]
    command += [f"--temp-dir={directory}", f"--autoscaling-config={config}"]
    started = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=60)
    if started.returncode:
        raise RuntimeError(f"ray start failed:\n{started.stdout}{started.stderr}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def _endprocesses_of(directory: Path) -> None:
    """Kill what names this directory on its command line; Ray's workers end with their raylet."""
    for pid in processes_of(directory):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(directory), seconds=10, what="end of the fake cluster")


def processes_of(directory: Path) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if str(directory).encode() in _command(entry)]


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return b""
