"""Fault injection: kill processes and nodes of a search, for the fault benchmark and its tests."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from actors.cluster import keep_others_out

_OBJECT_STORE_BYTES = 200_000_000  # per node


def kill_process(actor_class: str, index: int = 0) -> bool:
    """Send SIGKILL to a process that runs an actor of this class on a ``SmallCluster`` of this process.

    Args:
        actor_class: name of the actor's class.
        index: index of the process among those of the class, modulo their number.

    Returns:
        Whether there was such a process.
    """
    found = sorted(pid for pid in _processes() if _title(pid).startswith(f"ray::{actor_class}"))
    mine = [pid for pid in found if _parent(_parent(pid)) == os.getpid()]  # driver -> raylet -> actor
    if mine:
        os.kill(mine[index % len(mine)], signal.SIGKILL)
    return bool(mine)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return ""


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


class SmallCluster:
    """Several Ray nodes on this machine: worker nodes, and a head without CPUs for the driver and the tree owner.

    Args:
        nodes: number of worker nodes.
        cpus: CPUs per worker node.
    """

    def __init__(self, nodes: int, cpus: int = 1) -> None:
        keep_others_out()
        from ray.cluster_utils import Cluster

        self._cpus = cpus
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False},
        )
        self._nodes = [self._add() for _ in range(nodes)]
        self._cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        return self._cluster.address

    @property
    def resources(self) -> Mapping[str, float]:
        return {"CPU": float(self._cpus * len(self._nodes))}

    def replace_node(self) -> None:
        """Kill the oldest worker node with all its processes, and add a new one, as an autoscaler would."""
        self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)
        self._nodes.append(self._add())

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=self._cpus, object_store_memory=_OBJECT_STORE_BYTES)

    def __enter__(self) -> SmallCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._cluster.shutdown()
