"""Siblings, paths and states of what a buffer holds."""

import numpy as np
import pytest
from written_forest import LEVELS, WrittenForest

from sadt_ray import Problem, dts
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import start_search
from sadt_ray.flow.buffer import ROOT, TrajectoryBuffer
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recorder import Recorder


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search and a buffer of what it wrote: a row of the buffer is a node of the tree."""
    run = tmp_path_factory.mktemp("run")
    reward = FunctionReward(lambda samples, problem: samples.sum(1).astype(float))
    problems = [Problem(name, np.zeros(1)) for name in "abc"]
    search, executor = start_search(MarkovChainProcess.random(3, 5, seed=0), problems, reward, dts(n_rollouts=200))
    recorder = Recorder(run, "dts")
    run_search(search, executor, [recorder])
    return search, TrajectoryBuffer([run])


def test_siblings_are_the_children_of_the_tree_at_the_root_too(searched):
    search, buffer = searched
    nodes, tree = buffer.nodes, search.tree
    np.testing.assert_array_equal(nodes.node, np.arange(len(tree)))
    splits, rows = nodes.all_children
    for node in range(len(tree)):
        assert set(rows[splits[node] : splits[node + 1]]) == set(tree.children(node)), node
    np.testing.assert_array_equal(nodes.num_children, tree.column("num_children"))
    np.testing.assert_array_equal(np.flatnonzero(nodes.parent == ROOT), [0, 1, 2])
    np.testing.assert_array_equal(nodes.states(nodes.node), search.states.values)


def test_facts_say_which_search_it_was(searched):
    facts = searched[1].facts[0]
    assert (facts["method"], facts["num_levels"], facts["config"]["n_rollouts"]) == ("dts", 5, 200)


def test_paths_lead_from_the_root_to_the_leaf_level_by_level(searched):
    nodes = searched[1].nodes
    leaves = np.flatnonzero(nodes.is_leaf)
    paths = nodes.paths(leaves)
    assert paths.shape == (len(leaves), 6)
    np.testing.assert_array_equal(paths[:, -1], leaves)
    np.testing.assert_array_equal(paths[:, 0], nodes.problem[leaves])
    np.testing.assert_array_equal(nodes.parent[paths[:, 1:]], paths[:, :-1])


def test_a_path_ends_where_nothing_is_held_any_more(tmp_path):
    WrittenForest(tmp_path).grow(200).writer.finish_part()
    nodes = TrajectoryBuffer([tmp_path], max_rows=150).nodes
    paths = nodes.paths(np.arange(len(nodes)))
    assert paths.shape[1] == LEVELS + 1
    np.testing.assert_array_equal(paths[:, 0] >= 0, nodes.reaches_root)
    assert nodes.reaches_root[nodes.is_leaf].any()
    assert not nodes.reaches_root[nodes.is_leaf].all()
    for row, path in enumerate(paths):
        held = path[path >= 0]
        assert held[-1] == row
        np.testing.assert_array_equal(nodes.parent[held[1:]], held[:-1])
        assert nodes.parent[held[0]] < 0


def test_states_keep_the_shape_of_rows_and_are_zero_where_there_is_no_row(searched):
    search, buffer = searched
    rows = np.array([[3, -1], [0, 3]])
    states = buffer.nodes.states(rows)
    assert states.shape == (2, 2, *search.states.row_shape)
    np.testing.assert_array_equal(states[1], search.states.values[[0, 3]])
    np.testing.assert_array_equal(states[0, 1], 0)
