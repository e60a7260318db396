"""Files of named arrays and strings in the safetensors format, written as a stream, with a digest.

Any reader of safetensors opens such a file (https://huggingface.co/docs/safetensors: the length of a JSON header, the
header, then the arrays). This module does not use the safetensors package, because its numpy functions first make two
copies of all data in memory. The last array, ``blake2b``, is the digest of all bytes before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

_TYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _TYPES.items()}
_DIGEST, _DIGEST_SIZE = "blake2b", 32
_CHUNK = 1 << 22  # bytes that are hashed and written together, while they are in the CPU cache


class Damaged(ValueError):
    """The file was cut short or changed after it was written."""


class Sink(Protocol):
    """A binary file that can be written."""

    def write(self, data: Any, /) -> Any:
        """Write all bytes of ``data``."""


class Source(Protocol):
    """A binary file that can be read."""

    def readinto(self, buffer: Any, /) -> Any:
        """Read into the buffer. Returns the number of bytes, 0 at the end of the file."""


def write_tensors(sink: Sink, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays, metadata and digest, without a copy. Raises ValueError for a dtype that the format lacks."""
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)  # keeps every array aligned
    digest = blake2b(digest_size=_DIGEST_SIZE)
    for piece in (_header(ordered, metadata), *(_bytes_of(array) for _, array in ordered)):
        for first in range(0, len(piece), _CHUNK):
            chunk = piece[first : first + _CHUNK]
            digest.update(chunk)
            sink.write(chunk)
    sink.write(digest.digest())


def read_tensors(source: Source, size: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read arrays and metadata of a file of ``size`` bytes.

    Raises Damaged if the file was cut short, if its content does not match its digest, or if it has no digest.
    """
    digest = blake2b(digest_size=_DIGEST_SIZE)
    start = _read(source, 8, digest)
    length = int.from_bytes(start, "little")
    if not 2 <= length <= size - 8 - _DIGEST_SIZE:
        raise Damaged(f"a header of {length} bytes in a file of {size}")
    try:
        header = json.loads(_read(source, length, digest).tobytes())
        metadata = dict(header.pop("__metadata__"))
        layout = list(_layout(header, size - 8 - length))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"a header that cannot be read: {error}") from None
    arrays: dict[str, np.ndarray] = {}
    for name, dtype, shape in layout[:-1]:
        arrays[name] = np.empty(shape, dtype)
        _read_into(source, _bytes_of(arrays[name]), digest)
    if _read(source, _DIGEST_SIZE, None).tobytes() != digest.digest():
        raise Damaged("content that differs from its digest")
    return arrays, metadata


def _header(arrays: list[tuple[str, np.ndarray]], metadata: Mapping[str, str]) -> memoryview:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays:
        if array.dtype not in _NAMES:
            raise ValueError(f"the array {name!r} is of type {array.dtype}, which a file of tensors cannot hold")
        first, end = end, end + array.nbytes
        entries[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [first, end]}
    entries[_DIGEST] = {"dtype": "U8", "shape": [_DIGEST_SIZE], "data_offsets": [end, end + _DIGEST_SIZE]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def _layout(header: Mapping[str, Any], size: int) -> Iterator[tuple[str, type, tuple[int, ...]]]:
    """Name, type and shape of the arrays in file order. Raises ValueError unless they fill ``size`` bytes."""
    name, end = "", 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = _TYPES[entry["dtype"]], tuple(entry["shape"])
        first, end = end, end + int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
        if entry["data_offsets"] != [first, end] or end > size or min(shape, default=0) < 0:
            raise ValueError(f"the array {name!r} is not where it should be")
        yield name, dtype, shape
    if end != size or name != _DIGEST:
        raise ValueError(f"{end} bytes of arrays in {size}, the last one called {name!r}")


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _read(source: Source, size: int, digest: Any) -> np.ndarray:
    buffer = np.empty(size, np.uint8)
    _read_into(source, buffer.data, digest)
    return buffer


def _read_into(source: Source, target: memoryview, digest: Any) -> None:
    done = 0
    while done < len(target):
        count = source.readinto(target[done : done + _CHUNK])
        if not count:
            raise Damaged(f"the end of the file {len(target) - done} bytes too early")
        if digest is not None:
            digest.update(target[done : done + count])
        done += count
