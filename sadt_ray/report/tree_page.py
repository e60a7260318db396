"""The interactive view of the trees: node tables packed into the page, and the script that draws them on a canvas."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from sadt_ray.report.run_data import NodeTable
from sadt_ray.report.style import method_name

MAX_NODES = 100_000
"""Nodes of one tree that a page carries at most."""
MAX_NODES_IN_ALL = 400_000
"""Nodes of all trees together, shared out evenly."""


def tree_section(trees: Mapping[tuple[str, str], NodeTable]) -> str:
    """HTML of the tree view, script and data included. ``trees`` go by method and problem; none: an empty string."""
    if not trees:
        return ""
    limit = min(MAX_NODES, MAX_NODES_IN_ALL // len(trees))
    packed = [
        {"method": method, "name": method_name(method), "problem": problem, **pack_tree(tree, limit)}
        for (method, problem), tree in trees.items()
    ]
    read = files("sadt_ray.report").joinpath
    markup = read("tree_view.html").read_text(encoding="utf-8")
    script = "\n".join(read(f"tree_{part}.js").read_text(encoding="utf-8") for part in ("data", "draw", "view"))
    data = f'<script type="application/json" id="tree-data">{script_safe(packed)}</script>'
    return f"{markup}\n{data}\n<script>\n(() => {{\n{script}}})();\n</script>\n"


def pack_tree(tree: NodeTable, limit: int = MAX_NODES) -> dict[str, Any]:
    """The heaviest ``limit`` nodes as compressed columns, with the number of nodes left out and their leaf weight."""
    rows = heaviest_rows(tree, limit)
    kept = tree.take(rows)
    return {
        "nodes": len(kept),
        "omitted": len(tree) - len(kept),
        "omitted_weight": _leaf_weight(tree) - _leaf_weight(kept),
        "columns": {name: pack_column(column) for name, column in vars(kept).items()},
    }


def pack_column(column: np.ndarray) -> dict[str, str]:
    """Little-endian 32-bit integers, or 64-bit floats (also for larger integers), deflated, in base64."""
    whole = np.issubdtype(column.dtype, np.integer) and (not column.size or np.abs(column).max() < 2**31)
    dtype = "<i4" if whole else "<f8"
    data = zlib.compress(np.ascontiguousarray(column, dtype).tobytes(), 6)
    return {"dtype": dtype, "data": base64.b64encode(data).decode("ascii")}


def heaviest_rows(tree: NodeTable, limit: int) -> np.ndarray:
    """At most ``limit`` rows, ascending, of largest weight, then of most visits, with every ancestor of each.

    A node counts as heavy as the heaviest node below it, so that no rounding parts it from its descendants.
    """
    if len(tree) <= limit:
        return np.arange(len(tree))
    weight, visits = (_subtree_max(tree, column) for column in (tree.weight, tree.visits))
    order = np.lexsort((np.arange(len(tree)), -visits, -weight))  # ties: parents come first
    return np.sort(order[:limit])


def _subtree_max(tree: NodeTable, column: np.ndarray) -> np.ndarray:
    """The largest entry of ``column`` at or below each node."""
    largest = np.nan_to_num(column.astype(float))
    for level in np.unique(tree.level)[:0:-1]:
        rows = np.flatnonzero((tree.level == level) & (tree.parent >= 0))
        np.maximum.at(largest, tree.parent[rows], largest[rows])
    return largest


def _leaf_weight(tree: NodeTable) -> float:
    """Probability that the final draw ends at one of the tree's deepest nodes."""
    return float(tree.weight[tree.level == tree.level.max()].sum()) if len(tree) else 0.0


def script_safe(value: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")
