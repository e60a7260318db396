"""Stage 4, Sleep-CoT: epochs of 30 seconds of EEG. Formats: a CSV with ``time_series`` (a list, or a list in a list),
``label, rationale``; or the epochs of a polysomnogram as parquet, with one column per channel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sadt_ray.opentslm.data.formats import Format, Parts
from sadt_ray.opentslm.data.places import fetched
from sadt_ray.opentslm.data.tables import Row, read_table, with_numbers

ADDRESS = "https://polybox.ethz.ch/index.php/s/ZryWSdCFJZ9JR3R/download"
EPOCH_SECONDS = 30.0
_CHANNEL = "EEG_Fpz_Cz"  # the channel of Sleep-CoT
_EPOCHS = 60  # in half an hour


def read(path: Path) -> Parts:
    """Read the epochs of a file. The source is the ``record``, if there are several.

    The sources of a single night are its half hours: a split by them separates neighbours in time, but not the sleeper.
    Without such columns each epoch is its own source, as in upstream's split.
    """
    rows = read_table(path)
    if "time_series" not in rows[0] and _CHANNEL not in rows[0]:
        raise ValueError(f"{path} has neither a column time_series nor {_CHANNEL}; it has {', '.join(rows[0])}")
    several = len({row.get("record") for row in rows}) > 1
    for number, row in enumerate(rows):
        row["source"] = row["record"] if several else _half_hour(row, path, number)
        row.setdefault("time_series", row.get(_CHANNEL))
    return {"all": rows}


def prepare(row: Row) -> Row:
    read = with_numbers(row, ["time_series"])
    series = read["time_series"]
    series = series[0] if series.ndim == 2 and len(series) == 1 else series
    return {**read, "time_series": series, "sampling_rate": len(series) / EPOCH_SECONDS}


def published() -> Path:
    return fetched(ADDRESS, "sleep/sleep_cot.csv")


def _half_hour(row: dict[str, Any], path: Path, number: int) -> str:
    if "epoch" not in row:
        return f"{path.stem}/{number:05d}"
    record = row.get("record") or path.stem.split("_")[0]
    return f"{record}/half hour {int(row['epoch']) // _EPOCHS}"


FORMAT = Format(read, prepare, published, ("sleep/SC4001E0_psg_1hz_epochs.parquet",))
