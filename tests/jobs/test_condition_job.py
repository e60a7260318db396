"""``python -m jobs.condition``: the files that it writes, the numbers of Python, refusals and exit codes."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from jobs import condition as job
from jobs.report import main as report
from sadt_ray import condition, read_forecast

EXAMPLE = "examples/data/load.csv"
GIVEN = "max[18:00..22:00] > 1300"
TINY = ("--n-rollouts", "32", "--method", "sadt", "--num-scenarios", "20", "--seed", "4", "--unit", "MW")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)


def run(monkeypatch, *arguments):
    """The exit code, or the message of a refusal."""
    monkeypatch.setattr(sys, "argv", ["condition", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        job.main()
    return ended.value.code


@pytest.fixture(scope="module")
def written(tmp_path_factory, request):
    place = tmp_path_factory.mktemp("condition") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(request.config.rootpath)
        assert run(patch, "--forecast", EXAMPLE, "--given", GIVEN, *TINY, "--format", "parquet", "--out", place) == 0
    return place


@pytest.fixture(scope="module")
def found(request):
    forecast = read_forecast(request.config.rootpath / EXAMPLE, unit="MW")
    return condition(forecast, GIVEN, 20, method="sadt", n_rollouts=32, seed=4)


def test_the_command_writes_the_scenarios_of_python_bit_for_bit(written, found):
    pd.testing.assert_frame_equal(pd.read_parquet(written / "scenarios.parquet"), found.to_frame(), check_exact=True)
    quantiles = pd.read_csv(written / "quantiles.csv", float_precision="round_trip")
    np.testing.assert_array_equal(quantiles["0.5"], found.quantiles([0.5])[0.5])
    np.testing.assert_array_equal(quantiles["before 0.95"], found.before[0.95])
    (item,) = json.loads((written / "summary.json").read_text())["items"]
    assert (item["probability"], item["probability_low"], item["probability_high"]) == (
        found.probability, *found.interval,
    )  # fmt: skip
    assert (item["satisfied"], item["evaluations"], item["item"]) == (found.satisfied, found.evaluations, "town")


def test_every_scenario_that_was_written_satisfies_the_condition(written):
    table = pd.read_parquet(written / "scenarios.parquet")
    evening = table[table["timestamp"].dt.hour.between(18, 22)]
    assert (evening.groupby("sample")["value"].max() > 1300).all()
    assert table["sample"].nunique() == 20


def test_the_page_has_the_probability_its_interval_and_the_condition_and_needs_nothing_else(written, found):
    page = (written / "report.html").read_text()
    low, high = found.interval
    assert f"95 %: {low:.2g} to {high:.2g}" in page
    assert GIVEN.replace(">", "&gt;") in page
    assert "How far to trust it" in page
    assert "independent starts" in page
    assert "<svg" in page
    assert "src=" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_probability_is_in_the_first_line_and_the_words_behind_it(monkeypatch, tmp_path, capsys, found):
    run(monkeypatch, "--forecast", EXAMPLE, "--given", GIVEN, *TINY, "--out", tmp_path / "run")
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"P = {found.probability_text()}: the largest value in MW between 18:00 and 22:00")
    assert (tmp_path / "run/scenarios.csv").exists()


def test_a_condition_that_nothing_satisfies_has_an_exit_code_of_its_own_and_a_page(monkeypatch, tmp_path, capsys):
    code = run(monkeypatch, "--forecast", EXAMPLE, "--given", "max > 90000", *TINY, "--out", tmp_path / "run")
    assert code == 4
    said = capsys.readouterr().out
    assert "none of 4,096 prior samples and none of 32 of sadt satisfies 'max > 90000'" in said
    assert "log P is below -7.2 (95 %)" in (tmp_path / "run/report.html").read_text()
    assert len(pd.read_csv(tmp_path / "run/scenarios.csv")) == 0
    (item,) = json.loads((tmp_path / "run/summary.json").read_text())["items"]
    assert (item["probability"], item["ess"], item["log_probability"]) == (0, 0, "-inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--forecast", EXAMPLE, "--given", "max >> 5"), "^"),
        (("--forecast", EXAMPLE, "--given", "max(lood) > 5"), "      ^^^^"),
        (("--forecast", EXAMPLE, "--given", "max > 5", "--method", "dts"), "there is no method 'dts' for conditions"),
        (("--forecast", "nowhere.csv", "--given", "max > 5"), "there is no file nowhere.csv"),
        (("--forecast", EXAMPLE, "--given", "max > 5", "--correlation", "strong"), "there is no correlation 'strong'"),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_fix(monkeypatch, tmp_path, arguments, message):
    refused = run(monkeypatch, *arguments, "--out", tmp_path / "run")
    assert refused.startswith("jobs.condition: ")
    assert message in refused
    assert not (tmp_path / "run").exists()


def test_nothing_is_overwritten(monkeypatch, written):
    refused = run(monkeypatch, "--forecast", EXAMPLE, "--given", "max > 5", "--out", written)
    assert "is not empty" in refused


def test_the_page_of_a_condition_is_not_drawn_by_the_job_of_searches(monkeypatch, written):
    monkeypatch.setattr(sys, "argv", ["report", str(written)])
    with pytest.raises(SystemExit, match=r"was written by jobs\.condition"):
        report()


def test_without_matplotlib_all_but_the_page_is_written_and_that_is_said(tmp_path, found, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith(("sadt_ray.report.", "matplotlib."))]:
        monkeypatch.delitem(sys.modules, name)
    where, missing = found.save(tmp_path / "run")
    assert "pip install 'sadt-ray[report]'" in missing
    assert sorted(path.name for path in where.iterdir()) == [
        "config.json", "quantiles.csv", "scenarios.csv", "summary.json",
    ]  # fmt: skip
    with pytest.raises(ImportError, match="reports and plots need matplotlib"):
        found.plot()
