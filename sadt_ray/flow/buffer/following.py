"""Follow a directory of trajectories: find the rows that were added or removed since the last poll."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sadt_ray.trajectories.parts import Batch, Part, find_parts, is_being_written, map_part, warn_cut_off
from sadt_ray.trajectories.schema import state_shape_of

_COLUMNS = "node", "parent", "level", "log_flow", "log_ratio", "reward"


class Chunk(NamedTuple):
    """Rows that were written together."""

    number: int
    schema: pa.Schema
    columns: dict[str, np.ndarray]  # every column except ``state``; ``problem`` is an index into ``names``
    names: list[str]
    states: np.ndarray  # [R, *state_shape], memory-mapped
    written: float  # seconds since 1970, not before the previous chunk


class Changes(NamedTuple):
    """Changes of a directory since the last poll."""

    fresh: list[Chunk]
    gone: list[int]  # numbers of chunks whose file was removed, as when a search resumes from its checkpoint
    moved: dict[int, np.ndarray]  # states of known chunks, mapped anew because their part is finished now


@dataclass
class _Seen:
    """A part as it was at the last poll."""

    inode: int
    size: int = -1
    changed: int = 0  # modification time of the finished part, in nanoseconds
    finished: bool = False
    warned: bool = False
    chunks: list[int] = field(default_factory=list)


class Follower:
    """Follows one directory.

    Args:
        directory: directory of trajectories.
        numbers: source of chunk numbers, shared by all followers, so that they are unique.
    """

    def __init__(self, directory: Path, numbers: Iterator[int]) -> None:
        self.directory = directory
        self._numbers = numbers
        self._parts: dict[int, _Seen] = {}
        self._written = 0.0

    def poll(self) -> Changes:
        """Read the changes. Warns of a part that was cut off, once. Raises ValueError for another schema version."""
        changes = Changes([], [], {})
        found = find_parts(self.directory)
        for number in self._parts.keys() - found.keys():
            changes.gone.extend(self._parts.pop(number).chunks)
        for number, path in found.items():
            with suppress(FileNotFoundError):  # removed in the meantime; the next poll reports it as gone
                self._read(number, path if path.exists() else path.with_suffix(""), changes)
        return changes

    def _read(self, number: int, path: Path, changes: Changes) -> None:
        stat = path.stat()
        seen = self._parts.setdefault(number, _Seen(stat.st_ino))
        written_over = seen.finished and (seen.size, seen.changed) != (stat.st_size, stat.st_mtime_ns)
        if seen.inode != stat.st_ino or written_over:  # another file of the same name
            changes.gone.extend(seen.chunks)
            seen = self._parts[number] = _Seen(stat.st_ino)
        if seen.finished:
            return
        if seen.size != stat.st_size:
            part = map_part(path)
            known = len(seen.chunks)
            changes.fresh.extend(self._chunk(part, batch, seen) for batch in part.batches[known:])
            if part.finished:
                batches = part.batches[:known]
                changes.moved.update(zip(seen.chunks, (_states(part.schema, batch) for batch in batches), strict=False))
            seen.finished = part.finished
            stat = path.stat() if part.finished else stat  # it may have grown before it was finished
            seen.size, seen.changed = stat.st_size, stat.st_mtime_ns
        if not (seen.finished or seen.warned or is_being_written(path)):
            warn_cut_off(path, map_part(path))
            seen.warned = True

    def _chunk(self, part: Part, batch: Batch, seen: _Seen) -> Chunk:
        number = next(self._numbers)
        seen.chunks.append(number)
        self._written = max(self._written, batch.written)
        rows = batch.rows
        problem = rows.column("problem")
        columns = {name: rows.column(name).to_numpy(zero_copy_only=False) for name in _COLUMNS}
        columns["problem"] = problem.indices.to_numpy()
        names = problem.dictionary.to_pylist()
        return Chunk(number, part.schema, columns, names, _states(part.schema, batch), self._written)


def _states(schema: pa.Schema, batch: Batch) -> np.ndarray:
    flat = batch.rows.column("state").values.to_numpy(zero_copy_only=False)
    return flat.reshape(batch.rows.num_rows, *state_shape_of(schema))


def trajectory_directories(path: Path) -> list[Path]:
    """Directories that hold parts: the path itself, or its subdirectories, or those of a run's ``trajectories/``."""
    if find_parts(path):
        return [path]
    return [
        directory
        for parent in (path, path / "trajectories")
        if parent.is_dir()
        for directory in sorted(parent.iterdir())
        if directory.is_dir() and find_parts(directory)
    ]
