"""The interactive view of the trees: node tables packed into the page, and the script that draws them on a canvas."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from sadt_ray.report.packing import pack_column, script_safe
from sadt_ray.report.style import method_name
from sadt_ray.report.tree.leaf_series import MAX_VALUES_IN_ALL, pack_series
from sadt_ray.runs.files import NodeTable, ProblemSeries, WeightedSamples

MAX_NODES = 100_000
"""Largest number of nodes per tree on a page."""
MAX_NODES_IN_ALL = 400_000
"""Largest number of nodes of all trees together; each tree gets an equal share."""


_SCRIPTS = ("data", "draw", "samples", "series", "view")


def tree_section(
    trees: Mapping[tuple[str, str], NodeTable],
    samples: Mapping[tuple[str, str], WeightedSamples] | None = None,
    problems: Mapping[str, ProblemSeries] | None = None,
) -> str:
    """HTML of the tree view, with script and data; empty without trees.

    ``trees`` and ``samples`` have the keys (method, problem). With ``samples`` and ``problems`` the view shows the
    series below a node.
    """
    if not trees:
        return ""
    packed = _packed(trees, samples or {}, problems or {})
    read = files("sadt_ray.report").joinpath
    markup = read("tree/view.html").read_text(encoding="utf-8")
    script = "\n".join(read(f"tree/{part}.js").read_text(encoding="utf-8") for part in _SCRIPTS)
    data = f'<script type="application/json" id="tree-data">{script_safe(packed)}</script>'
    return f"{markup}\n{data}\n<script>\n(() => {{\n{script}}})();\n</script>\n"


def _packed(
    trees: Mapping[tuple[str, str], NodeTable],
    samples: Mapping[tuple[str, str], WeightedSamples],
    problems: Mapping[str, ProblemSeries],
) -> list[dict[str, Any]]:
    limit, budget = min(MAX_NODES, MAX_NODES_IN_ALL // len(trees)), MAX_VALUES_IN_ALL // len(trees)
    packed = []
    for (method, problem), tree in trees.items():
        kept = tree.take(heaviest_rows(tree, limit))
        series = pack_series(kept.node, samples.get((method, problem)), problems.get(problem), budget)
        named = {"method": method, "name": method_name(method), "problem": problem, "series": series}
        packed.append(named | pack_nodes(tree, kept))
    return packed


def pack_nodes(tree: NodeTable, kept: NodeTable) -> dict[str, Any]:
    """The nodes on the page as compressed columns, with the number and the leaf weight of the nodes left out."""
    return {
        "nodes": len(kept),
        "omitted": len(tree) - len(kept),
        "omitted_weight": _leaf_weight(tree) - _leaf_weight(kept),
        "columns": {name: pack_column(column) for name, column in vars(kept).items()},
    }


def heaviest_rows(tree: NodeTable, limit: int) -> np.ndarray:
    """At most ``limit`` rows, ascending, with the largest weights, then the most visits, and with all ancestors.

    The weight of a node is the largest weight at or below it, so rounding cannot separate it from its descendants.
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
