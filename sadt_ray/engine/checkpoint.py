"""Checkpoints of a search, at any address of ``pyarrow.fs``: a local folder, S3, Google Cloud Storage.

A checkpoint is one numbered file. It is moved into place when it is complete, so a killed writer leaves the one before.
Reading compares the content with its digest. Nothing is unpickled.
"""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import fs

from sadt_ray.numerics.tensor_file import Damaged, read_tensors, write_tensors
from sadt_ray.tree.state import SearchState, check_version

_NAME = re.compile(r"checkpoint-(\d+)\.safetensors(\.writing)?")
_URI = re.compile(r"[A-Za-z][\w+.-]+:/")  # at least two letters; a single letter is a Windows drive
_REST = 20  # shortest time between two checkpoints, in durations of the last one


class Checkpoints:
    """The checkpoints of one search.

    Args:
        address: folder for these checkpoints alone: a local path, or a URI such as ``s3://bucket/folder``. Created if
            missing.
        keep: number of checkpoints that are kept. An older one replaces a damaged one.

    Raises ValueError for an address that cannot be used.
    """

    def __init__(self, address: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self.address, self.keep = str(address), keep
        try:
            self._files, self._folder = _resolve(self.address)
            self._files.create_dir(self._folder, recursive=True)
        except (OSError, ValueError, NotImplementedError) as error:
            raise ValueError(
                f"checkpoints cannot be written to {self.address!r}: {error}; "
                "give a folder or an address such as s3://bucket/folder"
            ) from None

    def save(self, state: SearchState, facts: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint, then remove the oldest beyond ``keep``. ``facts`` holds JSON values."""
        found = self._found()
        path = self._path(max(found, default=0) + 1)
        metadata = {"state": _to_json(state.facts), "facts": _to_json(facts or {})}
        self._files.create_dir(self._folder, recursive=True)
        with self._files.open_output_stream(path + ".writing", compression=None) as sink:
            write_tensors(sink, state.arrays, metadata)
        self._files.move(path + ".writing", path)
        whole = sorted(number for number, paths in found.items() if self._path(number) in paths)
        for number in found.keys() - set(whole[max(len(whole) + 1 - self.keep, 0) :]):
            self._delete(found[number])

    def latest(self) -> tuple[SearchState, dict[str, Any]] | None:
        """The newest intact checkpoint and its facts; None if there is none.

        Warns of each damaged checkpoint. Raises ValueError for another format version.
        """
        found = self._found()
        for number in sorted(found, reverse=True):
            path = self._path(number)
            if path not in found[number]:
                continue  # the writer did not finish it
            try:
                arrays, metadata = self._read(path)
            except Damaged as damage:
                warnings.warn(f"{path} is damaged ({damage}); trying the previous one", stacklevel=2)
                continue
            state = SearchState(arrays, json.loads(metadata["state"]))
            check_version(state.facts)
            return state, json.loads(metadata["facts"])
        return None

    def remove(self) -> None:
        """Delete all checkpoints, and the folder if it is then empty."""
        for paths in self._found().values():
            self._delete(paths)
        exists = self._files.get_file_info(self._folder).type == fs.FileType.Directory
        if exists and not self._files.get_file_info(fs.FileSelector(self._folder)):
            self._files.delete_dir(self._folder)

    def _path(self, number: int) -> str:
        return f"{self._folder}/checkpoint-{number:08d}.safetensors"

    def _found(self) -> dict[int, list[str]]:
        """Files by checkpoint number, finished or not."""
        found: dict[int, list[str]] = {}
        for info in self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True)):
            match = _NAME.fullmatch(info.base_name)
            if match:
                found.setdefault(int(match[1]), []).append(f"{self._folder}/{info.base_name}")
        return found

    def _read(self, path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        with self._files.open_input_file(path) as source:
            return read_tensors(source, source.size())

    def _delete(self, paths: list[str]) -> None:
        for path in paths:
            self._files.delete_file(path)


class CheckpointTimes:
    """Decides when a checkpoint is due: after some simulations or some seconds, whichever comes first.

    The pause is at least twenty times the duration of the last checkpoint, so checkpoints take at most a twentieth of
    the time. If both numbers are None, no checkpoint is due.

    Args:
        every_simulations: number of simulations, over all problems; None for no such limit.
        every_seconds: seconds; None for no such limit.
        clock: seconds from any origin.
    """

    def __init__(
        self,
        every_simulations: int | None = None,
        every_seconds: float | None = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("every_simulations", every_simulations), ("every_seconds", every_seconds)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be None or a positive number, got {value}")
        self._every_simulations, self._every_seconds, self._clock = every_simulations, every_seconds, clock
        self._duration = 0.0
        self.begin(0)

    def begin(self, simulations: int) -> None:
        """Count from now, at this number of simulations."""
        self._simulations, self._ended = simulations, self._clock()

    def due(self, simulations: int) -> bool:
        """Whether a checkpoint is due at this number of simulations."""
        passed = self._clock() - self._ended
        enough = self._every_simulations is not None and simulations - self._simulations >= self._every_simulations
        late = self._every_seconds is not None and passed >= self._every_seconds
        return (enough or late) and passed >= _REST * self._duration

    @contextmanager
    def measured(self, simulations: int) -> Iterator[None]:
        """Context in which a checkpoint is written. It measures the duration, with or without success."""
        started = self._clock()
        try:
            yield
        finally:
            self.begin(simulations)
            self._duration = self._ended - started


def _resolve(address: str) -> tuple[fs.FileSystem, str]:
    if not _URI.match(address):
        return fs.LocalFileSystem(), str(Path(address).expanduser().absolute())
    files, path = fs.FileSystem.from_uri(address)
    return files, path.rstrip("/")


def _to_json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, default=lambda value: value.item() if isinstance(value, np.generic) else str(value))
