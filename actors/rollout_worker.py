"""The worker's side: a replica of the process and of the reward, and batches of tickets in, results out."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from sadt_ray.interfaces import GenerativeProcess, MovesToDevice, Problem, Results, Reward, Tickets
from sadt_ray.roller import Rolling, roller


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

    def run(self, rolling: Rolling, tickets: Tickets) -> Results:
        """Roll the tickets out. Binds the problems anew when another search begins."""
        if self._bound_to != rolling:
            process = self._process.with_branch_steps(rolling.branch_steps)
            self._roll = roller(process.bind(self._problems), self._scorer, process.num_levels, rolling)
            self._bound_to = rolling
        return self._roll(tickets)


class WorkerActor:
    """What Ray runs: loads its worker at the first call, so that one that was restarted is as good as new.

    Args:
        worker: ``RolloutWorker``, or what behaves like it.
        device: see there.
    """

    def __init__(self, worker: type[RolloutWorker], device: str | None) -> None:
        self._make, self._device = worker, device
        self._worker: RolloutWorker | None = None

    def up(self) -> None:
        """Answers before anything is loaded."""

    def ready(self, replica: Sequence[Any]) -> str:
        """The name of the machine; that it answers says that the replica is loaded."""
        self._loaded(replica)
        return socket.gethostname()

    def run(self, replica: Sequence[Any], rolling: Rolling, tickets: Tickets) -> Results:
        """See ``RolloutWorker.run``."""
        return self._loaded(replica).run(rolling, tickets)

    def _loaded(self, replica: Sequence[Any]) -> RolloutWorker:
        if self._worker is None:
            process, reward, problems = ray.get(replica[0])
            self._worker = self._make(process, reward, problems, self._device)
        return self._worker


@dataclass(frozen=True)
class RemoteWorker:
    """A worker as an executor holds it: wherever it goes, its replica can be loaded again.

    The replica rides along in each call, as a reference inside a list, which costs nothing.
    """

    actor: Any
    replica: Sequence[Any]

    def up(self) -> Any:
        """A reply that comes when the worker's process is there."""
        return self.actor.up.remote()

    def ready(self) -> Any:
        """A reply that comes when the worker is up and loaded; an ``ActorUnavailableError`` while it restarts."""
        return self.actor.ready.remote(self.replica)

    def run(self, rolling: Rolling, tickets: Tickets) -> Any:
        """A reply that holds the results. Never tried again by Ray: whoever asked decides that."""
        return self.actor.run.remote(self.replica, rolling, tickets)

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
    """Ask Ray for so many workers, with ``options`` such as ``num_gpus`` for each. They need not be up yet."""
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
    return [RemoteWorker(actor.remote(worker, device), replica) for _ in range(count)]
