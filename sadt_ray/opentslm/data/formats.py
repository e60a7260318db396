"""How a stage's data are read: what every format module gives to ``load_stage``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sadt_ray.opentslm.data.normalise import Normalise
from sadt_ray.opentslm.data.tables import Row

Parts = dict[str, list[dict[str, Any]]]  # "train", "validation", "test", or "all" where the files make no difference
PARTS = ("train", "validation", "test")


class Format(NamedTuple):
    """One stage's.

    Attributes:
        read: the rows of a file or a folder, cells as they stand; each with a ``source``.
        prepare: a row with its cells read, as ``stage_problem`` wants it.
        published: upstream's own data: found on this machine, or fetched.
        samples: names under which a smaller collection of the same format may lie.
        reading: another reading than upstream's that all these rows together call for.
    """

    read: Callable[[Path], Parts]
    prepare: Callable[[Row], Row]
    published: Callable[[], Path]
    samples: tuple[str, ...]
    reading: Callable[[Sequence[Row]], Normalise | None] = lambda rows: None


def three_files(folder: Path, name: str) -> dict[str, Path]:
    """part -> the file of a folder, ``name`` with ``{}`` for upstream's word for the part; those that are there."""
    words = {"train": "train", "validation": "val", "test": "test"}
    paths = {part: folder / name.format(word) for part, word in words.items()}
    there = {part: path for part, path in paths.items() if path.is_file()}
    if not there:
        raise ValueError(f"{folder} holds none of {', '.join(path.name for path in paths.values())}")
    return there
