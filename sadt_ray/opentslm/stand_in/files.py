"""The files that stand-ins are trained on, and the directory of trained stand-ins."""

from __future__ import annotations

from pathlib import Path

from sadt_ray.data.etth1 import DataNotFound, cache_directory, data_directories


def data_file(name: str) -> Path:
    """A file of the data collection, such as ``"har/har_windows_50hz.csv"``, in the directories searched for ETTh1.

    Raises DataNotFound listing these directories.
    """
    places = [root / name for root in data_directories()]
    for path in places:
        if path.is_file():
            return path
    listed = "\n".join(f"  - {path}" for path in places)
    raise DataNotFound(
        f"{name} was not found. Looked at:\n{listed}\nPut the data collection into a directory and set SADT_DATA to it"
    )


def stand_in_directory() -> Path:
    """The directory of stand-ins that were trained on demand: ``~/.cache/sadt_ray/stand-ins``."""
    return cache_directory() / "stand-ins"
