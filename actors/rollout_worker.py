"""The worker's side: a replica of the process and of the reward, and batches of tickets in, results out."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from sadt_ray.interfaces import GenerativeProcess, MovesToDevice, Problem, Results, Reward, Tickets
from sadt_ray.rollout import rollout


class RolloutWorker:
    """Holds one replica, bound to the problems, and nothing of any search: a restarted worker is as good as new.

    A plain class; ``actors.session`` makes a Ray actor of it.

    Args:
        process: the prior; its branch steps come with each call.
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
        self._bound_to: object = None  # the branch steps of the search at hand

    def ready(self) -> str:
        """The name of the machine; that it answers says that the replica is loaded."""
        return socket.gethostname()

    def run(self, branch_steps: str | tuple[int, ...], tickets: Tickets) -> Results:
        """Roll the tickets out. Binds the problems anew when another search begins."""
        if self._bound_to != branch_steps:
            process = self._process.with_branch_steps(branch_steps)
            self._chain, self._num_levels = process.bind(self._problems), process.num_levels
            self._bound_to = branch_steps
        return rollout(self._chain, self._scorer, self._num_levels, tickets)
