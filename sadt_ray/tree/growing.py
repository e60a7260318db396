"""An array that can be appended to at amortised constant cost."""

from __future__ import annotations

from typing import Any

import numpy as np

_GROWTH, _GROWTH_ONCE_LARGE = 4, 1.5  # pages that are not used yet cost nothing, those copied over cost twice
_LARGE = 1 << 28  # bytes


class GrowingArray:
    """Rows of one shape and dtype; ``values`` is a view of the rows in use, valid until the next ``extend``."""

    def __init__(self, row_shape: tuple[int, ...], dtype: Any, capacity: int = 1024) -> None:
        self._buffer = np.empty((capacity, *row_shape), dtype)
        self._length = 0

    @classmethod
    def of(cls, rows: np.ndarray) -> GrowingArray:
        """An array that begins with a copy of ``rows``."""
        array = cls(rows.shape[1:], rows.dtype, capacity=max(1024, len(rows)))
        array.extend(rows)
        return array

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> np.ndarray:
        return self._buffer[: self._length]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self._buffer.shape[1:]

    def extend(self, rows: np.ndarray) -> None:
        """Append rows; a longer text than all before makes room for itself. Raises ValueError for another shape."""
        if rows.shape[1:] != self._buffer.shape[1:]:
            raise ValueError(f"rows of shape {rows.shape[1:]} do not fit an array of rows {self._buffer.shape[1:]}")
        if rows.dtype.kind == "U" and rows.dtype.itemsize > self._buffer.dtype.itemsize:
            self._buffer = self._buffer.astype(rows.dtype)
        length = self._length + len(rows)
        if length > len(self._buffer):
            growth = _GROWTH if self._buffer.nbytes < _LARGE else _GROWTH_ONCE_LARGE
            bigger = np.empty((max(length, int(growth * len(self._buffer))), *rows.shape[1:]), self._buffer.dtype)
            bigger[: self._length] = self.values
            self._buffer = bigger
        self._buffer[self._length : length] = rows
        self._length = length
