"""The series that a page carries are those of the heaviest samples, each at the node it ends at."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sadt_ray import FunctionReward, Problem, dts
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import start_search
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.report.tree.leaf_series import pack_series
from sadt_ray.runs.directory import write_samples, write_tree
from sadt_ray.runs.files import read_trees
from sadt_ray.runs.read import Run, read_run

KEY = ("dts", "ETTh1/test/0000/OT")


@pytest.fixture(scope="module")
def run(run_dir: Path) -> Run:
    return read_run(run_dir)


def column(packed: dict, name: str) -> np.ndarray:
    held = packed["columns"][name]
    return np.frombuffer(zlib.decompress(base64.b64decode(held["data"])), held["dtype"])


def test_a_sample_is_carried_to_a_step_of_its_range_with_the_row_it_ends_at(run: Run) -> None:
    tree, samples = run.trees[KEY], run.samples[KEY]
    packed = pack_series(tree.node, samples, run.problems[KEY[1]], 10**6)
    assert packed is not None
    order = np.argsort(-samples.weight, kind="stable")
    np.testing.assert_array_equal(tree.node[column(packed, "row")], samples.node[order])
    np.testing.assert_array_equal(column(packed, "weight"), samples.weight[order])
    span = packed["high"] - packed["low"]
    values = packed["low"] + span * column(packed, "values").reshape(-1, 96) / 255
    np.testing.assert_allclose(values, samples.values[order], atol=0.501 * span / 255)


def test_what_does_not_fit_is_the_lightest_and_is_counted(run: Run) -> None:
    tree, samples = run.trees[KEY], run.samples[KEY]
    packed = pack_series(tree.node, samples, run.problems[KEY[1]], 10 * 96)
    assert packed is not None
    assert len(column(packed, "row")) == 10
    assert packed["carried_weight"] == pytest.approx(np.sort(samples.weight)[-10:].sum())
    few = pack_series(tree.node[:100], samples, run.problems[KEY[1]], 10**6)  # nodes that the page leaves out
    assert few is not None
    assert set(tree.node[column(few, "row")]) == set(samples.node) & set(tree.node[:100])


def test_runs_that_do_not_say_where_samples_end_or_what_nodes_earned_are_read(fresh_run: Path) -> None:
    for path, name in ((fresh_run / "samples.parquet", "node"), (fresh_run / "tree" / "dts.parquet", "reward")):
        pq.write_table(pq.read_table(path).drop_columns([name]), path)
    run = read_run(fresh_run)
    assert np.isnan(run.trees[KEY].reward).all()
    assert pack_series(run.trees[KEY].node, run.samples[KEY], run.problems[KEY[1]], 10**6) is None


def test_the_reward_of_a_node_is_the_best_below_it(run: Run) -> None:
    tree = run.trees[KEY]
    for row in (0, 5, 50):
        below = [leaf for leaf in np.flatnonzero(tree.level == tree.level.max()) if row in ancestors(tree.parent, leaf)]
        assert tree.reward[row] == tree.reward[below].max()


def ancestors(parent: np.ndarray, row: int) -> list[int]:
    path = [int(row)]
    while path[-1] >= 0:
        path.append(int(parent[path[-1]]))
    return path


def test_a_search_leaves_each_sample_at_the_node_that_holds_its_reward(tmp_path: Path) -> None:
    problems = [Problem(name, np.zeros(1)) for name in "ab"]
    reward = FunctionReward(lambda samples, problem: samples.sum(1) - 5.0 * (problem.name == "b"))
    search, executor = start_search(MarkovChainProcess.random(3, 3, seed=0), problems, reward, dts(n_rollouts=40))
    run_search(search, executor)
    drawn = search.samples()
    write_tree(tmp_path, "dts", search)
    write_samples(tmp_path, search.names, {"dts": drawn})
    nodes, written = pq.read_table(tmp_path / "samples.parquet", columns=["problem", "node"]).to_pydict().values()
    for tree, (name, of_problem) in zip(drawn, read_trees(tmp_path / "tree" / "dts.parquet").items(), strict=True):
        ends = np.array([node for problem, node in zip(nodes, written, strict=True) if problem == name])
        rows = np.searchsorted(of_problem.node, ends)
        np.testing.assert_array_equal(of_problem.reward[rows], tree.rewards)
        assert of_problem.reward[0] == tree.rewards.max()
