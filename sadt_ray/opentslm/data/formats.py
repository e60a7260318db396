"""The interface between ``load_stage`` and the modules that read the data of one stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sadt_ray.opentslm.data.normalise import Normalise
from sadt_ray.opentslm.data.tables import Row

Parts = dict[str, list[dict[str, Any]]]  # "train", "validation", "test", or "all" if the files have no parts
PARTS = ("train", "validation", "test")


class Format(NamedTuple):
    """The format of one stage.

    Attributes:
        read: reads the rows of a file or a folder, with unparsed cells; each row gets a ``source``.
        prepare: parses the cells of a row, for ``stage_problem``.
        published: path of upstream's own data; downloads them if necessary.
        samples: names of smaller collections in the same format.
        reading: the normalisation that these rows need, if it is not upstream's.
    """

    read: Callable[[Path], Parts]
    prepare: Callable[[Row], Row]
    published: Callable[[], Path]
    samples: tuple[str, ...]
    reading: Callable[[Sequence[Row]], Normalise | None] = lambda rows: None


def three_files(folder: Path, name: str) -> dict[str, Path]:
    """The files of a folder by part, as far as they exist. ``name`` has ``{}`` for upstream's word for the part.

    Raises ValueError if the folder has none of them.
    """
    words = {"train": "train", "validation": "val", "test": "test"}
    paths = {part: folder / name.format(word) for part, word in words.items()}
    there = {part: path for part, path in paths.items() if path.is_file()}
    if not there:
        raise ValueError(f"{folder} holds none of {', '.join(path.name for path in paths.values())}")
    return there
