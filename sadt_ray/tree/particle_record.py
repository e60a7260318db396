"""Particles beside the tree: checked at the door, kept for whoever records them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from sadt_ray.interfaces import ParticleRecord


class RecordedParticles(NamedTuple):
    """Particles of a batch of results, and where their forest hangs in the tree."""

    particle_record: ParticleRecord
    node: Int[np.ndarray, " B"]  # of each ticket of the batch; -1 for one that was closed already
    first_new: Int[np.ndarray, " B"]  # the first node of its path
    problem: Int[np.ndarray, " B"]

    def rows(self, first_id: int) -> dict[str, np.ndarray]:
        """Columns of the particles of accepted tickets, with ids from ``first_id`` on, parents by their ids."""
        harvest, node = self.particle_record, self.node[self.particle_record.ticket]
        kept = node >= 0
        ids = first_id + np.cumsum(kept) - 1
        above = np.where(harvest.parent == -1, node, self.first_new[harvest.ticket])
        parent = np.where(harvest.parent < 0, above, ids[np.maximum(harvest.parent, 0)])
        return {
            "problem": self.problem[harvest.ticket][kept], "node": ids[kept], "parent": parent[kept],
            "level": harvest.level[kept], "state": harvest.state[kept], "log_flow": harvest.log_flow[kept],
            "log_ratio": harvest.log_ratio[kept], "reward": harvest.reward[kept],
        }  # fmt: skip


def check_particle_record(harvest: ParticleRecord, num_tickets: int, state_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless rows are a forest of whole columns, each tree of one ticket, parents first."""
    rows = np.arange(len(harvest))
    lengths = {name: len(column) for name, column in vars(harvest).items()}
    if set(lengths.values()) != {len(harvest)} or harvest.state.shape[1:] != state_shape:
        raise ValueError(f"a harvest has columns {lengths} and states {harvest.state.shape[1:]}, not {state_shape}")
    ticket, parent = harvest.ticket, harvest.parent
    below = parent >= 0
    if ((ticket < 0) | (ticket >= num_tickets)).any() or ((parent < -2) | (parent >= rows)).any():
        raise ValueError(f"a harvest must name rows of its {num_tickets} tickets, and parents before their children")
    if (ticket[parent[below]] != ticket[below]).any():
        raise ValueError("a particle of a harvest has a parent of another ticket")
    if (harvest.level[parent[below]] >= harvest.level[below]).any():
        raise ValueError("a particle of a harvest is not below its parent's level")
    if (harvest.level < 1).any():
        raise ValueError(f"a particle of a harvest has the level {harvest.level.min()}; only roots are above level 1")
    if not np.isnan(harvest.reward[parent[below]]).all():
        raise ValueError("a particle of a harvest has a reward above x_0; it must be NaN there")
    for name in ("log_flow", "log_ratio"):
        column = getattr(harvest, name)
        if not (column < np.inf).all():
            raise ValueError(f"{name} of a harvest must be below infinity, got {column[~(column < np.inf)][0]}")
