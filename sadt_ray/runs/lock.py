"""A lock that allows one writer per run directory. A tree owner may outlive its killed driver for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on POSIX: there is no lock
    fcntl = None  # type: ignore[assignment]

_RETRY = 0.1  # seconds between two attempts


@contextmanager
def only_writer(run: Path, patience: float = 60.0, name: str = ".lock") -> Iterator[None]:
    """Context that locks the run directory, until it ends or this process ends.

    Args:
        run: directory of the run; created if missing.
        patience: seconds to wait for another writer.
        name: name of the lock file. A search, which may run in its own process, uses ``.lock``; the program that starts
            several searches uses another name.

    Raises:
        ValueError: if another writer still holds the lock after ``patience`` seconds.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / name).open("w") as file:
        deadline = time.monotonic() + patience
        while fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ValueError(
                        f"another process has been writing to {run} for {patience:.0f} s; stop it first"
                    ) from None
                time.sleep(_RETRY)
            except OSError:  # a file system without locks, such as some network volumes
                break
        yield
