"""One writer a run directory: an owner whose driver was killed may live on for some seconds, and must not write on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # no POSIX: nobody is kept out
    fcntl = None  # type: ignore[assignment]

_RETRY = 0.1  # seconds


@contextmanager
def only_writer(run: Path, patience: float = 60.0, name: str = ".lock") -> Iterator[None]:
    """Hold the run directory, as long as the block lasts or this process lives.

    Args:
        patience: seconds to wait for another writer to end.
        name: of the file that is held. ``.lock`` is a search's, which may have a process of its own; the program that
            starts one search after the other holds another.

    Raises:
        ValueError: if it does not.
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
            except OSError:  # a file system without locks, as some network volumes are: nobody is kept out
                break
        yield
