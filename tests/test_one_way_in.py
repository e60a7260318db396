"""Python and the command line sample the same, bit for bit: three methods, a forecast and a stage."""

import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_stage import random_stand_in, windows, write_csv

import sadt_ray
from jobs import search as job
from sadt_ray.forecasting import default_reward, load_forecaster, load_series
from sadt_ray.opentslm import StageSettings, answer_questions

SERIES = ("--dataset", "synthetic", "--windows", "3", "--channels", "channel_0", "channel_6")


def command(monkeypatch, out, *arguments):
    words = ["search", *arguments, "--executor", "serial", "--no-report", "--out", out]
    monkeypatch.setattr(sys, "argv", [*map(str, words)])
    with pytest.raises(SystemExit) as ended:
        job.main()
    assert ended.value.code == 0


def samples(run):
    return pq.read_table(run / "samples.parquet").to_pylist()


def same(rows, result, method):
    found = [row for row in rows if row["method"] == method]
    by_problem = {name: [row for row in found if row["problem"] == name] for name in {r["problem"] for r in found}}
    assert len(by_problem) == len(result)
    for drawn in result:
        mine = by_problem[drawn.name]
        np.testing.assert_array_equal([row["values"] for row in mine], drawn.samples)
        np.testing.assert_array_equal([row["weight"] for row in mine], drawn.weights)
        np.testing.assert_array_equal([row["reward"] for row in mine], drawn.rewards)


def test_forecasts_of_three_methods_are_the_same(monkeypatch, tmp_path):
    budget = ("--max-nfe", "640", "--inv-temperature", "50", "--seed", "4")
    command(monkeypatch, tmp_path / "run", *SERIES, *budget, "--method", "snis", "dts", "sadt")
    rows = samples(tmp_path / "run")
    data = load_series("synthetic")
    process, _ = load_forecaster(data)
    problems = [data.problem("test", 3, channel) for channel in ("channel_0", "channel_6")]
    reward, problems = default_reward(data, process, problems, inv_temperature=50, seed=4)
    settings = {"inv_temperature": 50, "max_nfe": 640, "seed": 4}
    for name in ("snis", "dts", "sadt"):
        method = sadt_ray.method_named(name, **settings)
        same(rows, sadt_ray.sample(process, problems, reward, method, progress=False), name)


def test_answers_of_three_methods_to_the_questions_of_stage_3_are_the_same(monkeypatch, tmp_path):
    model, data = random_stand_in(tmp_path / "model"), write_csv(tmp_path / "windows.csv", windows(12))
    methods = ("answer-vote", "dts", "sadt")
    words = ("--checkpoint", model, "--data-file", data, "--num-examples", "3", "--n-rollouts", "4")
    command(
        monkeypatch, tmp_path / "a", "--stage", "3", *words, "--max-tokens", "24", "--seed", "5", "--method", *methods
    )
    settings = StageSettings(
        "3", str(model), data_file=data, num_examples=3, method=methods, n_rollouts=4, max_tokens=24, seed=5
    )
    answers = answer_questions(settings, tmp_path / "b")
    assert [(a.method, len(a.probabilities)) for a in answers] == [(name, 8) for name in methods for _ in range(3)]
    for file in ("answers.jsonl", "questions.jsonl", "scores.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_the_target_is_the_command_lines_and_not_fifty_times_as_strong():
    """The second opinion is divided by lambda: without that log Z of the default search came out at +164."""
    data = load_series("synthetic")
    process, _ = load_forecaster(data)
    problems = [data.problem("test", 3, "channel_0")]
    reward, problems = default_reward(data, process, problems, inv_temperature=50)
    (found,) = sadt_ray.sample(process, problems, reward, sadt_ray.snis(inv_temperature=50, n_rollouts=200))
    assert found.log_z < 0
    assert [weight for weight, _ in reward.terms] == [1 / 50, 1.0]


def test_a_run_begun_in_python_has_the_summary_of_one_from_the_command_line(monkeypatch, tmp_path):
    command(monkeypatch, tmp_path / "a", *SERIES, "--n-rollouts", "40", "--method", "dts", "--reward", "none")
    data = load_series("synthetic")
    process, _ = load_forecaster(data)
    problems = [data.problem("test", 3, channel) for channel in ("channel_0", "channel_6")]
    method = sadt_ray.dts(inv_temperature=50, n_rollouts=40)
    result = sadt_ray.sample(process, problems, sadt_ray.SpectralReward(), method, out=tmp_path / "b", progress=False)
    one, other = (json.loads((tmp_path / name / "summary.json").read_text()) for name in "ab")
    assert (one["complete"], other["complete"]) == (True, True)
    timed = {"seconds_per_context"}
    assert {k: v for k, v in one["rows"][0].items() if k not in timed} == {
        k: v for k, v in other["rows"][0].items() if k not in timed
    }
    assert sadt_ray.read_run(tmp_path / "b")["dts"][0].mean_reward() == pytest.approx(result[0].mean_reward())
