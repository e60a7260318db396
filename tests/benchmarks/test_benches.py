"""``jobs.bench``: what it prints, how it ends without data, and small versions of its benchmarks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import BenchResult, exact, overhead, owner, parallel, rules
from jobs import bench
from sadt_ray.data.etth1 import DataNotFound, WrongChecksum
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem
from sadt_ray.methods import dts, dts_star
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixtureProcess,
    grid_prior,
    nine_mode_posterior,
)
from sadt_ray.rollout.rollout import rollout


def _call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["jobs.bench", *arguments])
    bench.main()


def test_notes_are_printed_as_they_are_and_figures_written(monkeypatch, tmp_path, capsys):
    note = "pip install -e '.[bench]'"
    monkeypatch.setattr(owner, "run", lambda quick: BenchResult([{"method": "one"}], {"a": 1}, [note]))
    _call(monkeypatch, "owner", "--out", str(tmp_path))
    assert note in capsys.readouterr().out
    assert json.loads((tmp_path / "bench.json").read_text()) == {"a": 1.0}


@pytest.mark.parametrize("error", [DataNotFound, WrongChecksum])
def test_data_that_are_missing_or_damaged_end_it_with_a_message(monkeypatch, tmp_path, error):
    def run(quick):
        raise error("no such data")

    monkeypatch.setattr(owner, "run", run)
    with pytest.raises(SystemExit, match=r"jobs\.bench: no such data"):
        _call(monkeypatch, "owner", "--out", str(tmp_path))


def test_the_owner_is_rated_by_all_batches_and_by_the_median(monkeypatch):
    monkeypatch.setattr(owner, "_SMALL", 100)
    monkeypatch.setattr(owner, "_LARGE", 200)
    result = owner.run(quick=True)
    assert {"simulations_per_second", "simulations_per_second_1m_nodes", "bytes_per_node"} <= result.figures.keys()
    assert result.figures["simulations_per_second"] == result.rows[0]["simulations/s"]
    assert result.rows[0]["median"] > 0


def test_a_rule_in_python_is_timed_beside_the_same_rule_compiled(monkeypatch):
    monkeypatch.setattr(rules, "_SIZES", (50, 100))
    result = rules.run(quick=True)
    assert [row["uct"] for row in result.rows] == ["built in", "Python", "numba"]
    assert len({row["children of the root"] for row in result.rows}) == 1  # it is the same rule
    assert min(result.figures.values()) > 0


def test_overhead_times_every_case_on_trees_already_grown(monkeypatch):
    def unavailable():
        raise DataNotFound("nowhere")

    for name, value in {"_LARGE": 4, "_LARGE_BATCH": 8, "_SMALL": 2, "_SMALL_BATCH": 4, "_FORESTS": 1}.items():
        monkeypatch.setattr(overhead, name, value)
    monkeypatch.setattr(overhead, "_GROWN", 4)
    monkeypatch.setattr(overhead, "_ROLLOUTS", 24)
    monkeypatch.setattr(overhead, "load_etth1", unavailable)
    monkeypatch.setattr(overhead, "synthetic_hourly", lambda: synthetic_hourly(rows=2880, channels=2))
    result = overhead.run(quick=False)
    cases = {"nfe_ratio_snis", "nfe_ratio_dts", "nfe_ratio_dts_late", "nfe_ratio_dts_batch56"}
    assert result.figures.keys() == {"nfe_ratio"} | cases
    assert result.figures["nfe_ratio"] == result.figures["nfe_ratio_dts"]
    assert all(row["pairs"] > 0 and np.isfinite(row["ratio, median of pairs"]) for row in result.rows)


def test_late_branching_is_measured_with_dts_as_published_and_as_shipped():
    as_published, shipped = (exact._METHODS[key][1](max_nfe=1_000) for key in ("late", "dts_late"))
    assert as_published.branch_steps == shipped.branch_steps == exact.LATE
    assert (as_published.search.widen_alpha, shipped.search.widen_alpha) == (0.8, 0.5)
    measured = exact.measure(exact.search_forest(shipped, seeds=3))
    assert all(np.isfinite(value) for value, _ in measured.values())


def test_workers_return_in_random_order_what_each_ticket_brings_on_its_own():
    search, chain, scorer = exact.new_search(dts(n_rollouts=60), [0])
    executor = parallel.RandomOrder(chain, scorer, search.num_levels, workers=20, seed=0)
    tickets = search.ask(40)
    returned = []
    for row in range(40):
        executor.submit(tickets.take([row]))
        if row >= 19:
            returned += executor.collect()
    returned += [finished for _ in range(19) for finished in executor.collect()]
    order = [int(finished.tickets.id[0]) for finished in returned]
    assert sorted(order) == tickets.id.tolist()
    assert np.mean(np.abs(np.array(order) - np.sort(order))) > 5
    for finished in returned:
        alone = rollout(chain, scorer, search.num_levels, finished.tickets)
        for name in ("id", "value", "path_splits", "path_level", "samples", "rewards", "nfe"):
            np.testing.assert_allclose(getattr(finished.results, name), getattr(alone, name), rtol=1e-12)


def test_one_worker_grows_the_tree_of_the_serial_search():
    method, problems = dts_star(n_rollouts=50), [Problem("seed 3", np.zeros(0))]
    process = GaussianMixtureProcess(grid_prior(), branch_steps=method.branch_steps)
    serial, _, _ = exact.new_search(method, [3])
    reward = DensityRatioReward(grid_prior(), nine_mode_posterior())
    run_search(serial, SerialExecutor(process, reward, problems, batch_size=1))
    one, alike = parallel.search(method, workers=1, seed=3), serial.samples()[0]
    np.testing.assert_array_equal(one.samples, alike.samples)
    assert one.log_z == alike.log_z


def test_the_cost_of_parallel_rollouts_is_measured_for_every_method_and_number_of_workers(monkeypatch):
    monkeypatch.setattr(parallel, "_SIZE", {True: (32, 2)})
    result = parallel.run(quick=True)
    for method in ("dts", "dts_late", "dts_star"):
        for workers in (1, 8, 32, 128):
            assert {f"tv_{method}_k{workers}", f"tv_equal_time_{method}_k{workers}"} <= result.figures.keys()
        assert f"tv_{method}_virtual_loss_k8" in result.figures
        assert result.figures[f"tv_{method}_k32"] == result.figures[f"tv_equal_time_{method}_k32"]
    assert all(np.isfinite(value) for value in result.figures.values())
    equal_simulations, equal_time = result.rows[: len(result.rows) // 2], result.rows[len(result.rows) // 2 :]
    assert {row["simulations"] for row in equal_simulations} == {32}
    assert {row["time"] for row in equal_time} == {1.0}
    assert all(row["simulations"] == row["K"] * row["time"] for row in result.rows)


def test_every_benchmark_is_listed_with_its_question_in_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        _call(monkeypatch, "--help")
    printed = capsys.readouterr().out
    assert printed.index("Examples:") < printed.index("Benchmarks:")
    files = {path.stem for path in Path(exact.__file__).parent.glob("*.py")} - {"__init__"}
    assert bench.questions().keys() == files
    assert bench.questions()["exact"] == exact.QUESTION
    for name, question in bench.questions().items():
        assert question.endswith(("?", ")"))
        assert "\n" not in question
        assert len(question) < 110
        assert f"    {name} " in printed


def test_a_name_that_is_no_benchmark_is_refused_with_those_that_are(monkeypatch):
    with pytest.raises(SystemExit, match="no benchmark 'apparatus'; choose one of amortise, branching"):
        _call(monkeypatch, "apparatus")


def test_the_installed_command_says_that_there_is_no_checkout(tmp_path):
    root = Path(bench.__file__).parents[1]
    site = tmp_path / "site"
    site.mkdir()
    for package in ("sadt_ray", "actors", "jobs"):  # what the wheel holds
        (site / package).symlink_to(root / package)
    code = (
        "import sys, pathlib\n"
        "others = [p for p in sys.path if p and not pathlib.Path(p, 'benchmarks').is_dir()]\n"
        f"sys.path[:] = [{str(site)!r}, *others]\n"
        "from importlib.metadata import EntryPoint\n"
        "EntryPoint('sadt-bench', 'jobs.bench:main', 'console_scripts').load()()"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for arguments in (["exact", "--quick"], ["--help"]):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 1
        assert "not part of the installed package; run this in a checkout" in done.stderr
