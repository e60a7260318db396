"""Stage 1, TSQA: multiple-choice questions about a series. A CSV with ``Task, Question, Answer, Series`` (a list)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sadt_ray.opentslm.data.formats import Format, Parts
from sadt_ray.opentslm.data.places import not_found
from sadt_ray.opentslm.data.tables import Row, read_table, with_numbers

HUB_ID = "ChengsenWang/TSQA"
SAMPLES = ("tsqa/tsqa.csv",)


def read(path: Path) -> Parts:
    """Read a table. The source of a question is its series, because several questions may be about one series."""
    rows = read_table(path)
    for row in rows:
        row["source"] = hashlib.sha256(str(row.get("Series")).encode()).hexdigest()[:12]
    return {"all": rows}


def prepare(row: Row) -> Row:
    return with_numbers(row, ["Series"])


def published() -> Path:
    """The data set of the hub, in the hub's cache. With ``HF_HUB_OFFLINE=1`` only the cache is used."""
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError:
        raise ModuleNotFoundError("huggingface_hub is needed to fetch TSQA: pip install 'sadt-ray[hf]'") from None
    try:
        return Path(hf_hub_download(HUB_ID, "TSQA.csv", repo_type="dataset"))
    except Exception as error:  # the hub's client raises errors of four libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise not_found(
            f"{HUB_ID} (TSQA.csv)", [f"https://huggingface.co/datasets/{HUB_ID}"], reason, SAMPLES
        ) from None


FORMAT = Format(read, prepare, published, SAMPLES)
