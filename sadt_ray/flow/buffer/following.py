"""A directory of trajectories, followed: what has come since the last look, and what has gone."""

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
    """Rows that were written at once."""

    number: int
    schema: pa.Schema
    columns: dict[str, np.ndarray]  # all but ``state``; ``problem`` is an index into ``names``
    names: list[str]
    states: np.ndarray  # [R, *state_shape], memory-mapped
    written: float  # seconds since 1970, never less than that of the chunk before


class News(NamedTuple):
    """Since the last look."""

    fresh: list[Chunk]
    gone: list[int]  # numbers of chunks whose file is there no more: a resumed search began behind its checkpoint
    moved: dict[int, np.ndarray]  # states of known chunks in one mapping of the whole part, now that it is finished


@dataclass
class _Seen:
    """A part as it was at the last look."""

    inode: int
    size: int = -1
    changed: int = 0  # when it was finished, in nanoseconds
    finished: bool = False
    warned: bool = False
    chunks: list[int] = field(default_factory=list)


class Follower:
    """Follows one directory. ``numbers`` gives its chunks numbers that no other directory's have."""

    def __init__(self, directory: Path, numbers: Iterator[int]) -> None:
        self.directory = directory
        self._numbers = numbers
        self._parts: dict[int, _Seen] = {}
        self._written = 0.0

    def look(self) -> News:
        """Read what is new. Warns of a part that was cut off, once. Raises ValueError for another schema version."""
        news = News([], [], {})
        there = find_parts(self.directory)
        for number in self._parts.keys() - there.keys():
            news.gone.extend(self._parts.pop(number).chunks)
        for number, path in there.items():
            with suppress(FileNotFoundError):  # removed in between, and gone at the next look
                self._look_at(number, path if path.exists() else path.with_suffix(""), news)
        return news

    def _look_at(self, number: int, path: Path, news: News) -> None:
        stat = path.stat()
        seen = self._parts.setdefault(number, _Seen(stat.st_ino))
        written_over = seen.finished and (seen.size, seen.changed) != (stat.st_size, stat.st_mtime_ns)
        if seen.inode != stat.st_ino or written_over:  # another file by the same name
            news.gone.extend(seen.chunks)
            seen = self._parts[number] = _Seen(stat.st_ino)
        if seen.finished:
            return
        if seen.size != stat.st_size:
            part = map_part(path)
            known = len(seen.chunks)
            news.fresh.extend(self._chunk(part, batch, seen) for batch in part.batches[known:])
            if part.finished:
                batches = part.batches[:known]
                news.moved.update(zip(seen.chunks, (_states(part.schema, batch) for batch in batches), strict=False))
            seen.finished = part.finished
            stat = path.stat() if part.finished else stat  # it may have grown since, and does so no more
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
    """Those that hold parts: the path itself, or its subdirectories, or those of a run's ``trajectories/``."""
    if find_parts(path):
        return [path]
    return [
        directory
        for parent in (path, path / "trajectories")
        if parent.is_dir()
        for directory in sorted(parent.iterdir())
        if directory.is_dir() and find_parts(directory)
    ]
