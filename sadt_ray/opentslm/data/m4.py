"""Stage 2, M4 captions: ``m4_series_F.csv`` (``id, series``) and ``m4_captions_F.csv`` (``id, caption``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sadt_ray.opentslm.data.formats import Format, Parts
from sadt_ray.opentslm.data.places import unpacked
from sadt_ray.opentslm.data.tables import Row, read_table, with_numbers

ADDRESS = "https://polybox.ethz.ch/index.php/s/MT3y9WdEebT8wfj/download/M4TimeSeriesCaptionDatasetV02.zip"
FREQUENCIES = ("Daily", "Hourly", "Monthly", "Quarterly", "Weekly", "Yearly")  # upstream's order
_FOLDER = "M4TimeSeriesCaptionDataset/M4TimeSeriesCaptionDataset"
_SERIES, _CAPTIONS = "m4_series_", "m4_captions_"


def read(path: Path) -> Parts:
    """Read one file of series with frequency F, or all files of a folder in upstream's order, with their captions.

    Without a file of captions beside the series, they have none. With one, a series without a caption is left out, as
    upstream does.
    """
    files = [path / f"{_SERIES}{frequency}.csv" for frequency in FREQUENCIES] if path.is_dir() else [path]
    there = [file for file in files if file.is_file()]
    if not there:
        raise ValueError(f"{path} holds no {_SERIES}FREQUENCY.csv, FREQUENCY one of {', '.join(FREQUENCIES)}")
    return {"all": [row for file in there for row in _read_frequency(file)]}


def prepare(row: Row) -> Row:
    return with_numbers(row, ["series"])


def published() -> Path:
    names = [f"{kind}{frequency}.csv" for frequency in FREQUENCIES for kind in (_SERIES, _CAPTIONS)]
    return unpacked(ADDRESS, _FOLDER, names)


def _read_frequency(path: Path) -> list[dict[str, Any]]:
    rows = read_table(path)
    frequency = path.stem.removeprefix(_SERIES)
    for row in rows:
        row["source"] = row.get("id") or path.stem
        row["frequency"] = frequency
    beside = path.with_name(f"{_CAPTIONS}{frequency}.csv")
    if not beside.is_file():
        return rows
    captions = {row["id"]: row["caption"] for row in read_table(beside)}
    return [{**row, "caption": captions[row["id"]]} for row in rows if row["id"] in captions]


FORMAT = Format(read, prepare, published, ("m4/m4_series_Hourly.csv",))
