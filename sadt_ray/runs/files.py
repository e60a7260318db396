"""The files of a run directory, read one by one and checked; what is wrong is said with the file's name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sadt_ray.interfaces import Scale, TimeAxis

PROBLEM_COLUMNS = ("problem", "context", "truth")
TIME_FIELDS = ("start", "step", "zone")  # columns time_start, ...: null where the dates are not known
SCALE_FIELDS = ("mean", "std", "channels", "unit")  # columns scale_mean, ...; earlier versions wrote neither
SAMPLE_COLUMNS = ("method", "problem", "sample", "weight", "reward", "nfe_at", "values")
TREE_COLUMNS = ("problem", "node", "parent", "level", "visits", "value", "weight", "log_flow")


@dataclass(frozen=True)
class ProblemSeries:
    """One problem: the series that was observed and, where known, what followed. Of a question also all its fields."""

    name: str
    context: np.ndarray  # [context_length]; of several channels [C, context_length]
    truth: np.ndarray | None  # [prediction_length], or [C, prediction_length]
    extras: Mapping[str, Any] = field(default_factory=dict)
    time: TimeAxis | None = None
    scale: Scale = field(default_factory=Scale)


@dataclass(frozen=True)
class WeightedSamples:
    """The samples of one method for one problem, in the order in which they came in.

    Weights sum to 1, or are all 0 where no sample has any.
    """

    values: np.ndarray  # [M, prediction_length]; of several channels [M, C, prediction_length], of texts [M]
    weight: np.ndarray  # [M]
    reward: np.ndarray  # [M]
    nfe_at: np.ndarray  # [M] the problem's function evaluations when the sample came in
    node: np.ndarray | None = None  # [M] where in the tree it ends; None if the run does not say

    @property
    def ess(self) -> float:
        """Effective number of samples: 1 / sum of squared weights; 0 where no sample has any weight."""
        squares = float(np.square(self.weight).sum())
        return 1.0 / squares if squares > 0 else 0.0


@dataclass(frozen=True)
class NodeTable:
    """One tree, a column an array, a row a node, parents before children; ``parent`` is a row number, -1 for a root.

    ``reward`` is the best of the samples at or below a node, NaN where the run does not say.
    """

    node: np.ndarray
    parent: np.ndarray
    level: np.ndarray
    visits: np.ndarray
    value: np.ndarray
    weight: np.ndarray
    log_flow: np.ndarray
    reward: np.ndarray

    def __len__(self) -> int:
        return len(self.node)

    def take(self, rows: np.ndarray) -> NodeTable:
        """The ascending ``rows`` alone; they must hold the parent of each of them."""
        new_row = np.full(len(self) + 1, -1)
        new_row[rows] = np.arange(len(rows))
        columns = {name: column[rows] for name, column in vars(self).items()}
        return NodeTable(**{**columns, "parent": new_row[columns["parent"]]})


def read_json(path: Path) -> dict[str, Any]:
    require_file(path)
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:  # no JSON, no text, or no object
        raise ValueError(f"{path} is not a JSON object ({error}): restore it or run the search again") from error


def require_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: a report needs it; run the search to its end, or copy the file back from where it ran"
        )


def read_table(path: Path, columns: Iterable[str]) -> pa.Table:
    require_file(path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file ({error}): run the search again") from error
    require_columns(table, columns, path)
    return table


def require_columns(table: pa.Table, columns: Iterable[str], path: Path) -> None:
    absent = [name for name in columns if name not in table.column_names]
    if absent:
        raise ValueError(
            f"{path} lacks column {absent[0]!r} (it has {', '.join(table.column_names)}): "
            "it was written by another version; run the search again"
        )


def read_problems(path: Path) -> dict[str, ProblemSeries]:
    problems = {}
    for row in read_table(path, PROBLEM_COLUMNS).to_pylist():
        truth = None if row["truth"] is None else np.asarray(row["truth"], float)
        problems[row["problem"]] = ProblemSeries(
            row["problem"], np.asarray(row["context"], float), truth, time=_time_of(row), scale=_scale_of(row)
        )
    return problems


def _time_of(row: Mapping[str, Any]) -> TimeAxis | None:
    start, step, zone = (row.get(f"time_{name}") for name in TIME_FIELDS)
    return None if start is None or step is None else TimeAxis(start, step, zone)


def _scale_of(row: Mapping[str, Any]) -> Scale:
    if row.get("scale_mean") is None:
        return Scale()
    mean, std, channels, unit = (row[f"scale_{name}"] for name in SCALE_FIELDS)
    return Scale(tuple(mean), tuple(std), tuple(channels), unit)


def read_samples(path: Path) -> dict[tuple[str, str], WeightedSamples]:
    table = read_table(path, SAMPLE_COLUMNS[:-1])
    if "text" not in table.column_names:
        require_columns(table, SAMPLE_COLUMNS, path)
    parts = grouped(table, "method", "problem")
    return {(method, problem): _samples_of(part, path) for (method, problem), part in parts.items()}


def grouped(table: pa.Table, *names: str) -> dict[tuple[str, ...], pa.Table]:
    """The rows of each combination of the named text columns, in order; combinations in order of appearance."""
    encoded = [table[name].cast(pa.string()).combine_chunks().dictionary_encode() for name in names]
    sizes = [max(len(column.dictionary), 1) for column in encoded]
    key = np.ravel_multi_index([column.indices.to_numpy() for column in encoded], sizes)
    order = np.argsort(key, kind="stable")
    together = table.take(order)  # once: a slice then costs nothing, where a take for each group would copy all
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    ends = np.append(starts[1:], len(key))
    by_appearance = np.argsort(order[starts])
    return {
        tuple(column[int(order[starts[group]])].as_py() for column in encoded): together.slice(
            starts[group], ends[group] - starts[group]
        )
        for group in by_appearance
    }


def _samples_of(part: pa.Table, path: Path) -> WeightedSamples:
    """One method's samples for one problem, ordered by cost."""
    owner = f"{part['method'][0]} for {part['problem'][0]}"
    weight, reward, nfe_at = (part[name].to_numpy() for name in ("weight", "reward", "nfe_at"))
    if weight.any() and not np.isclose(weight.sum(), 1.0, atol=1e-6):
        raise ValueError(f"{path}: the weights of {owner} sum to {weight.sum():.6g}, not to 1")
    values = (
        np.array(part["text"].to_pylist(), np.str_) if "text" in part.column_names else _values_of(part, path, owner)
    )
    order = np.argsort(nfe_at, kind="stable")
    return WeightedSamples(values[order], weight[order], reward[order], nfe_at[order], _nodes_of(part, order))


def _values_of(part: pa.Table, path: Path, owner: str) -> np.ndarray:
    """[M, ...], as deep as the lists are nested."""
    column, shape = part["values"], [len(part)]
    while pa.types.is_list(column.type):
        lengths = np.unique(pc.list_value_length(column).to_numpy(zero_copy_only=False))
        if len(lengths) != 1:
            raise ValueError(f"{path}: samples of {owner} have lengths {lengths}; they must share one")
        shape.append(int(lengths[0]))
        column = pc.list_flatten(column)
    return column.to_numpy().reshape(shape)


def _nodes_of(part: pa.Table, order: np.ndarray) -> np.ndarray | None:
    """Where in the tree samples end; None if an earlier version wrote the file, or the method has no tree."""
    known = "node" in part.column_names and part["node"].null_count == 0
    return part["node"].to_numpy()[order] if known else None


def read_trees(path: Path) -> dict[str, NodeTable]:
    trees = {}
    for (problem,), part in grouped(read_table(path, TREE_COLUMNS), "problem").items():
        columns = {name: part[name].to_numpy() for name in TREE_COLUMNS[1:]}
        parent = _parent_rows(columns["node"], columns["parent"], path)
        reward = part["reward"].to_numpy() if "reward" in part.column_names else None
        best = _best_below(parent, columns["level"], reward)
        trees[problem] = NodeTable(**{**columns, "parent": parent, "reward": best})
    return trees


def _best_below(parent: np.ndarray, level: np.ndarray, reward: np.ndarray | None) -> np.ndarray:
    """The best reward at or below each node, of those of its own samples; all NaN in runs of earlier versions."""
    best = np.full(len(parent), np.nan) if reward is None else reward.copy()
    for depth in np.unique(level)[::-1]:
        rows = np.flatnonzero((level == depth) & (parent >= 0))
        np.fmax.at(best, parent[rows], best[rows])
    return best


def _parent_rows(node: np.ndarray, parent: np.ndarray, path: Path) -> np.ndarray:
    """The row of each node's parent, -1 for a root."""
    order = np.argsort(node, kind="stable")
    place = np.minimum(np.searchsorted(node, parent, sorter=order), len(node) - 1)
    rows = np.where(parent < 0, -1, order[place])
    wrong = (parent >= 0) & ((node[rows] != parent) | (rows >= np.arange(len(node))))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{path}: node {node[row]} has parent {parent[row]}, which is not a row above it")
    return rows


def read_progress(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl and files like it; none without the file. A last line cut short is left out."""
    if not path.is_file():
        return []
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text ({error}): restore it or remove it") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is not JSON ({error}): remove the line") from error
    return records
