"""The genealogy of a particle system, recorded to train a flow."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sadt_ray.interfaces import ParticleRecord, States


class Genealogy:
    """All particles of B particle systems of n particles, with their parents.

    Args:
        shape: (B, n).
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._ticket = np.repeat(np.arange(shape[0]), shape[1])
        self._parent = np.full(self._ticket.shape, -1)  # row of each particle's parent, see ``ParticleRecord``
        self._generations: list[dict[str, Any]] = []
        self._rows = 0

    def below_new_nodes(self) -> None:
        """Let the first generation descend from the new nodes of the tickets."""
        self._parent[:] = -2

    def born(self, position: int, states: States, log_ratio: Float[np.ndarray, " N"] | None) -> None:
        """Record a generation: one child of each particle."""
        count = len(self._parent)
        self._generations.append(
            {
                "ticket": self._ticket,
                "parent": self._parent,
                "level": np.full(count, position),
                "state": states,
                "log_flow": np.zeros(count),
                "log_ratio": np.zeros(count) if log_ratio is None else log_ratio,
                "reward": np.full(count, np.nan),
            }
        )
        self._parent = self._rows + np.arange(count)
        self._rows += count

    def know(self, log_flow: Float[np.ndarray, " N"]) -> None:
        """Record log psi of the last generation."""
        if self._generations:
            self._generations[-1]["log_flow"] = log_flow

    def take(self, rows: Int[np.ndarray, " N"]) -> None:
        """Let the next generation descend from these particles."""
        self._parent, self._ticket = self._parent[rows], self._ticket[rows]

    def particle_record(self, good: Bool[np.ndarray, " B"], rewards: Float[np.ndarray, " N"]) -> ParticleRecord:
        """The record of all generations; the last one is x_0.

        Args:
            good: tickets that are kept.
            rewards: rewards of the last generation.
        """
        self._generations[-1]["reward"] = rewards
        columns = {name: np.concatenate([g[name] for g in self._generations]) for name in self._generations[0]}
        kept = good[columns["ticket"]]
        number = np.cumsum(kept) - 1  # new row of each kept particle
        columns["ticket"] = (np.cumsum(good) - 1)[columns["ticket"]]
        columns["parent"] = np.where(columns["parent"] < 0, columns["parent"], number[columns["parent"]])
        return ParticleRecord(**{name: column[kept] for name, column in columns.items()})
