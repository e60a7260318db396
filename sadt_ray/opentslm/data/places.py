"""Where a stage's files are: ``$SADT_DATA``, ``../shared/data``, the user's cache, or their public home.

What comes from there is kept in the cache, under the names it has in an archive. The addresses are upstream's; it
publishes no checksums.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from sadt_ray.data.etth1 import DataNotFound, cache_directory, data_directories


def find_data(name: str) -> Path | None:
    """A file or folder of this name in the first place that has it."""
    return next((root / name for root in data_directories() if (root / name).exists()), None)


def fetched(address: str, name: str, timeout: float = 30.0) -> Path:
    """A file from its public home, kept in the cache as ``name``; asked for once.

    Raises DataNotFound, saying where it was looked for and the ways out.
    """
    found = find_data(name)
    return found if found is not None else _kept(address, name, timeout, shutil.move)


def unpacked(address: str, folder: str, members: Sequence[str], timeout: float = 30.0) -> Path:
    """The folder that holds these members of a zip archive, from a place on this machine or from its public home.

    Only files of these names are taken out of the archive, wherever in it they are. Raises DataNotFound if one is
    missing there, or if the archive cannot be had.
    """
    found = find_data(folder)
    if found is not None and all((found / member).is_file() for member in members):
        return found

    def take_out(archive: str, target: str) -> None:
        _unzip(Path(archive), Path(target), members)

    return _kept(address, folder, timeout, take_out)


def not_found(what: str, addresses: Sequence[str], reason: str, names: Sequence[str]) -> DataNotFound:
    """The error for data that are nowhere: where they were looked for, why the download failed, the ways out."""
    places = "\n".join(f"  - {root / name}" for name in names for root in data_directories())
    homes = "\n".join(f"  - {address}" for address in addresses)
    return DataNotFound(
        f"{what} was not found. Looked at:\n{places}\n{homes}\n    ({reason})\nThree ways to fix it:\n"
        f"  1. connect to the internet once: it is fetched and kept in {cache_directory()}\n"
        f"  2. put {' or '.join(names)} into a directory and set SADT_DATA to that directory\n"
        f"  3. give the path of a file of your own in the same format"
    )


def _kept(address: str, name: str, timeout: float, put: Callable[[str, str], object]) -> Path:
    """Download to the cache, where it appears whole or not at all."""
    target = cache_directory() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as directory:
            part, made = Path(directory) / "part", Path(directory) / "made"
            request = urllib.request.Request(address, headers={"User-Agent": "sadt_ray"})
            with urllib.request.urlopen(request, timeout=timeout) as response, part.open("wb") as file:
                shutil.copyfileobj(response, file)
            put(str(part), str(made))
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(target) if target.is_dir() else target.unlink()
            os.replace(made, target)
    except (OSError, HTTPException, ValueError, zipfile.BadZipFile) as error:
        raise not_found(name, [address], str(error) or type(error).__name__, [name]) from None
    return target


def _unzip(archive: Path, folder: Path, members: Sequence[str]) -> None:
    folder.mkdir()
    with zipfile.ZipFile(archive) as opened:
        inside = {Path(entry).name: entry for entry in opened.namelist() if not entry.endswith("/")}
        missing = [member for member in members if member not in inside]
        if missing:
            raise ValueError(f"the archive does not hold {', '.join(missing)}")
        for member in members:
            with opened.open(inside[member]) as source, (folder / member).open("wb") as file:
                shutil.copyfileobj(source, file)
