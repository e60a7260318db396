"""``jobs.bench prior``: what its opponents forecast, and the figures that are followed over time."""

import importlib.util
import sys

import numpy as np
import pytest

from benchmarks import prior
from sadt_ray.data.etth1 import DataNotFound, load_etth1
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.data.windows import standardised
from sadt_ray.metrics.forecasts import SAMPLES, forecast_scores, problems_of

DATASET = synthetic_hourly(rows=2880, channels=2)


def test_problems_are_every_window_and_channel():
    names = [problem.name for problem in problems_of(DATASET, "test")]
    assert len(names) == 2 * len(DATASET.window_starts("test", 48)) == len(set(names))


def test_seasonal_naive_is_exact_and_certain_on_a_series_that_repeats_every_day():
    hours = np.arange(2880)
    raw = np.stack([np.sin(2 * np.pi * hours / 24), hours % 24.0], axis=1)
    dataset = standardised("daily", ("a", "b"), raw)
    problems = problems_of(dataset, "test")
    samples = prior.seasonal_naive_samples(dataset, problems)
    assert samples.shape == (len(problems), SAMPLES, 96)
    scores = forecast_scores(samples, problems)
    assert max(scores["crps"], scores["mse"], scores["mae"], scores["width90"]) < 1e-5


def test_the_figures_have_the_names_under_which_they_are_followed(monkeypatch):
    def perfect(dataset, problems):
        return np.stack([np.tile(problem.truth, (SAMPLES, 1)) for problem in problems])

    monkeypatch.setattr(prior, "load_etth1", lambda: DATASET)
    monkeypatch.setattr(prior, "diff_k_samples", perfect)
    monkeypatch.setattr(prior, "ets_samples", perfect)
    monkeypatch.setattr(prior, "_statsforecast_installed", lambda: True)
    result = prior.run(quick=True)
    assert {"crps", "coverage90", "mse", "crps_seasonal_naive", "crps_ets"} <= result.figures.keys()
    assert abs(result.figures["crps"]) < 1e-12
    assert result.figures["mse"] < 1e-12
    assert result.figures["coverage90"] == 1
    assert all(row.keys() == result.rows[0].keys() for row in result.rows)


def test_without_statsforecast_there_is_no_ets_and_a_note_that_says_so(monkeypatch):
    def perfect(dataset, problems):
        return np.stack([np.tile(problem.truth, (SAMPLES, 1)) for problem in problems])

    monkeypatch.setattr(prior, "load_etth1", lambda: DATASET)
    monkeypatch.setattr(prior, "diff_k_samples", perfect)
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = prior.run(quick=True)
    assert [row["method"] for row in result.rows] == ["diff-k", "seasonal-naive"]
    assert "crps_ets" not in result.figures
    assert [note for note in result.notes if "ETS" in note] == [
        "ETS is left out: statsforecast is not installed. pip install -e '.[bench]'"
    ]


def test_the_shipped_prior_beats_seasonal_naive_on_unseen_months():
    """Ten validation windows of ETTh1, all channels."""
    try:
        dataset = load_etth1(download=False)
    except DataNotFound as error:
        pytest.skip(f"ETTh1 is not on this machine: {error}")
    problems = problems_of(dataset, "val", stride=300)
    ours = forecast_scores(prior.diff_k_samples(dataset, problems), problems)
    naive = forecast_scores(prior.seasonal_naive_samples(dataset, problems), problems)
    assert ours["crps"] < 0.85 * naive["crps"]
    assert 0.7 < ours["coverage90"] < 0.98
