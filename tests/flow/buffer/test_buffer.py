"""A buffer follows what is written: batch after batch, out of several directories, within its bounds."""

import os
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_forest import WrittenForest

from sadt_ray.flow.buffer import MISSING, ROOT, TrajectoryBuffer
from sadt_ray.flow.buffer.ids import RowOfNode
from sadt_ray.trajectories import TrajectoryWriter


class Clock:
    now = 1_000.0

    def time(self):
        return self.now


def check_whole(buffer, forest, directory=0):
    """That the buffer holds all of the forest in this directory, and each row's state."""
    nodes = buffer.nodes
    mine = np.flatnonzero(nodes.directory == directory)
    np.testing.assert_array_equal(nodes.node[mine] - forest.first_id, np.arange(len(forest.level)))
    np.testing.assert_array_equal(nodes.level[mine], forest.level)
    np.testing.assert_array_equal(np.where(forest.parent < 0, ROOT, mine[forest.parent]), nodes.parent[mine])
    np.testing.assert_array_equal(nodes.log_flow[mine], nodes.node[mine] / 8)
    np.testing.assert_array_equal(nodes.states(mine), np.stack([nodes.node[mine]] * 2, axis=1))
    np.testing.assert_array_equal(nodes.is_leaf[mine], forest.level == 4)
    np.testing.assert_array_equal(nodes.reward[mine][nodes.is_leaf[mine]], np.flatnonzero(forest.level == 4))
    assert nodes.reaches_root[mine].all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=1, max_size=8), st.integers(1, 12), st.integers(1, 40))
def test_a_buffer_that_looks_while_a_forest_grows_sees_what_one_sees_that_looks_at_the_end(
    tmp_path_factory, growth, rows_per_batch, rows_per_part
):
    directory = tmp_path_factory.mktemp("trajectories")
    forest = WrittenForest(directory, rows_per_batch=rows_per_batch, rows_per_part=rows_per_part)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        follower, read = TrajectoryBuffer([directory], allow_empty=True), 0
        read += len(follower)
        for count in growth:
            forest.grow(count)
            read += follower.refresh()
            assert len(follower) == read
        forest.writer.flush()
        follower.refresh()
        check_whole(follower, forest)
        forest.writer.finish_part()
        assert follower.refresh() == 0  # the same rows by another name
        nodes = follower.nodes
        assert follower.refresh() == 0
        assert follower.nodes is nodes  # with the siblings that were sorted out before
        check_whole(follower, forest)
        check_whole(TrajectoryBuffer([directory]), forest)


def test_a_view_stays_what_it_was_when_the_buffer_goes_on(tmp_path):
    forest = WrittenForest(tmp_path, rows_per_batch=10)
    forest.grow(30)
    buffer = TrajectoryBuffer([tmp_path], max_rows=30)
    before, rows = buffer.nodes, np.arange(len(buffer))
    states = before.states(rows)
    forest.grow(100)
    forest.writer.finish_part()
    assert buffer.refresh() == 102
    np.testing.assert_array_equal(before.states(rows), states)
    assert len(before) == 30


def test_several_directories_share_problems_by_name_and_keep_their_trees_apart(tmp_path):
    one = WrittenForest(tmp_path / "trajectories" / "dts", ("a", "b"), seed=1, facts={"method": "dts"})
    two = WrittenForest(tmp_path / "trajectories" / "sadt", ("b", "c"), seed=2, facts={"method": "sadt"})
    for forest in (one, two):
        forest.grow(50).writer.flush()
    for paths in ([tmp_path], [tmp_path / "trajectories"], [tmp_path, tmp_path / "trajectories" / "sadt"]):
        buffer = TrajectoryBuffer(paths)
        nodes = buffer.nodes
        check_whole(buffer, one, 0)
        check_whole(buffer, two, 1)
        assert [facts["method"] for facts in buffer.facts] == ["dts", "sadt"]
        for directory, forest, names in ((0, one, "ab"), (1, two, "bc")):
            found = [nodes.names[problem] for problem in nodes.problem[nodes.directory == directory]]
            assert found == [names[problem] for problem in forest.problem]
    late = WrittenForest(tmp_path / "trajectories" / "snis", ("a",))
    late.grow(10).writer.flush()
    assert buffer.refresh() == 11
    check_whole(buffer, late, 2)


def test_rows_of_several_directories_are_held_in_the_order_they_were_written(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("sadt_ray.trajectories.writer.time", clock)
    forests = [WrittenForest(tmp_path / name, rows_per_batch=3) for name in ("x", "y")]
    for turn in range(10):
        clock.now += 1
        forests[turn % 2].grow(6)
    for forest in forests:
        forest.writer.finish_part()
    nodes = TrajectoryBuffer([tmp_path]).nodes
    assert (np.diff(nodes.written) >= 0).all()
    assert (np.diff(nodes.directory) != 0).sum() >= 9
    for directory, forest in enumerate(forests):
        check_whole(TrajectoryBuffer([tmp_path]), forest, directory)
    half = TrajectoryBuffer([tmp_path], max_rows=30).nodes
    assert (np.bincount(half.directory) > 10).all()  # both have lost their oldest


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=10), max_size=5), st.randoms(use_true_random=False))
def test_rows_are_found_by_id_in_whatever_order_ids_come(batches, random):
    truth, found, row = {}, RowOfNode(), 0
    for batch in batches:
        ids = [node + random.choice([0, 1 << 40]) for node in set(batch)]
        ids = np.array([node for node in ids if node not in truth], np.int64)
        found.add(ids, row + np.arange(len(ids)))
        truth |= dict(zip(ids.tolist(), range(row, row + len(ids)), strict=True))
        row += len(ids)
    asked = np.concatenate([np.arange(-1, 41), (1 << 40) + np.arange(41)])
    np.testing.assert_array_equal(found.find(asked), [truth.get(node, MISSING) for node in asked.tolist()])


GROWING = """
import sys
from written_forest import WrittenForest
forest = WrittenForest(sys.argv[1], rows_per_batch=20, rows_per_part=100)
while True:
    forest.grow(1)
"""


def test_another_process_is_followed_until_it_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])}
    buffer, looks = TrajectoryBuffer([tmp_path], allow_empty=True), 0
    with subprocess.Popen([sys.executable, "-c", GROWING, str(tmp_path / "dts")], env=environment) as process:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            deadline = time.monotonic() + 60
            while len(buffer) < 530 and time.monotonic() < deadline:
                looks += buffer.refresh() > 0
        process.kill()
    assert looks > 1
    with pytest.warns(UserWarning, match="was cut off") if list(tmp_path.rglob("*.writing")) else nullcontext():
        buffer.refresh()
    nodes = buffer.nodes
    assert len(nodes) % 20 == 0
    np.testing.assert_array_equal(nodes.node, np.arange(len(nodes)))
    np.testing.assert_array_equal(nodes.states(nodes.node)[:, 0], nodes.node)
    assert nodes.reaches_root.all()


def test_particles_beside_the_tree_have_ids_of_their_own_and_parents_in_it(tmp_path):
    forest = WrittenForest(tmp_path, rows_per_batch=8)
    forest.grow(20)
    first = 1 << 40
    for k in range(3):  # in between, as they come
        ids = first + np.arange(4 * k, 4 * k + 4)
        parent = np.array([0, ids[0], ids[0], ids[2]])
        forest.writer.append(
            np.zeros(4, int), ids, parent, np.array([1, 2, 2, 3]), np.zeros((4, 2)), np.zeros(4), np.full(4, np.nan)
        )
        forest.grow(5)
    forest.writer.flush()
    nodes = TrajectoryBuffer([tmp_path]).nodes
    beside = np.flatnonzero(nodes.node >= first)
    np.testing.assert_array_equal(nodes.node[nodes.parent[beside]], 3 * [0, first, first, first + 2] + np.repeat(
        [0, 4, 8], 4) * np.tile([0, 1, 1, 1], 3))  # fmt: skip
    positions = nodes.positions([0, 7, 8, 9, 10], np.arange(len(nodes)))  # of the branch levels; particles have theirs
    np.testing.assert_array_equal(positions[beside], np.tile([1, 2, 2, 3], 3))
    in_tree = np.setdiff1d(np.arange(len(nodes)), beside)
    np.testing.assert_array_equal(positions[in_tree], np.array([0, 7, 8, 9, 10])[forest.level])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 120), st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_the_newest_rows_are_held_and_the_roots_with_them(tmp_path_factory, max_rows, growth):
    directory = tmp_path_factory.mktemp("trajectories")
    forest = WrittenForest(directory, rows_per_batch=7)
    forest.writer.flush()
    buffer = TrajectoryBuffer([directory], max_rows=max_rows)
    for count in growth:
        forest.grow(count).writer.flush()
        buffer.refresh()
        nodes, total = buffer.nodes, len(forest.level)
        below = nodes.node[2:]
        assert list(nodes.node[:2]) == [0, 1]
        np.testing.assert_array_equal(below, np.arange(total - len(below), total))
        assert min(total - 2, max_rows - max_rows // 20) <= len(below) <= max_rows
        parent = forest.parent[nodes.node]
        held = np.isin(parent, nodes.node)
        np.testing.assert_array_equal(nodes.parent[~held], np.where(parent < 0, ROOT, MISSING)[~held])
        np.testing.assert_array_equal(nodes.node[nodes.parent[held]], parent[held])
        np.testing.assert_array_equal(nodes.states(np.arange(len(nodes)))[:, 0], nodes.node)


def test_rows_that_were_written_too_long_ago_go_and_roots_stay(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("sadt_ray.trajectories.writer.time", clock)
    forest = WrittenForest(tmp_path)
    buffer = TrajectoryBuffer([tmp_path], max_age_seconds=100.0, allow_empty=True, clock=clock.time)
    for _ in range(8):  # ten rows every 30 seconds
        forest.grow(10).writer.flush()
        buffer.refresh()
        clock.now += 30
    newest = buffer.nodes.node[2:]
    assert list(buffer.nodes.node[:2]) == [0, 1]
    np.testing.assert_array_equal(newest, np.arange(42, 82))  # of 90, 60, 30 and 0 seconds before the last look
    clock.now += 1_000
    buffer.refresh()
    assert list(buffer.nodes.node) == [0, 1]


def test_rows_of_parts_that_a_resumed_search_took_back_go(tmp_path):
    forest = WrittenForest(tmp_path, rows_per_part=20)
    forest.grow(58)  # three parts
    buffer = TrajectoryBuffer([tmp_path])
    assert len(buffer) == 60
    again = TrajectoryWriter(tmp_path, ["a", "b"], (2,), np.dtype(np.float32), continue_after=2)
    buffer.refresh()
    np.testing.assert_array_equal(buffer.nodes.node, np.arange(40))
    again.append(np.zeros(5, int), np.arange(40, 45), np.zeros(5, int), np.ones(5, int), np.full((5, 2), 7.0),
                 np.zeros(5), np.full(5, np.nan))  # fmt: skip
    again.flush()
    buffer.refresh()
    np.testing.assert_array_equal(buffer.nodes.node, np.arange(45))
    np.testing.assert_array_equal(buffer.nodes.states(np.arange(40, 45)), 7.0)
    np.testing.assert_array_equal(buffer.nodes.parent[40:], 0)


def test_a_part_taken_back_and_written_anew_between_two_looks_is_read_anew(tmp_path):
    forest = WrittenForest(tmp_path, rows_per_part=20)
    forest.grow(38)
    buffer = TrajectoryBuffer([tmp_path])
    again = TrajectoryWriter(tmp_path, ["a", "b"], (2,), np.dtype(np.float32), continue_after=1)
    again.append(np.zeros(5, int), np.arange(20, 25), np.zeros(5, int), np.ones(5, int), np.full((5, 2), 7.0),
                 np.zeros(5), np.full(5, np.nan))  # fmt: skip
    again.finish_part()
    assert buffer.refresh() == 5
    np.testing.assert_array_equal(buffer.nodes.node, np.arange(25))
    np.testing.assert_array_equal(buffer.nodes.states(np.arange(20, 25)), 7.0)


def test_a_part_that_another_search_wrote_over_is_read_anew(tmp_path):
    WrittenForest(tmp_path / "dts", seed=1).grow(38).writer.finish_part()
    other = WrittenForest(tmp_path / "other", seed=2).grow(30)
    other.writer.finish_part()
    buffer = TrajectoryBuffer([tmp_path / "dts"])
    (tmp_path / "dts" / "part-00000.arrow").write_bytes((tmp_path / "other" / "part-00000.arrow").read_bytes())
    assert buffer.refresh() == 32
    check_whole(buffer, other)


def test_a_part_that_was_cut_off_is_read_as_far_as_it_is_whole_and_told_of_once(tmp_path):
    forest = WrittenForest(tmp_path, rows_per_batch=10)
    forest.grow(38)
    growing = tmp_path / "part-00000.arrow.writing"
    content = growing.read_bytes()
    growing.unlink()
    growing.write_bytes(content[:-3])  # nobody holds this file
    with pytest.warns(UserWarning, match=r"30 rows in 3 whole batches") as said:
        buffer = TrajectoryBuffer([tmp_path])
    assert len(said) == 1
    assert len(buffer) == 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert buffer.refresh() == 0


def test_places_without_trajectories_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere does not exist; `python -m jobs.search --out RUN` writes them"):
        TrajectoryBuffer([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"holds no trajectories; `python -m jobs.search"):
        TrajectoryBuffer([tmp_path])
    with pytest.raises(ValueError, match="at least one path"):
        TrajectoryBuffer([])
    with pytest.raises(ValueError, match="max_rows must be None or a positive number, got 0"):
        TrajectoryBuffer([tmp_path], max_rows=0)
    assert len(TrajectoryBuffer([tmp_path / "nowhere"], allow_empty=True)) == 0


def test_states_of_different_shapes_are_refused_with_both_directories_shapes(tmp_path):
    WrittenForest(tmp_path / "dts").writer.finish_part()
    other = TrajectoryWriter(tmp_path / "other", ["a"], (3,), np.dtype(np.float32))
    other.append(*np.zeros((1, 1), int), np.zeros(1, int), np.array([-1]), np.zeros(1, int), np.zeros((1, 3)),
                 np.zeros(1), np.array([np.nan]))  # fmt: skip
    other.flush()
    with pytest.raises(
        ValueError, match=r"other holds states \(3,\) of float32, but the earlier ones are \(2,\) of float32"
    ):
        TrajectoryBuffer([tmp_path])
