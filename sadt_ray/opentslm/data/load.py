"""The problems of a stage, from upstream's data or a file of your own; each problem is built when it is accessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data import ecg, har, m4, sleep, tsqa
from sadt_ray.opentslm.data.formats import PARTS, Format, Parts
from sadt_ray.opentslm.data.normalise import Normalise
from sadt_ray.opentslm.data.places import find_data
from sadt_ray.opentslm.data.problems import stage_problem
from sadt_ray.opentslm.data.splits import parts_by_source, upstream_parts
from sadt_ray.opentslm.data.tables import Row
from sadt_ray.opentslm.stage_spec import StageSpec, stage_spec

FORMATS: dict[int, Format] = {1: tsqa.FORMAT, 2: m4.FORMAT, 3: har.FORMAT, 4: sleep.FORMAT, 5: ecg.FORMAT}
_LABEL = {1: "Answer", 2: "frequency", 3: "label", 4: "label", 5: "answer"}  # the column by which parts are balanced


@dataclass(frozen=True)
class StageSet(Sequence[Problem]):
    """Problems of a stage. Series are parsed, and records of ECGs are downloaded, when a problem is accessed."""

    spec: StageSpec
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    prepare: Callable[[Row], Row]
    normalise: Normalise | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> StageSet: ...
    def __getitem__(self, index: int | slice) -> Problem | StageSet:
        """A problem, or the problems of a slice. Raises ValueError naming the row if its cells do not fit."""
        if isinstance(index, slice):
            return replace(self, names=self.names[index], rows=self.rows[index])
        name = self.names[index]
        try:
            row = self.prepare(self.rows[index])
        except KeyError as error:
            raise ValueError(f"{name}: the row has no field {error}") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return stage_problem(self.spec.number, row, name, row.get("source"), row.get("sampling_rate"), self.normalise)

    @property
    def sources(self) -> list[str]:
        """The source of each problem."""
        return [str(row["source"]) for row in self.rows]

    def taken(self, indices: Int[np.ndarray, " n"]) -> StageSet:
        """These rows, in this order."""
        return replace(self, names=tuple(self.names[i] for i in indices), rows=tuple(self.rows[i] for i in indices))


def load_stage(
    stage: int | str,
    part: str = "test",
    path: str | Path | None = None,
    split: Literal["auto", "upstream", "source"] = "auto",
    seed: int = 0,
    ratios: tuple[float, float, float] = (0.5, 0.15, 0.35),
    published: bool = False,
    normalise: Normalise | None = None,
) -> StageSet:
    """Load a part of a stage's data as problems.

    Args:
        stage: number or name of the stage.
        part: ``train``, ``validation``, ``test`` or ``all``.
        path: a file or folder in upstream's format. By default the data in ``$SADT_DATA``, ``../shared/data`` or the
            user's cache; if there are none, upstream's data are downloaded and cached.
        split: ``upstream`` splits rows as upstream does, ``source`` splits by subject or recording. ``auto`` uses
            upstream's split for upstream's own data and the split by source for other data; a file with fewer than
            three sources is all test. Files that have parts of their own keep them.
        seed, ratios: seed and shares (train, validation, test) of the split by source.
        published: whether to ignore smaller collections and use upstream's own data.
        normalise: the normalisation of the series, if not upstream's. Windows with several units use
            ``normalised_har_by_window`` by default, because units would reveal the source and with it the label.

    Raises:
        DataNotFound: if the data cannot be found; the message says how to get them.
        ValueError: for a stage, part or file that does not exist or does not fit.
    """
    spec = stage_spec(stage)
    if part not in (*PARTS, "all"):
        raise ValueError(f"there is no part {part!r}; choose one of {', '.join(PARTS)}, all")
    form = FORMATS[spec.number]
    place, upstreams = _place(form, path, published)
    parts = form.read(place)
    stage_set = _all_rows(spec, form, parts, place, normalise)
    if part == "all":
        return stage_set
    if "all" not in parts:
        return stage_set[_rows_of(part, parts, place)]
    few = len(set(stage_set.sources)) < len(PARTS)
    if split == "auto" and few and not upstreams:
        return stage_set if part == "test" else stage_set[:0]
    labels = [row.get(_LABEL[spec.number]) for row in stage_set.rows]
    if split == "source" or (split == "auto" and not upstreams):
        return stage_set.taken(parts_by_source(stage_set.sources, labels, seed, ratios)[part])
    return stage_set.taken(upstream_parts(spec.number, labels)[part])


def _rows_of(part: str, parts: Parts, place: Path) -> slice:
    """The position of a part's rows among all rows."""
    if part not in parts:
        raise ValueError(f"{place} has no part {part!r}; it has {', '.join(parts)}")
    start = sum(len(rows) for rows in list(parts.values())[: list(parts).index(part)])
    return slice(start, start + len(parts[part]))


def _place(form: Format, path: str | Path | None, published: bool) -> tuple[Path, bool]:
    """The path of the data, and whether they are upstream's own."""
    if path is not None:
        return Path(path), False
    samples = [] if published else [found for name in form.samples if (found := find_data(name)) is not None]
    return (samples[0], False) if samples else (form.published(), True)


def _all_rows(spec: StageSpec, form: Format, parts: Parts, place: Path, normalise: Normalise | None) -> StageSet:
    rows: list[dict[str, Any]] = []
    names: list[str] = []
    for part, of_part in parts.items():
        folder = place.stem if part == "all" else part
        names += [f"{spec.name}/{folder}/{number:05d}" for number in range(len(of_part))]
        rows += of_part
    return StageSet(spec, tuple(names), tuple(rows), form.prepare, normalise or form.reading(rows))
