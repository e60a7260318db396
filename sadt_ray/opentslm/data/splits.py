"""Splits into training, validation and test rows: upstream's split, or a split by source.

Except for ECG-QA, upstream splits rows, so windows of one subject are in several parts. A published checkpoint was
trained on upstream's training rows and must be scored on its test rows. All other data should be split by source, or
scores are too high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data.formats import PARTS

Indices = Int[np.ndarray, " n"]
_TRIES = 256


def upstream_parts(stage: int, labels: Sequence[str | None]) -> dict[str, Indices]:
    """Row numbers by part, as upstream splits a table with these labels.

    Raises ValueError for stages 3 and 5, whose parts are separate files.
    """
    rows = np.arange(len(labels))
    if stage == 4:
        rest, test = _stratified(rows, labels, 0.1, 42)
        train, validation = _stratified(rest, labels, 0.1 / (1 - 0.1), 43)
    elif stage in (1, 2):
        rest, test = _shuffled(rows, 0.1, 42)
        train, validation = _shuffled(rest, 0.1 / (1 - 0.1), 42 if stage == 1 else 43)
    else:
        raise ValueError(f"the parts of stage {stage} are files of their own; split this one by source")
    return {"train": train, "validation": validation, "test": test}


def split_by_source(
    problems: Sequence[Problem], seed: int = 0, ratios: tuple[float, float, float] = (0.5, 0.15, 0.35)
) -> dict[str, list[Problem]]:
    """Problems by part. No source is in two parts, sizes are close to ``ratios``, and labels are spread evenly."""
    parts = parts_by_source(
        [str(problem.extras["source"]) for problem in problems],
        [problem.extras.get("label") for problem in problems],
        seed,
        ratios,
    )
    return {part: [problems[i] for i in rows] for part, rows in parts.items()}


def parts_by_source(
    sources: Sequence[str],
    labels: Sequence[str | None],
    seed: int = 0,
    ratios: tuple[float, float, float] = (0.5, 0.15, 0.35),
) -> dict[str, Indices]:
    """Row numbers by part. Of 256 random assignments of sources, the one whose counts per label are closest to
    ``ratios``: the smallest sum over parts and labels of (n - wanted)^2 / wanted.

    Raises ValueError if the ratios are not three positive shares that sum to one, or there are fewer than 3 sources.
    """
    if len(ratios) != 3 or min(ratios) <= 0 or not math.isclose(sum(ratios), 1.0):
        raise ValueError(f"ratios are {ratios}; give three positive shares (train, validation, test) that sum to 1")
    names, of_row = np.unique(np.asarray(sources), return_inverse=True)
    if len(names) < len(PARTS):
        raise ValueError(
            f"{len(names)} source(s) cannot be split into {len(PARTS)} parts ({', '.join(names)}); ask for all of them"
        )
    kinds, kind = np.unique([str(label) for label in labels], return_inverse=True)
    counts = np.zeros((len(names), len(kinds)))
    np.add.at(counts, (of_row, kind), 1)
    part = _best_assignment(counts, np.asarray(ratios), np.random.default_rng(seed))
    return {name: np.flatnonzero(part[of_row] == i) for i, name in enumerate(PARTS)}


def _best_assignment(counts: np.ndarray, ratios: np.ndarray, rng: np.random.Generator) -> Int[np.ndarray, " sources"]:
    wanted = ratios[:, None] * counts.sum(0)
    best, least = np.zeros(len(counts), np.int64), np.inf
    for _ in range(_TRIES):
        order = rng.permutation(len(counts))
        rows = np.cumsum(counts[order].sum(1)) - counts[order].sum(1) / 2
        part = np.empty(len(counts), np.int64)
        part[order] = np.searchsorted(np.cumsum(ratios)[:-1] * counts.sum(), rows)
        part[order[0]], part[order[1]], part[order[-1]] = 0, 1, 2  # each part gets a source
        got = np.array([counts[part == i].sum(0) for i in range(len(ratios))])
        distance = np.sum((got - wanted) ** 2 / np.maximum(wanted, 1e-9))
        if distance < least:
            best, least = part, distance
    return best


def _shuffled(rows: Indices, share: float, seed: int) -> tuple[Indices, Indices]:
    """(rest, held out) as ``datasets.Dataset.train_test_split`` splits them."""
    order = np.random.default_rng(seed).permutation(len(rows))
    held_out = math.ceil(share * len(rows))
    return rows[order[held_out:]], rows[order[:held_out]]


def _stratified(rows: Indices, labels: Sequence[str | None], share: float, seed: int) -> tuple[Indices, Indices]:
    from sklearn.model_selection import train_test_split

    kinds = [str(labels[i]) for i in rows]
    rest, held_out = train_test_split(rows, test_size=share, random_state=seed, stratify=kinds)
    return rest, held_out
