"""``compiled``: numba's ``njit`` with a cache on disk that notices a change in *any* kernel of the package.

Numba keys a cached function by the time stamp of its own file alone, yet the machine code contains what it calls. A
change, or an upgrade, of one file would leave callers in other files running the old code, or crash where a tuple of
arrays changed its layout or its name. Here the key, part of the cache files' names, is a fingerprint of every file that
holds kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from numba import njit
from numba.core.caching import IndexDataCacheFile

_HERE = Path(__file__).parent
_KERNEL_FILES = (Path(__file__), _HERE / "rng.py", *sorted((_HERE.parent / "tree").glob("*.py")))


def fingerprint(files: tuple[Path, ...] = _KERNEL_FILES) -> str:
    """Hash of the sources of all kernels."""
    digest = blake2b(digest_size=8)
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


_STAMP = fingerprint()


def compiled(function: Callable[..., Any] | None = None, *, inline: Literal["never", "always"] = "never") -> Any:
    """Compile a kernel on first call and keep the machine code for later processes.

    Args:
        function: what is decorated; it may live in ``rng.py`` or ``tree/`` only, the files under the fingerprint.
        inline: ``"always"`` for small functions inside hot loops.
    """
    if function is None:
        return lambda wrapped: compiled(wrapped, inline=inline)
    if Path(function.__code__.co_filename) not in _KERNEL_FILES:
        raise ValueError(f"{function.__qualname__} is not in a file under the kernels' fingerprint: {_KERNEL_FILES}")
    dispatcher: Any = njit(cache=True, inline=inline)(function)
    cache = dispatcher._cache  # numba has no public way to say this; the attributes have been stable since 0.30
    cache._cache_file = IndexDataCacheFile(
        cache_path=cache._cache_path, filename_base=f"{cache._impl.filename_base}.{_STAMP}", source_stamp=_STAMP
    )
    return dispatcher
