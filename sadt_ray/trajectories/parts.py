"""Read parts: finished ones, the growing one, and the rest of a part after a crash.

An Arrow IPC file is eight bytes of magic and padding, a stream of batches, and a footer. Without a footer the stream
can still be read up to its last whole batch.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from sadt_ray.trajectories.schema import check_version

try:
    import fcntl
except ImportError:  # not on POSIX: locks are not available
    fcntl = None  # type: ignore[assignment]

_MAGIC, _STREAM_FROM = b"ARROW1", 8
_NAME = re.compile(r"part-(\d+)\.arrow(\.writing)?")
_WRITTEN = "written"  # metadata of each batch: seconds since 1970


class Batch(NamedTuple):
    """Rows that were written together."""

    rows: pa.RecordBatch
    written: float  # seconds since 1970


class Part(NamedTuple):
    """The readable part of a file, memory-mapped."""

    schema: pa.Schema | None  # None if the schema is not written yet
    batches: list[Batch]
    finished: bool  # whether the file has its footer


def part_path(directory: Path, number: int, finished: bool = True) -> Path:
    """Path of a part."""
    return directory / f"part-{number:05d}.arrow{'' if finished else '.writing'}"


def find_parts(directory: Path) -> dict[int, Path]:
    """Parts of the directory by number, ascending. If both files of a part exist, it is the finished one."""
    parts: dict[int, Path] = {}
    for path in sorted(directory.glob("part-*")):  # NAME comes before NAME.writing
        if match := _NAME.fullmatch(path.name):
            parts.setdefault(int(match[1]), path)
    return dict(sorted(parts.items()))


def map_part(path: Path) -> Part:
    """Map the whole batches of a part. An incomplete batch at the end is ignored.

    Raises ValueError for another schema version, and FileNotFoundError if there is no such file.
    """
    if path.stat().st_size <= _STREAM_FROM:
        return Part(None, [], False)
    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()  # stays mapped as long as it is referenced
    try:
        stream = pa.ipc.open_stream(pa.BufferReader(content.slice(_STREAM_FROM)))
    except (pa.ArrowInvalid, OSError):
        return Part(None, [], False)
    check_version(stream.schema, path)
    finished = content.slice(content.size - len(_MAGIC)).to_pybytes() == _MAGIC
    return Part(stream.schema, list(_whole_batches(stream)), finished)


def _whole_batches(stream: pa.RecordBatchStreamReader) -> Iterator[Batch]:
    while True:
        try:
            rows, about = stream.read_next_batch_with_custom_metadata()
        except (StopIteration, pa.ArrowInvalid, OSError):  # the end, or an incomplete batch
            return
        yield Batch(rows, float((about or {}).get(_WRITTEN, 0.0)))


def written_now(seconds: float) -> dict[str, str]:
    """Metadata of a batch, which ``Batch.written`` reads back."""
    return {_WRITTEN: repr(seconds)}


def hold_while_writing(sink: pa.OSFile) -> None:
    """Lock the file until it is closed or this process ends."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(sink.fileno(), fcntl.LOCK_EX)  # readers hold the lock for a moment only


def is_being_written(path: Path) -> bool:
    """Whether a process still writes the file, or has just created or renamed it. True if locks are not available."""
    growing = path.name.endswith(".writing")
    if not growing or fcntl is None:
        return growing
    try:
        with pa.OSFile(str(path)) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            return file.size() == 0
    except OSError:  # held, renamed, or without locks
        return True


def warn_cut_off(path: Path, part: Part) -> None:
    """Warn of a part that its writer did not finish, and say how many rows are left."""
    rows = sum(batch.rows.num_rows for batch in part.batches)
    warnings.warn(
        f"{path} was cut off: its writer was killed or the file was damaged; {rows} rows in {len(part.batches)} whole "
        "batches are left",
        stacklevel=3,
    )


def read_trajectories(directory: Path) -> pa.Table:
    """Read all parts of a directory, with the growing one, memory-mapped.

    Warns of a part that was cut off by a crash, and reads its whole batches. Raises ValueError if there are no
    trajectories, or for another schema version.
    """
    schema, batches = None, []
    for path in find_parts(Path(directory)).values():
        part = map_part(path if path.exists() else path.with_suffix(""))  # it may have been finished meanwhile
        if not part.finished and not is_being_written(path):
            warn_cut_off(path, part)
        schema = schema or part.schema
        batches += [batch.rows for batch in part.batches]
    if schema is None:
        raise ValueError(f"{directory} holds no trajectories (part-*.arrow)")
    return pa.concat_tables([pa.Table.from_batches([rows]) for rows in batches]) if batches else schema.empty_table()
