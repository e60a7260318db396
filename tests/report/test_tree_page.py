"""The tree in the page is the tree in the file."""

from __future__ import annotations

import base64
import json
import re
import time
import zlib
from pathlib import Path

import numpy as np

from sadt_ray.report.packing import pack_column, script_safe
from sadt_ray.report.tree.page import heaviest_rows, pack_nodes, tree_section
from sadt_ray.runs.files import NodeTable
from sadt_ray.runs.read import read_run


def unpack(column: dict[str, str]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(column["data"])), column["dtype"])


def embedded(section: str) -> list[dict]:
    match = re.search(r'<script type="application/json" id="tree-data">(.*?)</script>', section)
    assert match is not None
    return json.loads(match.group(1))


def test_the_page_carries_the_node_table_exactly(run_dir: Path) -> None:
    trees = read_run(run_dir).trees
    entries = embedded(tree_section(trees))
    assert [(entry["method"], entry["problem"]) for entry in entries] == list(trees)
    for entry, tree in zip(entries, trees.values(), strict=True):
        assert (entry["nodes"], entry["omitted"]) == (len(tree), 0)
        for name, column in vars(tree).items():
            np.testing.assert_array_equal(unpack(entry["columns"][name]), column, err_msg=name)


def test_large_and_special_numbers_survive() -> None:
    for column in (np.array([2**40, -1]), np.array([np.nan, -np.inf, 1e-300]), np.array([], int)):
        np.testing.assert_array_equal(unpack(pack_column(column)), column)


def test_a_pruned_tree_keeps_the_heaviest_nodes_and_their_ancestors(large_tree: NodeTable) -> None:
    rows = heaviest_rows(large_tree, 5_000)
    kept = large_tree.take(rows)
    assert len(kept) == 5_000
    inner = kept.parent >= 0
    assert inner.sum() == 4_999
    np.testing.assert_array_equal(kept.node[kept.parent[inner]], large_tree.node[large_tree.parent[rows[inner]]])
    left_out = np.delete(large_tree.weight, rows)
    leaves = kept.level == kept.level.max()
    assert kept.weight[leaves].min() >= left_out.max() - 1e-15


def test_pruning_survives_weights_that_grow_downward_by_rounding() -> None:
    tree = NodeTable(
        node=np.arange(4),
        parent=np.array([-1, 0, 1, 0]),
        level=np.array([0, 1, 2, 1]),
        visits=np.ones(4, int),
        value=np.zeros(4),
        weight=np.array([1.0, 0.5, 0.5 + 1e-16, 0.5]),
        log_flow=np.zeros(4),
        reward=np.zeros(4),
    )
    np.testing.assert_array_equal(heaviest_rows(tree, 3), [0, 1, 2])


def test_what_is_left_out_is_counted(large_tree: NodeTable) -> None:
    packed = pack_nodes(large_tree, large_tree.take(heaviest_rows(large_tree, 5_000)))
    kept_weight = unpack(packed["columns"]["weight"])
    leaves = unpack(packed["columns"]["level"]) == large_tree.level.max()
    assert packed["omitted"] == len(large_tree) - 5_000
    np.testing.assert_allclose(packed["omitted_weight"], 1 - kept_weight[leaves].sum(), atol=1e-9)
    assert packed["omitted_weight"] > 0


def test_a_hundred_thousand_nodes_are_packed_small_and_fast(large_tree: NodeTable) -> None:
    start = time.perf_counter()
    section = tree_section({("dts", "large"): large_tree})
    seconds = time.perf_counter() - start
    assert len(large_tree) >= 100_000
    assert embedded(section)[0]["nodes"] == 100_000
    assert seconds < 10
    assert len(section) < 15e6


def test_names_cannot_end_the_script_they_stand_in() -> None:
    assert script_safe({"problem": "</script><b>"}) == '{"problem":"\\u003c/script\\u003e\\u003cb\\u003e"}'


def test_without_trees_there_is_no_section() -> None:
    assert tree_section({}) == ""
