"""Rows of a CSV, parquet or JSON file, and lists of numbers in their cells."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sadt_ray.data.etth1 import DataNotFound

Row = Mapping[str, Any]
_WIDEST_CELL = 1 << 26  # bytes: a series of a million numbers fits
_READABLE = (".csv", ".json", ".jsonl", ".parquet")


def read_table(path: str | Path) -> list[dict[str, Any]]:
    """All rows of a file, by suffix: ``.csv``, ``.parquet``, ``.json`` (a list of objects, or one), ``.jsonl``.

    Rows that repeat the header, as HAR-CoT's files do, are left out.

    Raises:
        DataNotFound: if there is no such file.
        ValueError: naming the file, if it is of another kind, cannot be read or has no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFound(f"there is no file {path}")
    if path.suffix not in _READABLE:
        raise ValueError(f"{path} is none of {', '.join(_READABLE)}; convert it to one of them")
    try:
        rows = [row for row in _rows(path) if any(cell != column for column, cell in row.items())]
    except (ValueError, csv.Error) as error:  # also JSON and unicode errors
        raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from None
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def numbers(cell: Any) -> Float[np.ndarray, "*shape"]:
    """The numbers in a cell: a list, or the text of a list in JSON or Python. Raises ValueError for anything else."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            cell = _python_list(cell)
    try:
        values = np.asarray(cell, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{_shown(cell)} is not a list of numbers, or its lists are of different lengths") from None
    if values.ndim == 0:
        raise ValueError(f"{_shown(cell)} is one value, not a list of numbers")
    return values


def with_numbers(row: Row, columns: Iterable[str]) -> dict[str, Any]:
    """Parse the cells of these columns. Raises ValueError naming a column that is missing or holds no list."""
    read = dict(row)
    for column in columns:
        if column not in row:
            raise ValueError(f"there is no column {column!r}; the columns are {', '.join(row)}")
        try:
            read[column] = numbers(row[column])
        except ValueError as error:
            raise ValueError(f"column {column!r}: {error}") from None
    return read


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        if path.suffix == ".csv":
            csv.field_size_limit(_WIDEST_CELL)
            yield from csv.DictReader(file)
        elif path.suffix == ".jsonl":
            yield from (json.loads(line) for line in file if line.strip())
        else:
            read = json.load(file)
            yield from [read] if isinstance(read, dict) else read


def _python_list(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ValueError(f"{_shown(text)} is not a list of numbers") from None


def _shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else f"{text[:37]}..."
