"""Where rollouts run: on Ray workers, or in this process."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, Protocol

import torch
from rich.console import Console

from actors.cluster import RayUnavailable, connect, disconnect
from sadt_ray.engine.loop import SearchResult, SearchStats, StatsTo, Tolerance
from sadt_ray.engine.plan import SearchPlan, default_batch_size
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import LearnerSpec
from sadt_ray.flow.weight_source import InterleavedLearner, LearnerUpdate
from sadt_ray.interfaces import GenerativeProcess, MovesToDevice, Problem, Reward
from sadt_ray.numerics.device import check_device
from sadt_ray.runs.recording import Recording, run_recorded


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


class Session(Protocol):
    """Runs one search after the other."""

    def wait_for_workers(self, on_wait: Callable[[], None]) -> None:
        """Until a search could begin; ``on_wait`` is called now and then, and may raise."""

    def search(
        self, plan: SearchPlan, on_stats: Callable[[SearchStats], None], on_wait: Callable[[], None]
    ) -> SearchResult:
        """``on_stats`` is called as the search goes on, ``on_wait`` also while it does not; both may raise."""

    def learned(self) -> LearnerUpdate | None:
        """End the learner; what it has to show, or None if it does not answer. For a session that has a learner."""


@dataclass(frozen=True)
class SerialSession:
    """Searches in this process."""

    process: GenerativeProcess
    reward: Reward
    problems: list[Problem]
    batch_size: int | None  # None for what the search's sweeps are best served with
    recording: Recording
    flow: Flow | None = None
    turns: InterleavedLearner | None = None

    def __enter__(self) -> SerialSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...

    def wait_for_workers(self, on_wait: Callable[[], None]) -> None:
        """This process is ready."""

    def search(
        self, plan: SearchPlan, on_stats: Callable[[SearchStats], None], on_wait: Callable[[], None]
    ) -> SearchResult:
        """Every batch is followed by a look, so nothing is waited for."""
        flow = self.flow if plan.smc.twist == "flow" else None
        size = self.batch_size or default_batch_size(len(self.problems), plan.smc.particles)
        executor = SerialExecutor(
            self.process, self.reward, self.problems, size, rollout_spec=plan.rollout_spec, flow=flow
        )
        if self.turns is not None:
            self.turns.begin(-1 if flow is None else flow.version)
        return run_recorded(plan, executor, self.recording, [StatsTo(on_stats)], self.turns)

    def learned(self) -> LearnerUpdate | None:
        return None if self.turns is None else self.turns.finish()


class FlowSource(NamedTuple):
    """Where the flow of a session's searches comes from."""

    flow: Flow | None = None  # that they begin with
    learning: LearnerSpec | None = None


NO_FLOW_SOURCE = FlowSource()


class Opener(Protocol):
    """Opens a session."""

    def __call__(
        self,
        process: GenerativeProcess,
        reward: Reward,
        problems: list[Problem],
        recording: Recording,
        simulations: int,
        guidance: FlowSource = NO_FLOW_SOURCE,
    ) -> AbstractContextManager[Session]:
        """``simulations``: of the smallest search to come."""


def choose_executor(execution: Execution, console: Console) -> tuple[str, Opener]:
    """Start what the flags ask for; returns its name, and what opens a session for searches of so many simulations.

    Raises:
        ValueError: if Ray was asked for by name or address and cannot be had, or has no room for a worker, or the
            device cannot be used in this process.
    """
    address = execution.address or os.environ.get("RAY_ADDRESS")
    if execution.executor != "serial":
        try:
            return "ray", _ray_opener(execution, address)
        except RayUnavailable as error:
            if execution.executor == "ray" or address is not None:
                raise ValueError(f"{error}; or use --executor serial") from None
            console.print(f"No Ray workers, searching in this process: {error}", markup=False)
    return "serial", _serial_opener(execution)


def close_executor(name: str) -> None:
    """Leave the cluster, if there is one."""
    if name == "ray":
        disconnect()


def _serial_opener(execution: Execution) -> Opener:
    check_device(execution.device)

    def open_session(
        process: GenerativeProcess,
        reward: Reward,
        problems: list[Problem],
        recording: Recording,
        simulations: int,
        guidance: FlowSource = NO_FLOW_SOURCE,
    ) -> SerialSession:
        size = execution.batch_size
        learning = guidance.learning
        replica = process.with_device(execution.device) if isinstance(process, MovesToDevice) else process
        turns = None if learning is None else InterleavedLearner(learning.begin(process, reward, problems))
        return SerialSession(replica, reward, problems, size, recording, guidance.flow, turns)

    return open_session


def _ray_opener(execution: Execution, address: str | None) -> Opener:
    resources = connect(address)
    from actors.session import RaySession, WorkerSpec
    from actors.tree_owner import BatchPolicy

    gpus = execution.gpus_per_worker
    if gpus is None:
        gpus = 0.0 if execution.device == "cpu" else 1.0
    device = None if execution.device == "cpu" else execution.device
    worker_spec = WorkerSpec(execution.num_workers, execution.cpus_per_worker, gpus, device)
    worker_spec.size(resources, may_grow=address is not None)  # refused here, before a run directory exists

    def open_session(
        process: GenerativeProcess,
        reward: Reward,
        problems: list[Problem],
        recording: Recording,
        simulations: int,
        guidance: FlowSource = NO_FLOW_SOURCE,
    ) -> RaySession:
        size = execution.batch_size or default_batch_size(len(problems))
        batch_policy = BatchPolicy(size, fixed=execution.batch_size is not None)
        flow, learning = guidance
        return RaySession(
            process,
            reward,
            problems,
            worker_spec,
            recording,
            batch_policy,
            resources,
            simulations,
            flow=flow,
            learning=learning,
        )

    return open_session
