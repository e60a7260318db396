"""A run directory is read back as it was written, and what is wrong with one is said by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sadt_ray.runs.read import read_run


def test_everything_written_is_read_back(run_dir: Path) -> None:
    run = read_run(run_dir)
    assert run.methods == ["prior", "best-of-n", "snis", "dts"]
    assert list(run.problems) == ["ETTh1/test/0000/OT", "ETTh1/test/0001/<HUFL>"]
    assert [series.truth is None for series in run.problems.values()] == [False, True]
    table = pq.read_table(run_dir / "samples.parquet").to_pylist()
    for (method, problem), samples in run.samples.items():
        rows = [row for row in table if row["method"] == method and row["problem"] == problem]
        np.testing.assert_array_equal(samples.values, [row["values"] for row in rows])
        np.testing.assert_array_equal(samples.weight, [row["weight"] for row in rows])
        np.testing.assert_array_equal(samples.reward, [row["reward"] for row in rows])
    assert len(run.progress) == 24


def test_samples_come_in_the_order_of_their_cost(fresh_run: Path) -> None:
    table = pq.read_table(fresh_run / "samples.parquet")
    shuffled = table.take(np.random.default_rng(0).permutation(len(table)))
    straight = read_run(fresh_run).samples
    pq.write_table(shuffled, fresh_run / "samples.parquet")
    for key, samples in read_run(fresh_run).samples.items():
        np.testing.assert_array_equal(samples.reward, straight[key].reward)
        assert (np.diff(samples.nfe_at) >= 0).all()


def test_parents_become_rows(run_dir: Path) -> None:
    table = pq.read_table(run_dir / "tree" / "dts.parquet")
    for (_, problem), tree in read_run(run_dir).trees.items():
        parent = table.filter(pc.equal(table["problem"], problem))["parent"].to_numpy()
        np.testing.assert_array_equal(np.where(tree.parent < 0, -1, tree.node[tree.parent]), parent)
        assert (tree.parent < np.arange(len(tree))).all()


@pytest.mark.parametrize("name", ["config.json", "summary.json", "problems.parquet", "samples.parquet"])
def test_a_missing_file_is_named_with_the_fix(fresh_run: Path, name: str) -> None:
    (fresh_run / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing.*run the search"):
        read_run(fresh_run)


def test_a_directory_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="nowhere is not a directory"):
        read_run(Path("nowhere"))


@pytest.mark.parametrize("name", ["samples.parquet", "tree/dts.parquet"])
def test_a_missing_column_is_named(fresh_run: Path, name: str) -> None:
    table = pq.read_table(fresh_run / name)
    pq.write_table(table.drop_columns(["weight"]), fresh_run / name)
    with pytest.raises(ValueError, match="lacks column 'weight'"):
        read_run(fresh_run)


def test_weights_that_do_not_sum_to_one_are_refused(fresh_run: Path) -> None:
    table = pq.read_table(fresh_run / "samples.parquet")
    doubled = pa.array(2 * table["weight"].to_numpy())
    index = table.column_names.index("weight")
    pq.write_table(table.set_column(index, "weight", doubled), fresh_run / "samples.parquet")
    with pytest.raises(ValueError, match="weights of prior for ETTh1/test/0000/OT sum to 2, not to 1"):
        read_run(fresh_run)


def test_a_node_above_its_parent_is_refused(fresh_run: Path) -> None:
    path = fresh_run / "tree" / "dts.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(np.arange(len(table))[::-1]), path)
    with pytest.raises(ValueError, match="which is not a row above it"):
        read_run(fresh_run)


def test_metrics_cut_short_by_an_interruption_are_read_to_the_last_whole_line(fresh_run: Path) -> None:
    path = fresh_run / "metrics.jsonl"
    path.write_text(path.read_text() + '{"seconds": 0.7, "meth')
    assert len(read_run(fresh_run).progress) == 24
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(ValueError, match="line 1 is not JSON"):
        read_run(fresh_run)


def test_trees_and_metrics_may_be_absent(fresh_run: Path) -> None:
    (fresh_run / "tree" / "dts.parquet").unlink()
    (fresh_run / "metrics.jsonl").unlink()
    run = read_run(fresh_run)
    assert not run.trees
    assert not run.progress


def test_a_summary_without_methods_is_refused(fresh_run: Path) -> None:
    (fresh_run / "summary.json").write_text(json.dumps({"rows": [{"reward": 1.0}]}))
    with pytest.raises(ValueError, match="must hold 'rows', each naming its 'method'"):
        read_run(fresh_run)
