"""Load ETTh1 and similar CSV files: find the data, check them, and explain what is wrong with a file.

ETTh1 (Zhou et al., *Informer*, AAAI 2021): hourly load and oil temperature of a transformer, 17,420 rows, 7 channels.
This is the only module of ``sadt_ray`` that reads the environment: ``$SADT_DATA`` and ``$XDG_CACHE_HOME``.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sadt_ray.data.dates import axis_of_texts
from sadt_ray.data.windows import CONTEXT_LENGTH, PREDICTION_LENGTH, SeriesDataset, standardised

ADDRESS = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv"
SHA256 = "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"
_REPOSITORY = Path(__file__).resolve().parents[2]
_MAX_BYTES = 16 << 20


class DataNotFound(FileNotFoundError):
    """The data were not found. The message lists the places and the remedies."""


class WrongChecksum(ValueError):
    """A file has the name of ETTh1 but another content."""


def load_etth1(download: bool = True, timeout: float = 20.0) -> SeriesDataset:
    """Load ETTh1 from ``$SADT_DATA``, ``../shared/data``, the user's cache, or its public address, in this order.

    Args:
        download: whether to try the public address.
        timeout: time limit of the download, in seconds.

    Raises:
        DataNotFound: if it was not found; the message gives the error of a failed download.
        WrongChecksum: if the file on disk is not ETTh1; it is a ValueError.
    """
    looked = []
    for path in _candidates():
        if path.is_file():
            _check_sha256(path.read_bytes(), path)
            return load_csv(path, "ETTh1")
        looked.append(str(path))
    if download:
        try:
            content = _download(timeout)
        except (OSError, HTTPException, ValueError) as error:
            looked.append(f"{ADDRESS} ({str(error) or type(error).__name__})")
        else:
            _keep(content)
            text = io.StringIO(content.decode("utf-8-sig"), newline="")
            return _parse(text, ADDRESS, "ETTh1", CONTEXT_LENGTH, PREDICTION_LENGTH)
    raise DataNotFound(_not_found_message(looked))


def load_csv(
    path: str | Path,
    name: str | None = None,
    context_length: int = CONTEXT_LENGTH,
    prediction_length: int = PREDICTION_LENGTH,
) -> SeriesDataset:
    """Load a CSV with the layout of ETTh1: a header, a first column of dates, then one numeric column per channel.

    Problems know their dates if those of the file parse and are regular; otherwise ``time`` is None.

    Args:
        path: path of the file.
        name: name of the dataset; by default the name of the file without its extension.
        context_length, prediction_length: numbers of rows of a context and of a future.

    Raises:
        DataNotFound: if there is no such file.
        ValueError: with row and column, if a value is missing or not a finite number, a row has too few or too many
            cells, a column occurs twice, or there are too few rows for the split.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFound(f"there is no file {path}; give the path of a CSV whose first column is a date")
    with path.open(newline="", encoding="utf-8-sig") as file:
        return _parse(file, str(path), name or path.stem, context_length, prediction_length)


def cache_directory() -> Path:
    """Directory of downloads: ``$XDG_CACHE_HOME/sadt_ray``, or ``~/.cache/sadt_ray``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sadt_ray"


def data_directories() -> list[Path]:
    """Directories that are searched for data, in this order: ``$SADT_DATA``, ``../shared/data``, the cache."""
    roots = [Path(os.environ["SADT_DATA"])] if os.environ.get("SADT_DATA") else []
    roots += dict.fromkeys((base / ".." / "shared" / "data").resolve() for base in (Path.cwd(), _REPOSITORY))
    return [*roots, cache_directory()]


def _candidates() -> Iterator[Path]:
    for root in data_directories():
        yield root / "ETTh1.csv"
        yield root / "etth" / "ETTh1.csv"


def _check_sha256(content: bytes, path: Path) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise WrongChecksum(
            f"{path} is not the ETTh1 of the literature: sha256 {found}, expected {SHA256}. Delete it to have it "
            f"fetched again, or pass it as --data-file if it is meant to be another series"
        )


def _download(timeout: float) -> bytes:
    """Download ETTh1. Raises OSError or HTTPException, or ValueError for another content."""
    request = urllib.request.Request(ADDRESS, headers={"User-Agent": "sadt_ray"})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        content: bytes = response.read(_MAX_BYTES)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ValueError(f"the download is not ETTh1: {len(content)} bytes, sha256 {found}, expected {SHA256}")
    return content


def _keep(content: bytes) -> None:
    """Write ETTh1 to the cache, atomically. If the cache cannot be written, nothing happens."""
    target = cache_directory() / "ETTh1.csv"
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as directory:
            part = Path(directory) / target.name
            part.write_bytes(content)
            os.replace(part, target)


def _not_found_message(looked: list[str]) -> str:
    places = "\n".join(f"  - {place}" for place in looked)
    return (
        f"ETTh1.csv was not found. Looked at:\n{places}\nThree ways to fix it:\n"
        f"  1. connect to the internet once: it is fetched from {ADDRESS} and kept in {cache_directory()}\n"
        f"  2. put ETTh1.csv in a directory and set SADT_DATA to that directory\n"
        f"  3. pass any CSV of the same shape (a date column, then numbers) with --data-file"
    )


def _parse(lines: Iterable[str], origin: str, name: str, context_length: int, prediction_length: int) -> SeriesDataset:
    """Make a data set from the lines of a CSV. ``origin`` names the source in errors."""
    reader = csv.reader(lines)
    header = [cell.strip() for cell in next(reader, [])]
    _check_header(header, origin)
    dates: list[str] = []
    rows = []
    for number, cells in enumerate(reader, start=2):
        if cells:
            rows.append(_parse_row(cells, header, number, origin))
            dates.append(cells[0])
    raw: Float[np.ndarray, "rows C"] = np.array(rows, np.float64).reshape(len(rows), len(header) - 1)
    try:
        return standardised(name, tuple(header[1:]), raw, context_length, prediction_length, axis_of_texts(dates))
    except ValueError as error:
        raise ValueError(f"{origin}: {error}; give a longer file") from None


def _check_header(header: list[str], origin: str) -> None:
    if not header:
        raise ValueError(f"{origin} is empty; the first line must name the columns, a date first")
    if len(header) < 2:
        raise ValueError(
            f"{origin}: the only column is {header[0]!r}; a date column and at least one channel are needed"
        )
    for column in header:
        if not column:
            raise ValueError(f"{origin}: column {header.index(column) + 1} has no name in row 1; name every column")
        if header.count(column) > 1:
            raise ValueError(f"{origin}: column {column!r} occurs {header.count(column)} times in row 1; rename one")


def _parse_row(cells: list[str], header: list[str], number: int, origin: str) -> list[float]:
    """The numbers of one row. ``number`` is the line of the file; the header is line 1."""
    if len(cells) != len(header):
        raise ValueError(
            f"{origin}: row {number} has {len(cells)} cells, the header has {len(header)}; repair that row"
        )
    try:
        numbers = [float(cell) for cell in cells[1:]]
    except ValueError:
        numbers = [float("nan")]
    if not np.isfinite(numbers).all():
        _raise_bad_cell(cells, header, number, origin)
    return numbers


def _raise_bad_cell(cells: list[str], header: list[str], number: int, origin: str) -> None:
    for column, cell in zip(header[1:], cells[1:], strict=True):
        text = cell.strip()
        try:
            if np.isfinite(float(text)):
                continue
        except ValueError:
            pass
        missing = not text or text.lower() in {"nan", "na", "null", "none"}
        problem = "is missing" if missing else f"is {text!r}, not a finite number"
        fix = "fill it in or drop the row" if missing else "correct it or remove the column"
        raise ValueError(f"{origin}: the value in row {number}, column {column!r} {problem}; {fix}")
