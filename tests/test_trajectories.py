"""Trajectories on disk: complete parts, any reader, nothing half there."""

import numpy as np
import pyarrow as pa
import pytest

from sadt_ray.trajectories import TrajectoryWriter, read_trajectories


def append(writer, first, count, width=3):
    node = np.arange(first, first + count)
    state = node[:, None] + np.zeros((1, width), np.float32)
    reward = np.where(node % 2 == 0, node / 10, np.nan)
    writer.append(node % 2, node, node - 1, node % 5, state.astype(np.float32), np.zeros(count), reward)


def test_what_is_written_is_read_back_part_after_part(tmp_path):
    writer = TrajectoryWriter(tmp_path, ["a", "b"], (3,), np.dtype(np.float32), rows_per_part=10)
    for first in range(0, 32, 4):
        append(writer, first, 4)
    writer.finish_part()
    assert len(list(tmp_path.glob("part-*.arrow"))) == 4  # three full ones and the rest
    table = read_trajectories(tmp_path)
    assert table["node"].to_pylist() == list(range(32))
    assert table["problem"].to_pylist() == ["a", "b"] * 16
    assert np.array_equal(np.array(table["state"].to_pylist())[:, 0], np.arange(32))
    assert [reward is None for reward in table["reward"].to_pylist()] == [False, True] * 16


def test_a_part_appears_whole_or_not_at_all(tmp_path):
    writer = TrajectoryWriter(tmp_path, ["a", "b"], (3,), np.dtype(np.float32), rows_per_part=4)
    append(writer, 0, 4)
    append(writer, 4, 3)  # still in memory when the process is killed here
    (tmp_path / "part-00001.writing").write_bytes(b"half a part")
    assert read_trajectories(tmp_path).num_rows == 4


def continued(directory, count):
    return TrajectoryWriter(directory, ["a", "b"], (3,), np.dtype(np.float32), rows_per_part=10, continue_after=count)


def test_a_writer_continues_after_the_parts_it_is_told_of_and_removes_those_behind(tmp_path):
    writer = TrajectoryWriter(tmp_path, ["a", "b"], (3,), np.dtype(np.float32), rows_per_part=10)
    for first in range(0, 40, 10):
        append(writer, first, 10)
    assert writer.num_parts == 4
    (tmp_path / "part-00004.writing").write_bytes(b"half a part")
    writer = continued(tmp_path, 2)
    append(writer, 20, 5)
    writer.finish_part()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"part-0000{i}.arrow" for i in range(3)]
    assert read_trajectories(tmp_path)["node"].to_pylist() == list(range(25))


def test_a_writer_cannot_continue_after_parts_that_are_not_there(tmp_path):
    writer = TrajectoryWriter(tmp_path, ["a", "b"], (3,), np.dtype(np.float32), rows_per_part=10)
    append(writer, 0, 10)
    with pytest.raises(ValueError, match=r"hold 3 parts to continue after, but part-00001.arrow is missing"):
        continued(tmp_path, 3)
    assert read_trajectories(tmp_path).num_rows == 10


def test_any_arrow_reader_opens_a_part(tmp_path):
    writer = TrajectoryWriter(tmp_path, ["a"], (2, 2), np.dtype(np.int32))
    writer.append(np.zeros(1), np.zeros(1), np.array([-1]), np.zeros(1), np.arange(4, dtype=np.int32).reshape(1, 2, 2),
                  np.zeros(1), np.array([np.nan]))  # fmt: skip
    writer.finish_part()
    table = pa.ipc.open_file(tmp_path / "part-00000.arrow").read_all()
    assert table.schema.metadata[b"state_shape"] == b"2,2"
    assert table["state"].to_pylist() == [[0, 1, 2, 3]]


def test_a_directory_of_another_search_or_version_is_refused(tmp_path):
    writer = TrajectoryWriter(tmp_path / "one", ["a", "b"], (3,), np.dtype(np.float32))
    append(writer, 0, 4)
    writer.finish_part()
    with pytest.raises(ValueError, match="another search"):
        TrajectoryWriter(tmp_path / "one", ["a", "b"], (3,), np.dtype(np.float32))
    with pytest.raises(ValueError, match="holds no trajectories"):
        read_trajectories(tmp_path)
    table = read_trajectories(tmp_path / "one").replace_schema_metadata({"schema_version": "0"})
    with pa.ipc.new_file(tmp_path / "part-00000.arrow", table.schema) as old:
        old.write_table(table)
    with pytest.raises(ValueError, match="schema version 0"):
        read_trajectories(tmp_path)
