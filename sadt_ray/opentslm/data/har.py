"""Stage 3, HAR-CoT: windows of three axes. CSV files with ``x_axis, y_axis, z_axis`` (lists), ``label, rationale``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sadt_ray.opentslm.data.formats import Format, Parts, three_files
from sadt_ray.opentslm.data.normalise import Normalise, normalised_har_by_window
from sadt_ray.opentslm.data.places import unpacked
from sadt_ray.opentslm.data.tables import Row, read_table, with_numbers

ADDRESS = "https://polybox.ethz.ch/index.php/s/kD74GnMYxn3HBEM/download"
_FILES = "har_cot_{}_cot.csv"
_PERSON = re.compile(r"(GeoTec s\d+)_\d+_sp\.csv")  # one person, several recordings


def read(path: Path) -> Parts:
    """Read upstream's three files in a folder, or one file. A column ``source`` may name the subject.

    Without that column each window is its own source; upstream's files have none. A file may mark windows of other
    activities with ``in_opentslm_labels``; they are left out.
    """
    if path.is_dir():
        return {part: _read(file) for part, file in three_files(path, _FILES).items()}
    return {"all": _read(path)}


def prepare(row: Row) -> Row:
    return with_numbers(row, [f"{axis}_axis" for axis in "xyz"])


def published() -> Path:
    return unpacked(ADDRESS, "har_cot", [_FILES.format(word) for word in ("train", "val", "test")])


def _read(path: Path) -> list[dict[str, Any]]:
    rows = [row for row in read_table(path) if str(row.get("in_opentslm_labels", True)).lower() != "false"]
    for number, row in enumerate(rows):
        row["source"] = _PERSON.sub(r"\1", row.get("source") or f"{path.stem}/{number:05d}")
    return rows


def reading(rows: Sequence[Row]) -> Normalise | None:
    """By window if units are mixed, because an axis of 2,000 counts would reveal the collection it is from."""
    return normalised_har_by_window if len({row.get("unit") for row in rows}) > 1 else None


FORMAT = Format(read, prepare, published, ("har/har_windows_50hz.csv",), reading)
