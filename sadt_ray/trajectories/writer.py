"""Write parts: rows are collected in memory and written as batches; several batches make a part."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from sadt_ray.trajectories.parts import find_parts, hold_while_writing, map_part, part_path, written_now
from sadt_ray.trajectories.schema import DTYPES, trajectory_schema


class TrajectoryWriter:
    """Appends the nodes of one search to a directory.

    Args:
        directory: created if missing. It must not hold parts of another search.
        names: names of the problems.
        state_shape, state_dtype: shape and type of a state.
        facts: JSON values for the metadata of every part.
        rows_per_batch: largest number of rows in memory.
        rows_per_part: number of rows of a finished part.
        seconds_between_batches: time after which the next ``append`` writes the rows in memory, however few.
        continue_after: number of parts to keep when a search resumes; later parts are removed. None for a new search.
        clock: seconds from any origin.

    Raises ValueError if the directory holds parts of another search, or parts to keep are missing or do not fit.
    """

    def __init__(
        self,
        directory: Path,
        names: Sequence[str],
        state_shape: tuple[int, ...],
        state_dtype: np.dtype,
        facts: Mapping[str, Any] | None = None,
        rows_per_batch: int = 8_192,
        rows_per_part: int = 65_536,
        seconds_between_batches: float = 1.0,
        continue_after: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("rows_per_batch", rows_per_batch), ("rows_per_part", rows_per_part)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._schema = trajectory_schema(state_shape, state_dtype, facts)
        directory.mkdir(parents=True, exist_ok=True)
        if continue_after is not None:
            _keep_parts(directory, continue_after, self._schema)
        elif find_parts(directory):
            raise ValueError(f"{directory} holds the trajectories of another search; choose another directory")
        self._directory = directory
        self._names = pa.array(names, pa.string())
        rows_per_batch = min(rows_per_batch, rows_per_part)
        self._columns = {
            field.name: np.empty((rows_per_batch, *state_shape), state_dtype)
            if field.name == "state"
            else np.empty(rows_per_batch, DTYPES[field.name])
            for field in self._schema
        }
        self._rows_per_part, self._seconds_between, self._clock = rows_per_part, seconds_between_batches, clock
        self._part: _GrowingPart | None = None
        self._waiting = 0  # number of rows in memory
        self._last_batch = clock()
        self._num_parts = continue_after or 0

    @property
    def num_parts(self) -> int:
        """Number of finished parts, which is also the number of the growing part."""
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
        log_ratio: Float[np.ndarray, " R"] | None = None,
    ) -> None:
        """Append R nodes; R may be 0. ``reward`` is NaN for a node that is not x_0, ``log_ratio`` is 0 by default."""
        given = {
            "problem": problem, "node": node, "parent": parent, "level": level, "state": state, "log_flow": log_flow,
            "log_ratio": np.zeros(len(node)) if log_ratio is None else log_ratio, "reward": reward,
        }  # fmt: skip
        done = 0
        while done < len(node):
            taken = min(len(node) - done, self._room())
            for name, column in self._columns.items():
                column[self._waiting : self._waiting + taken] = given[name][done : done + taken]
            self._waiting += taken
            done += taken
            if self._room() == 0:
                self.flush()
        if self._waiting and self._clock() - self._last_batch >= self._seconds_between:
            self.flush()

    def flush(self) -> None:
        """Write the rows in memory as a batch, so that readers can see them."""
        if self._waiting:
            if self._part is None:
                self._part = _GrowingPart(self._directory, self._num_parts, self._schema)
            self._part.write(self._batch())
            self._waiting = 0
            if self._part.rows == self._rows_per_part:
                self.finish_part()
        self._last_batch = self._clock()

    def finish_part(self) -> None:
        """Write the rows in memory and finish the growing part. The next row starts another part."""
        self.flush()
        if self._part is not None:
            self._part.finish()
            self._part = None
            self._num_parts += 1

    def _room(self) -> int:
        """Number of rows until the batch or the part is full."""
        in_part = self._rows_per_part - (self._part.rows if self._part is not None else 0)
        return min(len(self._columns["node"]), in_part) - self._waiting

    def _batch(self) -> pa.RecordBatch:
        """The rows in memory as a batch. Numbers and states are not copied."""
        rows = {name: column[: self._waiting] for name, column in self._columns.items()}
        flat = pa.array(rows["state"].reshape(-1))
        columns = {
            **rows,
            "problem": pa.DictionaryArray.from_arrays(pa.array(rows["problem"]), self._names),
            "state": pa.FixedSizeListArray.from_arrays(flat, self._schema.field("state").type.list_size),
            "reward": pa.array(rows["reward"], from_pandas=True),
        }
        return pa.RecordBatch.from_arrays([pa.array(columns[name]) for name in self._schema.names], schema=self._schema)


class _GrowingPart:
    """The part that is being written. After an error it refuses further writes, so the file stays readable."""

    def __init__(self, directory: Path, number: int, schema: pa.Schema) -> None:
        self._finished = part_path(directory, number)
        self._growing = part_path(directory, number, finished=False)
        self._sink = pa.OSFile(str(self._growing), "wb")  # not buffered, so that readers see every batch
        hold_while_writing(self._sink)
        self._writer = pa.ipc.new_file(self._sink, schema)
        self._broken = False
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if self._broken:
            raise OSError(f"{self._growing} could not be written before; resume from the last checkpoint")
        self._broken = True
        self._writer.write_batch(batch, custom_metadata=written_now(time.time()))
        self._broken = False
        self.rows += batch.num_rows

    def finish(self) -> None:
        if self._broken:
            raise OSError(f"{self._growing} could not be written before; resume from the last checkpoint")
        self._writer.close()
        os.replace(self._growing, self._finished)
        self._sink.close()  # this releases the lock


def _keep_parts(directory: Path, count: int, schema: pa.Schema) -> None:
    """Remove all parts after the first ``count``. Raises ValueError if one of these is missing or has other columns."""
    kept = [part_path(directory, number) for number in range(count)]
    missing = [part.name for part in kept if not part.exists()]
    if missing:
        raise ValueError(f"{directory} should hold {count} parts to continue after, but {missing[0]} is missing")
    if kept and (found := map_part(kept[0]).schema) != schema:
        raise ValueError(f"{kept[0]} has the columns {found}, but this search writes {schema}; begin a new search")
    for part in set(directory.glob("part-*.arrow")) | set(directory.glob("part-*.writing")):
        if part not in kept:
            part.unlink()
