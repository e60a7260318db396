"""What a sweep's trials take of the cluster, and when one is stopped early. Imports no Ray: flags are read before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Tracker = Literal["tensorboard", "mlflow", "wandb"]

WAITING = {"status": "pending", "attempts": 0, "error": None, "seconds": None}
"""What ``trials.json`` says of a trial that has not begun."""


@dataclass(frozen=True)
class TrialResources:
    """What one trial takes of the cluster, as one placement group.

    Attributes:
        num_workers: rollout workers beside the process that owns the tree; 0 for a search in one process.
        cpus, gpus: of each worker, or of that one process; fractions share a device.
        learner_cpus: of a learner beside the search.
    """

    num_workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    learner_cpus: float = 0.0

    def bundles(self) -> list[dict[str, float]]:
        """Owner first, with the learner, which reads what the owner writes and lives on its machine."""
        each = {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        learner = {"CPU": self.learner_cpus} if self.learner_cpus else {}
        return [learner, *[each] * self.num_workers] if self.num_workers else [each]

    def check(self, room: Mapping[str, float]) -> None:
        """Raises ValueError unless a trial fits into a cluster that has this and will not grow."""
        for name in ("CPU", "GPU"):
            taken, held = sum(bundle.get(name, 0.0) for bundle in self.bundles()), room.get(name, 0.0)
            if taken > held:
                raise ValueError(
                    f"a trial takes {taken:g} {name}, and this machine has {held:g}; let it take less, or give the "
                    "--address of a cluster"
                )


@dataclass(frozen=True)
class EarlyStopping:
    """Which of Tune's schedulers ends trials that do worse than others at equal evaluations."""

    scheduler: Literal["fifo", "asha", "median"] = "fifo"
    """fifo: none; asha: all but the better half, at doubling evaluations (arXiv 1810.05934); median: those below the
    median of the others (Golovin et al. 2017)."""
    metric: Literal["mean_reward", "best_reward"] = "mean_reward"
    """What they are compared by: the rewards of the samples so far."""
    after: int = 100_000
    """Evaluations, of all contexts together, that every trial may make."""
