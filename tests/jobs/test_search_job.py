"""``python -m jobs.search`` with tiny numbers: the real program, the shipped prior, a real run directory."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import search as job
from jobs.search_job import SearchJob
from sadt_ray import dts, session
from sadt_ray.forecasting import build_methods
from sadt_ray.runs.recording import run_recorded
from sadt_ray.smc.resampling import stratified
from sadt_ray.smc.twists import FunctionTwist
from sadt_ray.trajectories import read_trajectories

TINY = (
    "--executor",
    "serial",
    "--dataset",
    "synthetic",
    "--num-windows",
    "1",
    "--channels",
    "channel_6",
    "--seed",
    "3",
)


def failing_reward(samples, problem):
    """NaN for about one sample in twenty."""
    return np.where(np.floor(samples[:, 0] * 1000) % 20 == 0, np.nan, -np.abs(samples[:, 0]))


def slow_reward(samples, problem):
    time.sleep(0.2)
    return -np.abs(samples).mean(1)


def least_visited(children, uniform):
    return int(np.argmin(children.visits + children.in_flight))


def three_at_most(node):
    return node.num_children + node.pending < 3


def reversed_stratified(weights, uniforms):
    return weights.shape[1] - 1 - stratified(weights[:, ::-1], uniforms)


def mild(chain, scorer, num_positions, inv_temperature):
    return FunctionTwist(lambda view: view.clean.mean(dim=1))


def dts_by_counts(*, n_rollouts=None, max_nfe=None, inv_temperature=1.0, seed=0, selection="boltzmann"):
    """A method of one's own."""
    budget = {"n_rollouts": n_rollouts, "max_nfe": max_nfe, "seed": seed}
    return dts(inv_temperature=inv_temperature, selection=selection, widen_c=1.0, branch_steps="late", **budget)


def run(monkeypatch, *arguments):
    """Exit code of the real main."""
    monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        job.main()
    return stopped.value.code


def samples_of(directory, method):
    rows = [row for row in pq.read_table(directory / "samples.parquet").to_pylist() if row["method"] == method]
    return np.array([row["values"] for row in rows]), np.array([row["weight"] for row in rows])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("search") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        methods = ("--method", "prior", "best-of-n", "snis", "dts", "dts-late", "dts-star")
        code = run(monkeypatch, *TINY, *methods, "--max-nfe", 960, "--out", directory)
    assert code == 0
    return directory


def test_sweeps_make_as_many_particles_as_the_evaluations_pay_for(tmp_path, monkeypatch):
    sweeps = ("--method", "sweep", "smc-debiased", "fk", "--max-nfe", 1600, "--reward", "none", "--no-report")
    assert run(monkeypatch, *TINY, *sweeps, "--out", tmp_path / "run") == 0
    for row in json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]:
        assert 0.8 * 1600 < row["nfe"] <= 1.02 * 1600
        assert row["budget"] == f"{row['rollouts']:.0f} rollouts"
        assert 64 < row["rollouts"] <= 128
    beyond = ("--max-nfe", 40, "--out", tmp_path / "none")
    said = str(run(monkeypatch, *TINY, "--method", "sweep", "--reward", "none", *beyond))
    assert "4 particles, the fewest that sweep can have" in said
    assert "more than the 40 there are" in said


OWN = {
    "selection": "test_search_job:least_visited",
    "widening": "test_search_job:three_at_most",
    "resampling": "test_search_job:reversed_stratified",
    "twist": "test_search_job:mild",
}


def test_functions_of_ones_own_reach_the_methods_that_have_a_place_for_them():
    settings = {"method": ("snis", "dts", "fk", "sadt", "test_search_job:dts_by_counts"), "n_rollouts": 64, **OWN}
    _, tree, fk, sadt, own = build_methods(SearchJob(**settings), num_steps=16)
    assert (tree.search.selection, tree.search.widening) == (OWN["selection"], OWN["widening"])
    assert (fk.smc.resampling, fk.smc.twist) == (OWN["resampling"], "clean")
    assert (sadt.smc.resampling, sadt.smc.twist, sadt.search.selection) == (
        OWN["resampling"],
        OWN["twist"],
        OWN["selection"],
    )
    assert (own.search.selection, own.search.widening, own.search.widen_c) == (OWN["selection"], "progressive", 1.0)


def test_a_function_of_ones_own_that_no_method_uses_or_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="none of the methods snis uses --widening"):
        build_methods(SearchJob(method=("snis",), widening=OWN["widening"]), num_steps=16)
    with pytest.raises(ValueError, match="has no 'nothing'"):
        build_methods(SearchJob(method=("fk",), resampling="test_search_job:nothing"), num_steps=16)


def test_a_run_by_functions_of_ones_own_records_their_names(tmp_path, monkeypatch):
    flags = [word for name, function in OWN.items() for word in (f"--{name}", function)]
    methods = ("--method", "dts", "sweep", "--n-rollouts", 48, "--reward", "none", "--no-report")
    assert run(monkeypatch, *TINY, *methods, *flags, "--out", tmp_path / "run") == 0
    tree, sweep = json.loads((tmp_path / "run" / "config.json").read_text())["methods"]
    assert tree["search"]["selection"] == OWN["selection"]
    assert sweep["smc"]["twist"] == OWN["twist"]
    nodes = pq.read_table(tmp_path / "run" / "tree" / "dts.parquet").to_pandas()
    assert nodes["parent"][nodes["parent"] > 0].value_counts().max() == 3  # the root got its first batch at once
    assert read_trajectories(tmp_path / "run" / "trajectories" / "dts").num_rows == len(nodes)


def test_the_scores_of_the_problems_average_to_the_rows_of_the_summary(finished):
    scores = pq.read_table(finished / "scores.parquet").to_pandas()
    means = scores.pivot_table("value", "method", "metric")
    for row in json.loads((finished / "summary.json").read_text())["rows"]:
        for metric in ("crps", "spec_w1", "log_spectral_distance", "coverage90", "reward", "log_z", "ess", "nfe"):
            assert means.loc[row["method"], metric] == pytest.approx(row[metric])
    assert set(scores["cluster"]) == {"synthetic/test/0029"}


def test_every_method_spends_the_same_evaluations_and_leaves_weights_that_sum_to_one(finished):
    rows = json.loads((finished / "summary.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["prior", "best-of-n", "snis", "dts", "dts-late", "dts-star"]
    assert all(960 <= row["nfe"] <= 960 + 16 * 16 for row in rows)  # at most one batch more
    for row in rows:
        _, weights = samples_of(finished, row["method"])
        assert weights.sum() == pytest.approx(1, abs=1e-9)
        assert row["ess"] == pytest.approx(1 / np.square(weights).sum())


def test_independent_methods_share_their_samples_and_differ_in_the_weights(finished):
    prior, flat = samples_of(finished, "prior")
    best, single = samples_of(finished, "best-of-n")
    assert np.array_equal(prior, best)
    assert np.ptp(flat) < 1e-12
    assert np.sort(single)[-2:].tolist() == [0, 1]


def test_the_tilt_raises_the_mean_reward_and_lowers_the_effective_sample_size(finished):
    rows = {row["method"]: row for row in json.loads((finished / "summary.json").read_text())["rows"]}
    assert rows["prior"]["reward"] < rows["snis"]["reward"] <= rows["best-of-n"]["reward"]
    assert rows["best-of-n"]["ess"] == pytest.approx(1)
    assert rows["snis"]["ess"] < rows["prior"]["ess"]


def test_the_trajectories_are_the_tree(finished):
    tree = pq.read_table(finished / "tree" / "dts.parquet")
    told = read_trajectories(finished / "trajectories" / "dts")
    assert told["node"].to_pylist() == tree["node"].to_pylist()
    assert told["parent"].to_pylist() == tree["parent"].to_pylist()
    leaves = np.array(tree["level"]) == 5
    assert np.array_equal(np.array(told["reward"].to_pylist(), float)[leaves], np.array(tree["value"])[leaves])
    values, _ = samples_of(finished, "dts")
    assert leaves.sum() == len(values)


def test_the_run_directory_says_what_it_follows_from_and_has_a_report(finished):
    config = json.loads((finished / "config.json").read_text())
    assert config["search"]["seed"] == 3
    assert {"commit", "numpy", "torch", "cpu"} <= config["environment"].keys()
    assert "best-of-n" in (finished / "report.html").read_text()
    assert list((finished / "plots").glob("*.png"))


def test_the_same_seed_gives_the_same_samples(finished, monkeypatch, tmp_path):
    run(monkeypatch, *TINY, "--method", "dts", "--max-nfe", 960, "--out", tmp_path / "again", "--no-report")
    once, twice = samples_of(finished, "dts"), samples_of(tmp_path / "again", "dts")
    assert np.array_equal(once[0], twice[0])
    assert np.array_equal(once[1], twice[1])


def test_a_reward_that_fails_ends_the_run_with_an_error_and_keeps_what_there_is(monkeypatch, tmp_path, capsys):
    reward = f"{__name__}:failing_reward"
    arguments = (*TINY, "--method", "snis", "--n-rollouts", 400, "--reward", reward, "--out", tmp_path / "run")
    assert run(monkeypatch, *arguments) == 1
    assert "NaN" in capsys.readouterr().out.replace("nan", "NaN")
    values, weights = samples_of(tmp_path / "run", "snis")
    assert 0 < len(values) < 400
    assert weights.sum() == pytest.approx(1)


def test_ctrl_c_stops_and_keeps_what_there_is(tmp_path):
    command = [sys.executable, "-m", "jobs.search", *TINY, "--method", "snis", "--n-rollouts", "100000"]
    command += ["--reward", "tests.jobs.test_search_job:slow_reward", "--no-report", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Ctrl-C" in output
    values, _ = samples_of(tmp_path / "run", "snis")
    assert len(values) >= 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "dst"), "no method 'dst'"),
        (("--temperature", "0"), "temperature must be positive"),
        (("--inv-temperature", "0"), "inverse temperature must be a positive number, got 0"),
        (("--method", "snis", "dts", "--branch-steps", "3", "7"), "(3, 7) must ascend within 0..16 and end with 16"),
        (("--windows", "3", "3"), "a window is given twice"),
        (("--temperature", "1", "--inv-temperature", "1"), "not both"),
        (("--channels", "XX"), "no channel 'XX'"),
        (("--windows", "999"), "window 999 does not exist"),
        (("--reward", "spectrum"), "unknown reward 'spectrum'"),
        (("--reward", "no_such_module:reward"), "no_such_module"),
        (("--dataset", "ETTm7"), "'ETTm7' is not built in"),
        (("--n-rollouts", "0"), "n_rollouts must be"),
        (("--device", "abacus"), "device 'abacus' cannot be used"),
        (("--threads", "0"), "threads must be at least 1"),
        (("--num-workers", "0"), "num_workers must be at least 1"),
        (("--gpus-per-worker", "-1"), "gpus_per_worker must be a number >= 0"),
        (("--checkpoint-seconds", "0"), "checkpoint_seconds must be positive"),
        (("--tolerate-failures", "2"), "a tolerance is a count >= 0 and a share in [0, 1]"),
        (("--resume", "/nowhere"), "/nowhere is not a run directory"),
    ],
)
def test_bad_input_is_refused_with_the_value_and_the_fix(monkeypatch, tmp_path, capsys, arguments, message):
    dataset = ("--executor", "serial", *(() if "--dataset" in arguments else ("--dataset", "synthetic")))
    code = run(monkeypatch, *dataset, *arguments, "--out", tmp_path / "run")
    assert code != 0
    assert message in " ".join((str(code) + capsys.readouterr().err).split())
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_overwritten(finished, monkeypatch):
    assert "is not empty" in str(run(monkeypatch, *TINY, "--out", finished))


@pytest.mark.parametrize(
    ("config", "message"),
    [('{"execution"', "is not of a run that can be resumed"), ("{}", "KeyError('execution')"), ("[]", "TypeError")],
)
def test_a_run_whose_configuration_is_damaged_is_refused(monkeypatch, tmp_path, config, message):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "problems.parquet").touch()
    assert message in str(run(monkeypatch, "--resume", tmp_path))


@pytest.mark.parametrize("flag", ["--out", "--checkpoint-to", "--checkpoint_to=elsewhere"])
def test_a_run_that_is_resumed_stays_where_it_is(monkeypatch, tmp_path, flag):
    (tmp_path / "config.json").write_text('{"execution": {"checkpoint_to": null}, "arguments": []}')
    (tmp_path / "problems.parquet").touch()
    value = () if "=" in flag else ("elsewhere",)
    assert f"a run stays where it is; leave {flag} out" in str(run(monkeypatch, "--resume", tmp_path, flag, *value))


def test_where_nobody_sees_a_bar_there_is_a_line_now_and_then(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sadt_ray.engine.progress._LINE_EVERY", 0.0)
    run(monkeypatch, *TINY, "--method", "snis", "--n-rollouts", 64, "--no-report", "--out", tmp_path / "run")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("snis  ")]
    assert [line.split()[1] for line in lines if "%" in line][:4] == ["25%", "50%", "75%", "100%"]


def test_underscores_and_the_seeds_flags_are_understood(monkeypatch, tmp_path):
    flags = (
        "--backbone",
        "diff-k",
        "--spectral_gamma",
        "2.0",
        "--n_rollouts",
        "20",
        "--method",
        "dts",
        "--temperature",
        "0.1",
    )
    run(monkeypatch, *TINY, *flags, "--reward", "none", "--no-report", "--out", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["search"]["inv_temperature"] == pytest.approx(10)
    assert config["search"]["spectral_weight"] == 2.0
    assert config["methods"][0]["search"]["n_rollouts"] == 20


def bracketed_reward(samples, problem):
    raise ValueError("lost [/b] bracket")


def oracle_reward(samples, problem):
    return -np.abs(samples - problem.truth).mean(1)


def test_a_message_with_brackets_is_printed_as_it_is(monkeypatch, tmp_path, capsys):
    reward = f"{__name__}:bracketed_reward"
    arguments = (*TINY, "--method", "snis", "--n-rollouts", 20, "--reward", reward, "--out", tmp_path / "run")
    assert run(monkeypatch, *arguments) == 1
    assert "lost [/b] bracket" in capsys.readouterr().out.replace("\n", " ")


def test_an_oracle_is_called_one_everywhere(monkeypatch, tmp_path, capsys):
    reward = f"oracle:{__name__}:oracle_reward"
    arguments = (*TINY, "--method", "best-of-n", "--n-rollouts", 20, "--reward", reward, "--no-report")
    assert run(monkeypatch, *arguments, "--out", tmp_path / "run") == 0
    assert "ORACLE" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["oracle"] is True
    assert "ORACLE" in json.loads((tmp_path / "run" / "summary.json").read_text())["notes"][-1]


def test_what_was_finished_before_a_failure_is_in_the_run_directory(monkeypatch, tmp_path):
    calls = []

    def fail_later(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise RuntimeError("out of memory")
        return run_recorded(*arguments)

    monkeypatch.setattr(session, "run_recorded", fail_later)
    monkeypatch.setattr(sys, "argv", ["search", *TINY, "--method", "snis", "dts", "--out", str(tmp_path / "run")])
    with pytest.raises(RuntimeError, match="out of memory"):
        job.main()
    assert [row["method"] for row in json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]] == ["snis"]
    assert len(samples_of(tmp_path / "run", "snis")[0]) == 500


def test_the_crps_is_compared_with_the_prior_problem_by_problem(finished):
    rows = {row["method"]: row for row in json.loads((finished / "summary.json").read_text())["rows"]}
    assert rows["prior"]["crps_vs_prior"] == 0
    for name in ("snis", "dts"):
        assert rows[name]["crps_vs_prior"] == pytest.approx(rows[name]["crps"] - rows["prior"]["crps"])


def test_what_comes_after_the_last_row_is_forecast_without_a_truth(monkeypatch, tmp_path):
    arguments = (
        "--executor",
        "serial",
        "--dataset",
        "synthetic",
        "--channels",
        "channel_6",
        "--split",
        "latest",
        "--n-rollouts",
        50,
    )
    assert run(monkeypatch, *arguments, "--method", "prior", "snis", "--out", tmp_path / "run") == 0
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    assert [row["crps"] for row in rows] == [None, None]
    assert rows[1]["log_spectral_distance"] is not None
    problem = pq.read_table(tmp_path / "run" / "problems.parquet").to_pylist()[0]
    assert problem["problem"] == "synthetic/latest/channel_6"
    assert problem["truth"] is None
    assert (tmp_path / "run" / "report.html").exists()


def test_a_second_signal_while_results_are_written_ends_without_a_traceback(monkeypatch, tmp_path):
    def interrupted(prepared, console, watch):
        raise job.Interrupted.by_signal(signal.SIGINT)

    monkeypatch.setattr(job, "search_and_report", interrupted)
    assert run(monkeypatch, *TINY, "--method", "snis", "--n-rollouts", 20, "--out", tmp_path / "run") == 130


def test_checkpoints_have_a_place_of_their_own_or_no_run_begins(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    budget = ("--method", "snis", "--n-rollouts", 20, "--no-report")
    refused = str(run(monkeypatch, *TINY, *budget, "--out", "run", "--checkpoint-to", "run"))
    assert "run is the run directory" in refused
    refused = str(run(monkeypatch, *TINY, *budget, "--out", "run", "--checkpoint-to", "/proc/nowhere"))
    assert "checkpoints cannot be written to '/proc/nowhere'" in refused
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "config.json").write_text("{}")
    refused = str(run(monkeypatch, *TINY, *budget, "--out", "run", "--checkpoint-to", "kept"))
    assert f"go on with it by --resume {tmp_path}/kept" in refused
    assert not (tmp_path / "run").exists()


def test_a_relative_address_means_the_same_wherever_a_process_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    budget = ("--method", "snis", "--n-rollouts", 20, "--no-report", "--checkpoint-to", "kept")
    assert run(monkeypatch, *TINY, *budget, "--out", "run") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["execution"]["checkpoint_to"] == str(tmp_path / "kept")


def test_a_last_checkpoint_that_cannot_be_written_is_said_and_the_results_are_kept(monkeypatch, tmp_path, capsys):
    def full(self, state, facts=None, saves=[]):  # noqa: B006
        saves.append(self)
        if len(saves) > 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sadt_ray.engine.checkpoint.Checkpoints.save", full)
    assert (
        run(monkeypatch, *TINY, "--method", "snis", "--n-rollouts", 20, "--no-report", "--out", tmp_path / "run") == 1
    )
    assert "No space left on device" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["rows"][0]["rollouts"] == 20
