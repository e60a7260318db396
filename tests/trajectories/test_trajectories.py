"""Trajectories on disk: batches in parts, any reader, whatever a crash leaves is read as far as it is whole."""

import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.trajectories import TrajectoryWriter, read_trajectories

WHEN_FULL = {"seconds_between_batches": np.inf}


def new_writer(directory, **settings):
    return TrajectoryWriter(directory, ["a", "b"], (3,), np.dtype(np.float32), **{**WHEN_FULL, **settings})


def append(writer, first, count, width=3):
    node = np.arange(first, first + count)
    state = node[:, None] + np.zeros((1, width), np.float32)
    reward = np.where(node % 2 == 0, node / 10, np.nan)
    log_ratio = -np.arange(first, first + count).astype(np.float32)
    writer.append(
        node % 2, node, node - 1, node % 5, state.astype(np.float32), node / 4, reward, log_ratio
    )  # fmt: skip


def check_rows(table, count):
    """That the table holds nodes 0 to count - 1 as ``append`` wrote them."""
    node = np.arange(count)
    np.testing.assert_array_equal(table["node"], node)
    np.testing.assert_array_equal(table["parent"], node - 1)
    np.testing.assert_array_equal(table["level"], node % 5)
    np.testing.assert_array_equal(table["log_flow"], (node / 4).astype(np.float32))
    np.testing.assert_array_equal(table["log_ratio"], -node)
    assert table["problem"].to_pylist() == ["ab"[k % 2] for k in node]
    assert table["state"].to_pylist() == [[k] * 3 for k in node]
    assert table["reward"].to_pylist() == [k / 10 if k % 2 == 0 else None for k in node]


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 30), st.sampled_from(["flush", "finish_part"])), max_size=12),
    st.integers(1, 20),
    st.integers(1, 40),
)
def test_what_went_out_is_read_back_however_it_was_cut_into_batches_and_parts(tmp_path_factory, steps, batch, part):
    directory = tmp_path_factory.mktemp("trajectories")
    writer, rows = new_writer(directory, rows_per_batch=batch, rows_per_part=part), 0
    for step in steps:
        if isinstance(step, int):
            append(writer, rows, step)
            rows += step
        else:
            getattr(writer, step)()
    writer.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if rows:
            check_rows(read_trajectories(directory), rows)
    writer.finish_part()
    assert len(list(directory.iterdir())) == len(list(directory.glob("part-*.arrow"))) == writer.num_parts
    if rows:
        check_rows(read_trajectories(directory), rows)


def test_a_part_that_grows_is_read_batch_after_batch(tmp_path, quiet):
    writer = new_writer(tmp_path, rows_per_batch=4, rows_per_part=100)
    for first in range(0, 20, 4):
        append(writer, first, 4)
        check_rows(read_trajectories(tmp_path), first + 4)
    append(writer, 20, 3)  # these wait
    check_rows(read_trajectories(tmp_path), 20)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.arrow.writing"]
    writer.finish_part()
    check_rows(read_trajectories(tmp_path), 23)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.arrow"]


def test_rows_wait_no_longer_than_the_time_between_batches(tmp_path):
    now = [0.0]
    writer = new_writer(tmp_path, seconds_between_batches=1.0, clock=lambda: now[0])
    append(writer, 0, 2)
    assert list(tmp_path.iterdir()) == []
    now[0] = 1.0
    append(writer, 2, 0)  # nothing new, but the others go out
    check_rows(read_trajectories(tmp_path), 2)
    now[0] = 1.5
    append(writer, 2, 2)
    check_rows(read_trajectories(tmp_path), 2)


def read_or_none(directory):
    """None where not even the columns are there."""
    try:
        return read_trajectories(directory)
    except ValueError as error:
        if "holds no trajectories" in str(error):
            return None
        raise


@pytest.mark.parametrize(("name", "step"), [("part-00000.arrow", 1), ("part-00000.arrow.writing", 13)])
def test_a_file_cut_off_anywhere_is_read_up_to_its_last_whole_batch(tmp_path, name, step):
    writer = new_writer(tmp_path / "whole", rows_per_batch=2)
    sizes = []  # of the file after every batch
    for first in range(0, 6, 2):
        append(writer, first, 2)
        sizes.append((tmp_path / "whole" / "part-00000.arrow.writing").stat().st_size)
    writer.finish_part()
    whole = (tmp_path / "whole" / "part-00000.arrow").read_bytes()
    as_written = read_trajectories(tmp_path / "whole")
    check_rows(as_written, 6)
    (tmp_path / "cut").mkdir()
    rows = []
    for length in range(0, len(whole), step):
        (tmp_path / "cut" / name).write_bytes(whole[:length])
        batches = sum(size <= length for size in sizes)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            table = read_or_none(tmp_path / "cut")
        rows.append(0 if table is None else table.num_rows)
        assert table is None or table.equals(as_written.slice(0, rows[-1]))
        assert rows[-1] == 2 * batches
        said_nothing = length == 0 and name.endswith(".writing")  # a writer that has only just begun
        assert [f"{2 * batches} rows in {batches} whole batches" in str(w.message) for w in said] == (
            [] if said_nothing else [True]
        )
    assert set(rows) == {0, 2, 4, 6}


KILLED = """
import sys
from pathlib import Path
import numpy as np
from test_trajectories import append, new_writer
writer, first = new_writer(Path(sys.argv[1]), rows_per_batch=50, rows_per_part=400), 0
while True:
    append(writer, first, 50)
    first += 50
    print(first, flush=True)
"""


def test_a_writer_that_is_killed_loses_at_most_its_last_batch_and_the_reader_says_so(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        while int(process.stdout.readline()) < 1_000:
            pass
        process.send_signal(signal.SIGKILL)
        said = 1_000 + 50 * len(process.stdout.read().splitlines())
    (growing,) = tmp_path.glob("part-*.arrow.writing")
    with pytest.warns(UserWarning, match=f"{growing.name} was cut off"):
        table = read_trajectories(tmp_path)
    check_rows(table, table.num_rows)
    assert said <= table.num_rows <= said + 50


def test_after_a_write_that_failed_nothing_is_put_behind_what_it_left(tmp_path, monkeypatch):
    writer = new_writer(tmp_path, rows_per_batch=4)
    append(writer, 0, 4)

    class Full:
        def write_batch(self, batch, custom_metadata):
            (tmp_path / "part-00000.arrow.writing").open("ab").write(b"\xff\xff\xff\xff half a batch")
            raise OSError("No space left on device")

    monkeypatch.setattr(writer._part, "_writer", Full())
    with pytest.raises(OSError, match="No space left"):
        append(writer, 4, 4)
    for call in (writer.flush, writer.finish_part):
        with pytest.raises(OSError, match="could not be written before"):
            call()
    check_rows(read_trajectories(tmp_path), 4)


def test_a_writer_continues_after_the_parts_it_is_told_of_and_removes_those_behind(tmp_path):
    writer = new_writer(tmp_path, rows_per_part=10)
    for first in range(0, 45, 5):
        append(writer, first, 5)
    writer.flush()
    assert writer.num_parts == 4
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "part-00004.arrow.writing"
    writer = new_writer(tmp_path, rows_per_part=10, continue_after=2)
    append(writer, 20, 5)
    writer.finish_part()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"part-0000{i}.arrow" for i in range(3)]
    check_rows(read_trajectories(tmp_path), 25)


def test_a_writer_cannot_continue_after_parts_that_are_not_there_or_not_its_own(tmp_path):
    writer = new_writer(tmp_path, rows_per_part=10)
    append(writer, 0, 10)
    with pytest.raises(ValueError, match=r"hold 3 parts to continue after, but part-00001.arrow is missing"):
        new_writer(tmp_path, continue_after=3)
    with pytest.raises(ValueError, match="begin a new search"):
        TrajectoryWriter(tmp_path, ["a", "b"], (4,), np.dtype(np.float32), continue_after=1)
    check_rows(read_trajectories(tmp_path), 10)


def test_any_arrow_reader_opens_a_part_and_finds_what_it_is_of(tmp_path):
    facts = {"method": "dts", "inv_temperature": 2.0}
    writer = TrajectoryWriter(tmp_path, ["a"], (2, 2), np.dtype(np.int32), facts)
    writer.append(np.zeros(1), np.zeros(1), np.array([-1]), np.zeros(1), np.arange(4, dtype=np.int32).reshape(1, 2, 2),
                  np.zeros(1), np.array([np.nan]))  # fmt: skip
    writer.finish_part()
    table = pa.ipc.open_file(tmp_path / "part-00000.arrow").read_all()
    assert table.schema.metadata[b"state_shape"] == b"2,2"
    assert table.schema.metadata[b"facts"] == b'{"method": "dts", "inv_temperature": 2.0}'
    assert table["state"].to_pylist() == [[0, 1, 2, 3]]
    assert table["log_ratio"].to_pylist() == [0.0]  # drawn from the prior unless said otherwise


def test_polars_reads_the_directory(tmp_path):
    writer = new_writer(tmp_path, rows_per_batch=3, rows_per_part=6)
    append(writer, 0, 15)
    writer.finish_part()
    frame = pl.read_ipc(tmp_path / "part-*.arrow")
    assert frame["node"].to_list() == list(range(15))
    assert frame["state"].to_list() == [[k] * 3 for k in range(15)]
    best = frame.group_by("problem").agg(pl.col("reward").max(), pl.col("reward").count().alias("leaves"))
    assert sorted(best.rows()) == [("a", 1.4, 8), ("b", None, 0)]


def test_a_directory_of_another_search_or_version_is_refused(tmp_path):
    writer = new_writer(tmp_path / "one")
    append(writer, 0, 4)
    writer.flush()
    with pytest.raises(ValueError, match="another search"):
        new_writer(tmp_path / "one")
    with pytest.raises(ValueError, match="holds no trajectories"):
        read_trajectories(tmp_path)
    table = read_trajectories(tmp_path / "one").replace_schema_metadata({"schema_version": "1"})
    with pa.ipc.new_file(tmp_path / "part-00000.arrow", table.schema) as old:
        old.write_table(table)
    with pytest.raises(ValueError, match=r"schema version 1, this program reads version 2; search again"):
        read_trajectories(tmp_path)
    with pytest.raises(ValueError, match="schema version 1"):
        new_writer(tmp_path, continue_after=1)


@pytest.mark.parametrize("setting", ["rows_per_batch", "rows_per_part"])
def test_sizes_below_one_are_refused(tmp_path, setting):
    with pytest.raises(ValueError, match=f"{setting} must be at least 1, got 0"):
        new_writer(tmp_path, **{setting: 0})
