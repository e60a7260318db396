"""Where rollouts run: on Ray workers, or in this process."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

import torch
from rich.console import Console

from actors.cluster import RayUnavailable, disconnect, ray_session
from sadt_ray.engine.loop import Tolerance
from sadt_ray.session import SessionFactory, serial_session


@dataclass(frozen=True)
class Execution:
    """Where rollouts run, and how often the search is saved."""

    executor: Literal["ray", "serial"] | None = None
    """ray: on workers; serial: in this process. By default ray, or serial where Ray does not start."""
    address: str | None = None
    """A running Ray cluster, auto for the one on this machine; by default $RAY_ADDRESS, else one is started here."""
    num_workers: int | None = None
    """Rollout workers; by default as many as the cluster has room for now and the rollouts keep busy."""
    cpus_per_worker: float = 1.0
    """CPUs of each worker, which are also its threads."""
    gpus_per_worker: float | None = None
    """GPUs of each worker, or a fraction of one; by default 1 on a cuda device, else 0."""
    device: str = "cpu"
    """Where the prior runs: cpu, cuda, cuda:1 ... (with Ray: cpu or cuda)."""
    batch_size: int | None = None
    """Rollouts a batch; by default two a context, within 16 and 256, and with Ray more if a device can take them."""
    threads: int = 1
    """CPU threads of the prior in this process, whose matrices are too small to share out well."""
    checkpoint_to: str | None = None
    """Where checkpoints go: a directory, s3://... or gs://...; by default into the run directory."""
    checkpoint_seconds: float = 30.0
    """Time between two checkpoints."""
    checkpoint_simulations: int | None = None
    """Simulations between two checkpoints; by default only the time counts."""
    learner_cpus: float = 0.0
    """CPUs that a learner takes of the cluster; 0 to live on what the workers leave over."""
    tolerate_failures: float = 0.01
    """Share of the rollouts that may fail for good before the search stops; ten may in any case."""

    def __post_init__(self) -> None:
        for name in ("threads", "batch_size", "num_workers", "checkpoint_simulations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not self.checkpoint_seconds > 0:
            raise ValueError(f"checkpoint_seconds must be positive, got {self.checkpoint_seconds}")
        for name in ("cpus_per_worker", "gpus_per_worker", "learner_cpus"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number >= 0, got {value}")
        try:
            torch.device(self.device)
        except RuntimeError as error:
            raise ValueError(f"device {self.device!r} cannot be used here ({error}); use cpu or cuda") from None
        Tolerance(share=self.tolerate_failures)


def choose_executor(execution: Execution, console: Console) -> tuple[str, SessionFactory]:
    """Start what the flags ask for; returns its name, and what opens sessions.

    Raises:
        ValueError: if Ray was asked for by name or address and cannot be had, or has no room for a worker, or the
            device cannot be used in this process.
    """
    address = execution.address or os.environ.get("RAY_ADDRESS")
    if execution.executor != "serial":
        try:
            return "ray", ray_session(
                execution.num_workers,
                address=address,
                cpus_per_worker=execution.cpus_per_worker,
                gpus_per_worker=execution.gpus_per_worker,
                device=execution.device,
                batch_size=execution.batch_size,
            )
        except RayUnavailable as error:
            if execution.executor == "ray" or address is not None:
                raise ValueError(f"{error}; or use --executor serial") from None
            console.print(f"No Ray workers, searching in this process: {error}", markup=False)
    return "serial", serial_session(execution.batch_size, execution.device, execution.threads)


def close_executor(name: str) -> None:
    """Leave the cluster, if there is one."""
    if name == "ray":
        disconnect()
