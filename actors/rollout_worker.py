"""The worker's side: a replica of the process and of the reward, and batches of tickets in, results out."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
import torch

from sadt_ray.engine.executor import NodeFlows, NodeStates
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, MovesToDevice, Problem, Results, Reward, Tickets
from sadt_ray.rollout.spec import RolloutFactory, RolloutFn, RolloutSpec


class RolloutWorker:
    """Holds one replica, bound to the problems, and nothing of any search.

    Args:
        process: the prior; how it is rolled out comes with each call.
        reward: scores the samples.
        problems: those that tickets refer to by number.
        device: where the replica runs, for a process that lives on a device.

    Raises:
        ValueError: for a device given to a process that has none.
    """

    def __init__(
        self, process: GenerativeProcess, reward: Reward, problems: Sequence[Problem], device: str | None = None
    ) -> None:
        if device is not None:
            if not isinstance(process, MovesToDevice):
                raise ValueError(f"{type(process).__name__} cannot be moved to the device {device!r}; give no device")
            process = process.with_device(device)
        self._process, self._problems = process, problems
        self._scorer = reward.bind(problems)
        self._bound_to: object = None  # the search at hand
        self._roll: RolloutFn | None = None
        self._version: int | None = None  # of the weights that it has

    def run(self, rollout_spec: RolloutSpec, tickets: Tickets, flow: Flow | None = None) -> Results:
        """Roll the tickets out. Binds the problems anew when another search begins, not when newer weights come."""
        rollout_factory, version = self._factory_for(rollout_spec), None if flow is None else flow.version
        if self._roll is None or self._version != version:
            self._roll, self._version = rollout_factory.rollout_fn(flow), version
        return self._roll(tickets)

    def look_at(self, rollout_spec: RolloutSpec, nodes: NodeStates, flow: Flow) -> NodeFlows:
        """lambda F of nodes of the search."""
        log_flow, nfe = self._factory_for(rollout_spec).log_flow(flow, nodes.state, nodes.level, nodes.problem)
        return NodeFlows(nodes.node, nodes.problem, log_flow, nfe)

    def _factory_for(self, rollout_spec: RolloutSpec) -> RolloutFactory:
        if self._bound_to != rollout_spec:
            process = self._process.with_branch_steps(rollout_spec.branch_steps)
            chain = process.bind(self._problems)
            self._rollout_factory, self._roll = (
                RolloutFactory(chain, self._scorer, process.num_levels, rollout_spec),
                None,
            )
            self._bound_to = rollout_spec
        return self._rollout_factory


class HeldFlow(NamedTuple):
    """Weights as they ride along in each call: a reference to them, inside a list, and their version."""

    version: int
    weights: Sequence[Any]

    @classmethod
    def put(cls, flow: Flow) -> HeldFlow:
        """Into the object store, once for all workers. They are lost with the process that put them there."""
        return cls(flow.version, [ray.put(flow)])


class WorkerActor:
    """What Ray runs: loads its worker at the first call, so that one that was restarted is as good as new.

    Args:
        worker: ``RolloutWorker``, or what behaves like it.
        device: where the replica runs.
        threads: CPU threads of PyTorch, whatever the environment of the machine says.
    """

    def __init__(self, worker: type[RolloutWorker], device: str | None, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self._make, self._device = worker, device
        self._worker: RolloutWorker | None = None
        self._flow: Flow | None = None

    def up(self) -> None:
        """Answers before anything is loaded."""

    def ready(self, replica: Sequence[Any]) -> str:
        """The name of the machine; that it answers says that the replica is loaded."""
        self._loaded(replica)
        return socket.gethostname()

    def run(
        self, replica: Sequence[Any], rollout_spec: RolloutSpec, tickets: Tickets, flow: HeldFlow | None = None
    ) -> Results:
        """See ``RolloutWorker.run``."""
        return self._loaded(replica).run(rollout_spec, tickets, None if flow is None else self._weights(flow))

    def look_at(
        self, replica: Sequence[Any], rollout_spec: RolloutSpec, nodes: NodeStates, flow: HeldFlow
    ) -> NodeFlows:
        """See ``RolloutWorker.look_at``."""
        return self._loaded(replica).look_at(rollout_spec, nodes, self._weights(flow))

    def _loaded(self, replica: Sequence[Any]) -> RolloutWorker:
        if self._worker is None:
            process, reward, problems = ray.get(replica[0])
            self._worker = self._make(process, reward, problems, self._device)
        return self._worker

    def _weights(self, held: HeldFlow) -> Flow:
        if self._flow is None or self._flow.version != held.version:
            self._flow = ray.get(held.weights[0])
        return self._flow


@dataclass(frozen=True)
class RemoteWorker:
    """A worker as an executor holds it: wherever it goes, its replica can be loaded again.

    The replica rides along in each call, as a reference inside a list, which costs nothing; so do a flow's weights.
    """

    actor: Any
    replica: Sequence[Any]

    def up(self) -> Any:
        """A reply that comes when the worker's process is there."""
        return self.actor.up.remote()

    def ready(self) -> Any:
        """A reply that comes when the worker is up and loaded; an ``ActorUnavailableError`` while it restarts."""
        return self.actor.ready.remote(self.replica)

    def run(self, rollout_spec: RolloutSpec, tickets: Tickets, flow: HeldFlow | None = None) -> Any:
        """A reply that holds the results. Never tried again by Ray: whoever asked decides that."""
        return self.actor.run.remote(self.replica, rollout_spec, tickets, flow)

    def look_at(self, rollout_spec: RolloutSpec, nodes: NodeStates, flow: HeldFlow) -> Any:
        """A reply that holds what the flow says of nodes."""
        return self.actor.look_at.remote(self.replica, rollout_spec, nodes, flow)

    def restart(self) -> None:
        """End whatever it does and start it anew."""
        ray.kill(self.actor, no_restart=False)

    def end(self) -> None:
        """End it for good."""
        ray.kill(self.actor)


def start_workers(
    count: int,
    process: GenerativeProcess,
    reward: Reward,
    problems: Sequence[Problem],
    device: str | None = None,
    worker: type[RolloutWorker] = RolloutWorker,
    **options: Any,
) -> list[RemoteWorker]:
    """Ask Ray for so many workers, which need not be up yet.

    Args:
        device: where replicas run; None for a process that has no device.
        worker: the class that rolls out.
        options: of each actor, such as ``num_gpus``. A worker has as many threads as whole CPUs, and at least one.
    """
    replica = [ray.put((process, reward, list(problems)))]
    actor = ray.remote(WorkerActor).options(
        **{
            "max_restarts": -1,
            "max_task_retries": 0,
            "scheduling_strategy": "SPREAD",
            "enable_task_events": False,
            **options,
        }
    )
    threads = max(int(options.get("num_cpus") or 1), 1)
    return [RemoteWorker(actor.remote(worker, device, threads), replica) for _ in range(count)]
