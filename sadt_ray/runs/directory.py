"""The files of a run directory, one function per file. Every file is written under another name and then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sadt_ray.interfaces import Problem
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search


def create_run_directory(directory: Path) -> Path:
    """Create the directory, or use an empty one. Raises ValueError if it is not empty: nothing is overwritten."""
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ValueError(f"{directory} is not empty; choose another --out or remove it")
    return directory


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object; NaN becomes null, infinities the strings "inf" and "-inf"."""
    unfinished = path.with_name(path.name + ".writing")
    unfinished.write_text(json.dumps(_plain(content), indent=2) + "\n")
    os.replace(unfinished, path)


def write_problems(run: Path, problems: Sequence[Problem]) -> None:
    """Write ``problems.parquet``: name, context and truth of each problem."""
    _write_parquet(
        run / "problems.parquet",
        {
            "problem": [problem.name for problem in problems],
            "context": [np.asarray(problem.context, float) for problem in problems],
            "truth": [None if problem.truth is None else np.asarray(problem.truth, float) for problem in problems],
        },
        types={"context": pa.list_(pa.float64()), "truth": pa.list_(pa.float64())},
    )


def write_samples(run: Path, names: Sequence[str], by_method: Mapping[str, Sequence[WeightedSamples]]) -> None:
    """Write ``samples.parquet``: the samples of every method and problem, with weight, reward and evaluations so far.

    ``node`` is the node of the sample in the tree, as in ``write_tree``; null for samples without a tree.
    """
    tables = [
        pa.table(
            {
                "method": pa.array([method] * len(drawn.weights)),
                "problem": pa.array([name] * len(drawn.weights)),
                "sample": pa.array(np.arange(len(drawn.weights))),
                "weight": pa.array(drawn.weights),
                "reward": pa.array(drawn.rewards),
                "nfe_at": pa.array(drawn.nfe_at),
                "node": pa.nulls(len(drawn.weights), pa.int32()) if drawn.nodes is None else pa.array(drawn.nodes),
                "values": pa.array(list(drawn.samples), pa.list_(pa.from_numpy_dtype(drawn.samples.dtype))),
            }
        )
        for method, problems in by_method.items()
        for name, drawn in zip(names, problems, strict=True)
    ]
    _write_table(run / "samples.parquet", pa.concat_tables(tables))


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
