"""Trajectories as Arrow files: one row a node, so that paths and siblings can be read off ``parent``.

A directory holds numbered parts, each a complete Arrow IPC file that appears by an atomic rename: whoever follows the
directory never sees half a part, and a crash loses at most the rows still in memory. Any Arrow reader opens them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

SCHEMA_VERSION = "1"
_DTYPES = {
    "problem": np.int32, "node": np.int64, "parent": np.int64, "level": np.int16, "log_flow": np.float32,
    "reward": np.float64,
}  # fmt: skip


def trajectory_schema(state_shape: tuple[int, ...], state_dtype: np.dtype) -> pa.Schema:
    """Columns of a part; the shape and version are in the metadata. ``reward`` is null above x_0."""
    width = int(np.prod(state_shape))
    return pa.schema(
        [
            ("problem", pa.dictionary(pa.int32(), pa.string())),
            ("node", pa.int64()),
            ("parent", pa.int64()),  # -1 for a root
            ("level", pa.int16()),
            ("state", pa.list_(pa.from_numpy_dtype(state_dtype), width)),
            ("log_flow", pa.float32()),
            ("reward", pa.float64()),
        ],
        metadata={"schema_version": SCHEMA_VERSION, "state_shape": ",".join(map(str, state_shape))},
    )


class TrajectoryWriter:
    """Appends nodes of one search to a directory.

    Args:
        directory: created if missing; must not hold parts of another search.
        names: the problems' names.
        state_shape, state_dtype: of the process.
        rows_per_part: rows kept in memory before a part is written.
        continue_after: number of parts to keep, if this search wrote some before; those behind them are removed.
    """

    def __init__(
        self,
        directory: Path,
        names: Sequence[str],
        state_shape: tuple[int, ...],
        state_dtype: np.dtype,
        rows_per_part: int = 50_000,
        continue_after: int | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if continue_after is not None:
            _keep_parts(directory, continue_after)
        elif any(directory.glob("part-*.arrow")):
            raise ValueError(f"{directory} holds the trajectories of another search; choose another directory")
        self._directory = directory
        self._names = pa.array(names, pa.string())
        self._schema = trajectory_schema(state_shape, state_dtype)
        self._columns = {
            field.name: np.empty((rows_per_part, *state_shape), state_dtype)
            if field.name == "state"
            else np.empty(rows_per_part, _DTYPES[field.name])
            for field in self._schema
        }
        self._num_rows = 0  # in memory
        self._num_parts = continue_after or 0

    @property
    def num_parts(self) -> int:
        """Parts written so far; the next one gets this number."""
        return self._num_parts

    def append(
        self,
        problem: Int[np.ndarray, " R"],
        node: Int[np.ndarray, " R"],
        parent: Int[np.ndarray, " R"],
        level: Int[np.ndarray, " R"],
        state: np.ndarray,
        log_flow: Float[np.ndarray, " R"],
        reward: Float[np.ndarray, " R"],
    ) -> None:
        """R more nodes; ``reward`` is NaN for a node that is not x_0."""
        given = {
            "problem": problem, "node": node, "parent": parent, "level": level, "state": state, "log_flow": log_flow,
            "reward": reward,
        }  # fmt: skip
        room, done = len(self._columns["node"]), 0
        while done < len(node):
            taken = min(len(node) - done, room - self._num_rows)
            for name, column in self._columns.items():
                column[self._num_rows : self._num_rows + taken] = given[name][done : done + taken]
            self._num_rows += taken
            done += taken
            if self._num_rows == room:
                self.flush()

    def flush(self) -> None:
        """Write what is in memory as one more part."""
        if not self._num_rows:
            return
        part = _part(self._directory, self._num_parts)
        unfinished = part.with_suffix(".writing")
        with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_batch(self._batch())
        os.replace(unfinished, part)
        self._num_parts += 1
        self._num_rows = 0

    def _batch(self) -> pa.RecordBatch:
        """The rows in memory; numbers and states are not copied."""
        rows = {name: column[: self._num_rows] for name, column in self._columns.items()}
        flat = pa.array(rows["state"].reshape(-1))
        columns = {
            **rows,
            "problem": pa.DictionaryArray.from_arrays(pa.array(rows["problem"]), self._names),
            "state": pa.FixedSizeListArray.from_arrays(flat, self._schema.field("state").type.list_size),
            "reward": pa.array(rows["reward"], from_pandas=True),
        }
        return pa.RecordBatch.from_arrays([pa.array(columns[name]) for name in self._schema.names], schema=self._schema)


def _part(directory: Path, number: int) -> Path:
    return directory / f"part-{number:05d}.arrow"


def _keep_parts(directory: Path, count: int) -> None:
    """Remove all parts but the first ``count``. Raises ValueError if one of those is missing."""
    kept = [_part(directory, number) for number in range(count)]
    missing = [part.name for part in kept if not part.exists()]
    if missing:
        raise ValueError(f"{directory} should hold {count} parts to continue after, but {missing[0]} is missing")
    for part in (set(directory.glob("part-*.arrow")) | set(directory.glob("part-*.writing"))) - set(kept):
        part.unlink()


def read_trajectories(directory: Path) -> pa.Table:
    """All parts of a directory, memory-mapped. Raises ValueError if there are none or their versions differ."""
    parts = sorted(Path(directory).glob("part-*.arrow"))
    if not parts:
        raise ValueError(f"{directory} holds no trajectories (part-*.arrow)")
    tables = [pa.ipc.open_file(pa.memory_map(str(part))).read_all() for part in parts]
    for part, table in zip(parts, tables, strict=True):
        version = (table.schema.metadata or {}).get(b"schema_version", b"none").decode()
        if version != SCHEMA_VERSION:
            raise ValueError(f"{part} has schema version {version}, this program reads version {SCHEMA_VERSION}")
    return pa.concat_tables(tables)
