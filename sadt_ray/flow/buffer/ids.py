"""An index from node ids to rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from sadt_ray.flow.buffer.nodes import MISSING

_RUN_BITS = 40  # tree nodes and recorded particles differ above this bit; the ids of each kind ascend


class RowOfNode:
    """Rows of the nodes of one directory, sorted by id. Ascending ids are cheap to add; any order is correct."""

    def __init__(self) -> None:
        self._runs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def add(self, ids: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"]) -> None:
        run = ids >> _RUN_BITS
        for key in np.unique(run).tolist():
            mine = run == key
            old_ids, old_rows = self._runs.get(key, (ids[:0], rows[:0]))
            all_ids, all_rows = np.concatenate([old_ids, ids[mine]]), np.concatenate([old_rows, rows[mine]])
            if (np.diff(all_ids[max(len(old_ids) - 1, 0) :]) < 0).any():
                order = np.argsort(all_ids, kind="stable")
                all_ids, all_rows = all_ids[order], all_rows[order]
            self._runs[key] = all_ids, all_rows

    def find(self, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Row of each id; MISSING for a node that is not held."""
        rows = np.full(len(ids), MISSING)
        run = ids >> _RUN_BITS
        for key, (known, row) in self._runs.items():
            mine = np.flatnonzero(run == key)
            if len(known):
                at = np.minimum(np.searchsorted(known, ids[mine]), len(known) - 1)
                rows[mine] = np.where(known[at] == ids[mine], row[at], MISSING)
        return rows

    def keep(self, new_row: Int[np.ndarray, " N"]) -> None:
        """Renumber the rows. Ids whose new row is MISSING are dropped."""
        for key, (ids, rows) in self._runs.items():
            moved = new_row[rows]
            self._runs[key] = ids[moved >= 0], moved[moved >= 0]
