"""Input that a run cannot begin with: found before a run directory exists, said in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sadt_ray.engine.loop import RolloutFailed

NOTHING_SATISFIES = 4
"""Exit code of a run that ended well and found that no sample of a problem has any weight."""


class Refused(ValueError):
    """A run cannot begin; the message names the value and the fix."""


@contextmanager
def refusing() -> Iterator[None]:
    """Around all that comes before a run begins: what goes wrong there is said, without a traceback."""
    try:
        yield
    except (ValueError, OSError, RolloutFailed, ImportError) as error:
        raise Refused(str(error)) from error
