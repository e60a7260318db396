"""The files of a run directory, one function per file. Every file is written under another name and then renamed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sadt_ray.interfaces import Problem
from sadt_ray.runs.files import SCALE_FIELDS, TIME_FIELDS
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search


def is_text(samples: np.ndarray) -> bool:
    """Whether the samples are texts, not numbers."""
    return samples.dtype.kind in "UTO"


def create_run_directory(directory: Path) -> Path:
    """Create the directory, or use an empty one. Raises ValueError if it is not empty: nothing is overwritten."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ValueError(f"{directory} is not empty; choose another directory (--out) or remove it")
    return directory


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object; NaN becomes null, infinities the strings "inf" and "-inf"."""
    unfinished = path.with_name(path.name + ".writing")
    unfinished.write_text(json.dumps(_plain(content), indent=2) + "\n")
    os.replace(unfinished, path)


def write_problems(run: Path, problems: Sequence[Problem]) -> None:
    """``problems.parquet``: what each problem is called, what was observed, what followed, its dates and units.

    Series of several channels are nested lists. Raises ValueError for a context or truth that is no array of numbers.
    """
    contexts = [_series(problem, "context") for problem in problems]
    truths = [None if problem.truth is None else _series(problem, "truth") for problem in problems]
    types = {"context": _list_type(contexts), "truth": _list_type([truth for truth in truths if truth is not None])}
    _write_parquet(
        run / "problems.parquet",
        {
            "problem": [problem.name for problem in problems],
            "context": [context.tolist() for context in contexts],
            "truth": [None if truth is None else truth.tolist() for truth in truths],
            **{
                f"time_{name}": [None if each.time is None else getattr(each.time, name) for each in problems]
                for name in TIME_FIELDS
            },
            **{f"scale_{name}": [_listed(getattr(each.scale, name)) for each in problems] for name in SCALE_FIELDS},
        },
        types={**types, **{f"time_{name}": pa.string() for name in TIME_FIELDS}},
    )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _series(problem: Problem, name: str) -> np.ndarray:
    try:
        return np.atleast_1d(np.asarray(getattr(problem, name), float))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the {name} of problem {problem.name!r} cannot be written as an array of numbers ({error})"
        ) from error


def _list_type(arrays: Sequence[np.ndarray]) -> pa.DataType:
    """Of a column of arrays of doubles that have the same number of dimensions, at least one."""
    dimensions = {array.ndim for array in arrays} or {1}
    if len(dimensions) > 1:
        raise ValueError(f"contexts, or truths, of {sorted(dimensions)} dimensions cannot share a column")
    nested = pa.float64()
    for _ in range(dimensions.pop()):
        nested = pa.list_(nested)
    return nested


def write_samples(run: Path, names: Sequence[str], by_method: Mapping[str, Sequence[WeightedSamples]]) -> None:
    """``samples.parquet``: ``samples_table`` of every method's samples of every problem."""
    _write_table(run / "samples.parquet", samples_table(names, by_method))


def samples_table(names: Sequence[str], by_method: Mapping[str, Sequence[WeightedSamples]]) -> pa.Table:
    """One row per sample: ``method, problem, sample, weight, reward, nfe_at, node, values``.

    ``node`` is where a sample ends in its search's tree, as ``write_tree`` numbers it; null for samples of no tree.
    ``values`` is a list, nested where samples have several channels. Samples that are texts have a column ``text``
    in its place.
    """
    everyone = [drawn for problems in by_method.values() for drawn in problems]
    some = [drawn.samples for drawn in everyone if len(drawn.samples)] or [drawn.samples for drawn in everyone]
    texts = any(is_text(samples) for samples in some)
    dtype = np.dtype(np.str_) if texts else np.result_type(*some)
    shape = some[0].shape[1:]
    return pa.concat_tables(
        pa.table(
            {
                "method": pa.array([method] * len(drawn.weights), pa.string()),
                "problem": pa.array([name] * len(drawn.weights), pa.string()),
                "sample": pa.array(np.arange(len(drawn.weights))),
                "weight": pa.array(drawn.weights, pa.float64()),
                "reward": pa.array(drawn.rewards, pa.float64()),
                "nfe_at": pa.array(drawn.nfe_at, pa.int64()),
                "node": pa.nulls(len(drawn.weights), pa.int32())
                if drawn.nodes is None
                else pa.array(drawn.nodes, pa.int32()),
                "text" if texts else "values": _values_column(drawn.samples, dtype, shape),
            }
        )
        for method, problems in by_method.items()
        for name, drawn in zip(names, problems, strict=True)
    )


def _values_column(samples: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> pa.Array:
    """One list per sample, nested as its ``shape`` is; texts as they are."""
    if dtype.kind == "U":
        return pa.array(samples.tolist() if len(samples) else [], pa.string())
    column = pa.array(np.ascontiguousarray(samples, dtype).reshape(-1))
    for depth in range(len(shape), 0, -1):
        count = len(samples) * math.prod(shape[: depth - 1])
        column = pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * shape[depth - 1], pa.int32()), column)
    return column


def write_tree(run: Path, method: str, search: Search) -> None:
    """Write ``tree/METHOD.parquet``: every node with its visits, soft value and share of the final draw.

    ``reward`` is the best reward of the node's samples; NaN if it has none.
    """
    tree = search.tree
    (run / "tree").mkdir(exist_ok=True)
    _write_parquet(
        run / "tree" / f"{method}.parquet",
        {
            "problem": np.array(search.names)[search.problem_of_nodes()],
            "node": np.arange(len(tree)),
            "parent": tree.column("parent"),
            "level": tree.column("level"),
            "visits": tree.column("visits"),
            "value": tree.column("value"),
            "weight": np.exp(search.log_draw_probability()),
            "log_flow": tree.column("log_flow"),
            "reward": search.sample_store.best_rewards(len(tree)),
        },
    )


def append_metrics(run: Path, record: Mapping[str, Any]) -> None:
    """Append a line to ``metrics.jsonl``."""
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(_plain(record)) + "\n")


def remove_metrics_after(run: Path, method: str, seconds: float) -> None:
    """Drop the method's lines after ``seconds``, and an incomplete line. No other process may write the file."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not _is_later(line, method, seconds)]
    if len(kept) < len(lines):
        unfinished = path.with_name(path.name + ".writing")
        unfinished.write_text("".join(line + "\n" for line in kept))
        os.replace(unfinished, path)


def _is_later(line: str, method: str, seconds: float) -> bool:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return True
    return bool(record["method"] == method and record["seconds"] > seconds)


def _write_parquet(path: Path, columns: Mapping[str, Any], types: Mapping[str, pa.DataType] | None = None) -> None:
    known = types or {}
    _write_table(path, pa.table({name: pa.array(column, known.get(name)) for name, column in columns.items()}))


def _write_table(path: Path, table: pa.Table) -> None:
    unfinished = path.with_name(path.name + ".writing")
    pq.write_table(table, unfinished, compression="zstd")
    os.replace(unfinished, path)


def _plain(value: Any) -> Any:
    """Convert a value to JSON types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
