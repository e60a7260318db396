"""Resources of a trial, and rules that stop it early. Does not import Ray, so that flags are parsed without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Tracker = Literal["tensorboard", "mlflow", "wandb"]

WAITING = {"status": "pending", "attempts": 0, "error": None, "seconds": None}
"""Entry of ``trials.json`` for a trial that has not started."""


@dataclass(frozen=True)
class TrialResources:
    """Resources of one trial, as one placement group.

    Attributes:
        num_workers: number of rollout workers beside the tree owner; 0 for a search in one process.
        cpus, gpus: CPUs and GPUs per worker, or of the one process. Fractions share a device.
        learner_cpus: CPUs of a learner beside the search.
    """

    num_workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    learner_cpus: float = 0.0

    def bundles(self) -> list[dict[str, float]]:
        """Bundles of the placement group.

        The first one is for the tree owner and the learner, which reads the owner's files and must be on its machine.
        """
        each = {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})
        learner = {"CPU": self.learner_cpus} if self.learner_cpus else {}
        return [learner, *[each] * self.num_workers] if self.num_workers else [each]

    def check(self, room: Mapping[str, float]) -> None:
        """Raise ValueError unless a trial fits into a cluster of fixed size with these resources."""
        for name in ("CPU", "GPU"):
            taken, held = sum(bundle.get(name, 0.0) for bundle in self.bundles()), room.get(name, 0.0)
            if taken > held:
                raise ValueError(
                    f"a trial needs {taken:g} {name}, but this machine has {held:g}; reduce the resources of a trial, "
                    "or give the --address of a cluster"
                )


@dataclass(frozen=True)
class EarlyStopping:
    """The scheduler of Tune that stops trials with lower rewards than others at equal evaluations."""

    scheduler: Literal["fifo", "asha", "median"] = "fifo"
    """fifo stops none; asha stops the worse half each time the evaluations have doubled (arXiv 1810.05934); median
    stops trials below the median of the others (Golovin et al. 2017)."""
    metric: Literal["mean_reward", "best_reward"] = "mean_reward"
    """Figure that is compared: mean or best reward of the samples so far."""
    after: int = 100_000
    """Number of evaluations, over all contexts, before a trial may be stopped."""
