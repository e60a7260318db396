"""Where the runs of a sweep go on, and where they are kept: a directory, or an address that every node reaches."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from jobs.resume import CONFIG, QUESTIONS

MARK = "sweep.json"
"""File by which a node knows that it sees the sweep's storage."""
RUNS = "runs"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Places:
    """The storage of a sweep, as every node of the cluster sees it.

    Attributes:
        storage: directory, or address such as ``s3://bucket/sweep``.
    """

    storage: str

    @property
    def remote(self) -> bool:
        return "://" in self.storage

    def open(self, preset: str | None) -> None:
        """Leave the mark. Raises OSError if the storage cannot be written to."""
        filesystem, path = self._at(MARK)
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with filesystem.open_output_stream(path) as file:
            file.write(json.dumps({"preset": preset}).encode())

    def check(self) -> None:
        """Raises ValueError on a node that does not see the storage."""
        filesystem, path = self._at(MARK)
        if filesystem.get_file_info(path).type == fs.FileType.NotFound:
            raise ValueError(
                f"this node does not see the sweep's storage {self.storage}; give --storage a directory that all nodes "
                "share, or an address such as s3://bucket/sweep"
            )

    def run_directory(self, name: str) -> Path:
        """Where a trial writes: into the storage, or on this node for as long as it runs."""
        if self.remote:
            return Path(tempfile.mkdtemp(prefix="sadt-")) / name
        return Path(self.storage) / RUNS / name

    def arguments(self, name: str, run: Path) -> list[str]:
        """What the trial's search is told beside its own arguments: where to begin, or where to go on.

        A directory that it cannot go on in is removed: its process died while it began, or it goes on from elsewhere.
        """
        begun = (run / CONFIG).exists() and any((run / file).exists() for file in ("problems.parquet", QUESTIONS))
        if begun and not self.remote:
            return ["--resume", str(run)]
        shutil.rmtree(run, ignore_errors=True)
        if not self.remote:
            return ["--out", str(run)]
        kept = f"{self.storage.rstrip('/')}/checkpoints/{name}"
        filesystem, path = fs.FileSystem.from_uri(f"{kept}/{CONFIG}")
        if filesystem.get_file_info(path).type == fs.FileType.NotFound:
            return ["--out", str(run), "--checkpoint-to", kept]
        return ["--resume", kept, "--out", str(run)]

    def keep(self, name: str, run: Path) -> None:
        """Bring a run that has ended to the storage, in place of what was kept when it was stopped before.

        Its summary comes last: where that is, all is.
        """
        if not self.remote:
            return
        filesystem, path = self._at(f"{RUNS}/{name}")
        if filesystem.get_file_info(path).type != fs.FileType.NotFound:
            filesystem.delete_dir(path)
        filesystem.create_dir(path, recursive=True)
        summary = (run / SUMMARY).rename(run.parent / SUMMARY)
        for here, there in ((run, path), (summary, f"{path}/{SUMMARY}")):
            fs.copy_files(str(here), there, source_filesystem=fs.LocalFileSystem(), destination_filesystem=filesystem)
        summary.rename(run / SUMMARY)

    def fetch(self, name: str, to: Path) -> None:
        """Bring a run from the storage, whole, unless it is there already or nowhere."""
        filesystem, path = self._at(f"{RUNS}/{name}")
        if to.exists() or filesystem.get_file_info(path).type == fs.FileType.NotFound:
            return
        unfinished = to.with_name(f"{to.name}.writing")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fs.copy_files(path, str(unfinished), source_filesystem=filesystem, destination_filesystem=fs.LocalFileSystem())
        unfinished.rename(to)

    def _at(self, name: str) -> tuple[fs.FileSystem, str]:
        if self.remote:
            return fs.FileSystem.from_uri(f"{self.storage.rstrip('/')}/{name}")
        return fs.LocalFileSystem(), str(Path(self.storage).absolute() / name)
