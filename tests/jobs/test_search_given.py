"""``python -m jobs.search --given``, and runs in which no sample has any weight."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from jobs import search as job
from sadt_ray import Forecast, LimitReward, compare, read_run, sadt, sample, snis
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.metrics.probability import binomial_interval

TINY = (
    "--executor", "serial", "--dataset", "synthetic", "--num-windows", "1", "--channels", "channel_6", "--seed", "3",
    "--spectral-gamma", "0", "--no-trajectories",
)  # fmt: skip


def never(samples, problem):
    return np.full(len(samples), -np.inf)


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["search", *TINY, *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        job.main()
    return ended.value.code


def load(steps=4, **others):
    return Forecast.from_normal(np.full((2, steps), 100.0), 10.0, names=["a", "b"], **others)


def test_a_condition_on_the_command_line_is_in_the_units_of_the_file(monkeypatch, tmp_path, capsys):
    place = tmp_path / "run"
    given = ("--given", "mean > 0", "--reward", "none", "--method", "snis", "--n-rollouts", "60", "--out", place)
    assert run(monkeypatch, *given) == 0
    said = capsys.readouterr().out
    assert "Given: the mean channel_6 is above 0 (hard); holds in" in " ".join(said.split())
    (row,) = json.loads((place / "summary.json").read_text())["rows"]
    found = read_run(place)["snis"][0]
    scale = found.problem.scale
    values = found.samples * scale.std[0] + scale.mean[0]
    hits = int((values.mean(1) > 0).sum())
    assert hits > 0
    assert row["probability"] == pytest.approx(hits / 60)
    assert (row["probability_low"], row["probability_high"]) == binomial_interval(hits, 60)
    assert row["satisfied"] == pytest.approx(1)
    assert f"P = {hits / 60:.3f}" in (place / "report.html").read_text()
    assert json.loads((place / "config.json").read_text())["search"]["given"] == "mean > 0"


def test_a_condition_that_does_not_fit_is_refused_with_its_place(monkeypatch, tmp_path):
    refused = run(monkeypatch, "--given", "max(channel_9) > 0", "--reward", "none", "--out", tmp_path / "run")
    assert "channel_9" in refused
    assert "^^^^" in refused
    assert not (tmp_path / "run").exists()


def test_a_reward_that_rules_everything_out_ends_in_a_row_without_averages_and_exit_code_4(
    monkeypatch, tmp_path, capsys
):
    place = tmp_path / "run"
    reward = ("--reward", "tests.jobs.test_search_given:never")
    assert run(monkeypatch, *reward, "--method", "dts", "--n-rollouts", "20", "--out", place) == 4
    assert "no sample of 1 of 1 contexts has any weight" in " ".join(capsys.readouterr().out.split())
    content = json.loads((place / "summary.json").read_text())
    (row,) = content["rows"]
    assert (row["ess"], row["root_ess"], row["without_weight"], row["log_z"]) == (0, 0, 1, "-inf")
    assert (row["crps"], row["reward"], row["best_reward"], row["coverage90"]) == (None,) * 4
    assert content["complete"]
    assert set(pq.read_table(place / "samples.parquet")["weight"].to_pylist()) == {0.0}
    assert "Nothing was found" in (place / "report.html").read_text()
    read = read_run(place)["dts"]
    assert (read[0].ess, read.summary()["crps"]) == (0, None)


def test_an_impossible_problem_is_out_of_every_average_of_the_others():
    shifted = np.stack([np.full(4, 100.0), np.full(4, 0.0)])
    forecast = Forecast.from_normal(shifted, 10.0, names=["possible", "not"], truth=shifted)
    found = compare(forecast.process(), forecast.problems(), ConditionReward("max > 100"), [snis(n_rollouts=80)])
    (row,) = found.rows
    alone = sample(forecast.process(), forecast.problems(), ConditionReward("max > 100"), snis(n_rollouts=80))
    possible = alone["possible"]
    assert (row["ess"], row["without_weight"]) == (possible.ess / 2, 1)
    assert row["crps"] == alone.summary()["crps"]
    assert row["crps"] < 20  # of the other one it is about 100
    assert row["satisfied"] == pytest.approx(1)
    assert row["probability"] == pytest.approx(np.exp(possible.log_z) / 2)
    assert any("nearest misses 'max > 100' by" in note and "log P is below -3.3" in note for note in found.notes)
    assert found.impossible == ["not"]
    assert "without_weight" in repr(found)


def test_particles_of_which_none_has_any_weight_are_a_result_and_no_error():
    forecast = load()
    reward = LimitReward(lower=1e6, statistic="max", margin=0)
    (found, _) = sample(forecast.process(), forecast.problems(), reward, sadt(n_rollouts=32), flow=None)
    assert found.weightless
    assert (found.ess, found.log_z) == (0, -np.inf)
    assert not found.weights.any()


def test_the_probability_is_a_column_only_where_the_reward_is_the_condition_alone():
    forecast = load()
    condition = ConditionReward("max > 110", inv_temperature=5)
    for lam, known in ((5.0, True), (1.0, False)):
        given = (forecast.process(), forecast.problems(), condition)
        (row,) = compare(*given, [sadt(n_rollouts=64, particles=16, inv_temperature=lam)], flow=None).rows
        assert (row["probability"] is not None) == known
        assert row["satisfied"] == pytest.approx(1)
        if known:
            assert row["probability_low"] < row["probability"] < row["probability_high"]
    (plain,) = compare(forecast.process(), forecast.problems(), LimitReward(upper=120), [snis(n_rollouts=8)]).rows
    assert "probability" not in plain
    assert pd.isna(plain.get("satisfied", np.nan))
