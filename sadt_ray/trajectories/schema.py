"""Columns and metadata of a part, and the check of its version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

SCHEMA_VERSION = "2"
FIRST_PARTICLE = 1 << 40  # first id of recorded particles, which are not nodes of the tree
DTYPES = {
    "problem": np.int32, "node": np.int64, "parent": np.int64, "level": np.int16, "log_flow": np.float32,
    "log_ratio": np.float32, "reward": np.float64,
}  # fmt: skip


def trajectory_schema(
    state_shape: tuple[int, ...], state_dtype: np.dtype, facts: Mapping[str, Any] | None = None
) -> pa.Schema:
    """Schema of a part. Its metadata hold the version, the shape of a state and ``facts`` (as JSON).

    ``node`` is unique within a directory; ``parent`` is -1 for a root. ``level`` is the branch level of a tree node, or
    the position on the walk of a recorded particle (ids from ``FIRST_PARTICLE``). ``log_ratio`` is log p/q of the step
    from the parent, 0 for a draw from the prior. ``reward`` is null above x_0.
    """
    width = int(np.prod(state_shape))
    return pa.schema(
        [
            ("problem", pa.dictionary(pa.int32(), pa.string())),
            ("node", pa.int64()),
            ("parent", pa.int64()),
            ("level", pa.int16()),
            ("state", pa.list_(pa.from_numpy_dtype(state_dtype), width)),
            ("log_flow", pa.float32()),
            ("log_ratio", pa.float32()),
            ("reward", pa.float64()),
        ],
        metadata={
            "schema_version": SCHEMA_VERSION,
            "state_shape": ",".join(map(str, state_shape)),
            "facts": json.dumps(dict(facts or {}), default=str),
        },
    )


def check_version(schema: pa.Schema, part: Path) -> None:
    """Raise ValueError if a part has another schema version."""
    version = (schema.metadata or {}).get(b"schema_version", b"none").decode()
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{part} has schema version {version}, this program reads version {SCHEMA_VERSION}; search again with "
            "`python -m jobs.search`, or read the file with the program version that wrote it"
        )


def state_shape_of(schema: pa.Schema) -> tuple[int, ...]:
    """Shape of one state."""
    return tuple(int(size) for size in schema.metadata[b"state_shape"].decode().split(",") if size)


def facts_of(schema: pa.Schema) -> dict[str, Any]:
    """Facts about the search, as the writer got them."""
    return json.loads(schema.metadata[b"facts"])
