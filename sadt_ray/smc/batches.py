"""Concatenate batches of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sadt_ray.interfaces import ParticleRecord, Results


def concatenated(parts: Sequence[Results]) -> Results:
    """Concatenate several batches into one."""
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("id", "value", "path_level", "path_state", "path_log_flow", "samples", "rewards",
                     "sample_log_weight", "nfe", "reward_calls")
    }  # fmt: skip
    splits: dict[str, Any] = {
        name: np.concatenate([[0], np.cumsum(np.concatenate([np.diff(getattr(part, name)) for part in parts]))])
        for name in ("path_splits", "sample_splits")
    }
    failures = tuple(failure for part in parts for failure in part.failures)
    starts = None
    if any(part.sample_start is not None for part in parts):
        none = [np.zeros(len(part.samples), np.int64) for part in parts]
        known = [part.sample_start for part in parts]
        starts = np.concatenate([zeros if each is None else each for each, zeros in zip(known, none, strict=True)])
    record = _particle_records(parts)
    return Results(**columns, **splits, particle_record=record, failures=failures, sample_start=starts)


def _particle_records(parts: Sequence[Results]) -> ParticleRecord | None:
    columns: dict[str, list[np.ndarray]] = {}
    tickets = rows = 0
    for part in parts:
        if part.particle_record is not None:
            record = part.particle_record
            shifted = {"ticket": record.ticket + tickets, "parent": record.parent + rows * (record.parent >= 0)}
            for name, column in {**vars(record), **shifted}.items():
                columns.setdefault(name, []).append(column)
            rows += len(record.ticket)
        tickets += len(part)
    return ParticleRecord(**{name: np.concatenate(column) for name, column in columns.items()}) if columns else None
