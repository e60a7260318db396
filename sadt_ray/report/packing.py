"""Encode columns of numbers as text for a page."""

from __future__ import annotations

import base64
import json
import zlib

import numpy as np


def pack_column(column: np.ndarray) -> dict[str, str]:
    """Encode a column as bytes, 32-bit integers or 64-bit floats (also for larger integers), deflated, in base64."""
    whole = np.issubdtype(column.dtype, np.integer) and (not column.size or np.abs(column).max() < 2**31)
    dtype = "<u1" if column.dtype == np.uint8 else "<i4" if whole else "<f8"
    data = zlib.compress(np.ascontiguousarray(column, dtype).tobytes(), 6)
    return {"dtype": dtype, "data": base64.b64encode(data).decode("ascii")}


def script_safe(value: object) -> str:
    """JSON that is safe inside a script element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")
