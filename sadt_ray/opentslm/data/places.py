"""Find the files of a stage in ``$SADT_DATA``, ``../shared/data`` or the user's cache, or download them.

Downloads go to the cache, under the names that they have in their archive. The addresses are upstream's; it publishes
no checksums.
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
    """A file or folder of this name in the first directory that has it; None if none has."""
    return next((root / name for root in data_directories() if (root / name).exists()), None)


def fetched(address: str, name: str, timeout: float = 30.0) -> Path:
    """A file that is downloaded once and cached as ``name``.

    Raises DataNotFound, saying where it was looked for and how to get it.
    """
    found = find_data(name)
    return found if found is not None else _kept(address, name, timeout, shutil.move)


def unpacked(address: str, folder: str, members: Sequence[str], timeout: float = 30.0) -> Path:
    """The folder with these members of a zip archive. The archive is downloaded if they are not on this machine.

    Only files with these names are extracted, from any folder of the archive. Raises DataNotFound if the archive
    cannot be downloaded or misses one of them.
    """
    found = find_data(folder)
    if found is not None and all((found / member).is_file() for member in members):
        return found

    def take_out(archive: str, target: str) -> None:
        _unzip(Path(archive), Path(target), members)

    return _kept(address, folder, timeout, take_out)


def not_found(what: str, addresses: Sequence[str], reason: str, names: Sequence[str]) -> DataNotFound:
    """The error for missing data: where they were looked for, why the download failed, and what to do."""
    places = "\n".join(f"  - {root / name}" for name in names for root in data_directories())
    homes = "\n".join(f"  - {address}" for address in addresses)
    return DataNotFound(
        f"{what} was not found. Looked at:\n{places}\n{homes}\n    ({reason})\nThree ways to fix it:\n"
        f"  1. connect to the internet once: it is downloaded to {cache_directory()}\n"
        f"  2. put {' or '.join(names)} into a directory and set SADT_DATA to that directory\n"
        f"  3. give the path of a file of your own in the same format"
    )


def _kept(address: str, name: str, timeout: float, put: Callable[[str, str], object]) -> Path:
    """Download to the cache. The result appears there complete or not at all."""
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
