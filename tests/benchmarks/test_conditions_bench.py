"""The truth by which conditions are judged, against closed forms; the table of the bench."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.conditions import Cell, Found, _figures, events, forecast
from benchmarks.posterior.rare_events import Scores, Truth, design_directions, single_directions, split_truth, truth_of
from sadt_ray.forecasts.forecast import Forecast

HORIZON = 12
NORMAL = Forecast.from_normal(np.linspace(0, 1, HORIZON), 2.0, correlation=0.9)
SCORES = Scores(NORMAL)
WEIGHTS = np.full(HORIZON, 1 / HORIZON)
COVARIANCE = 4 * SCORES.correlation
MEAN_SD = np.sqrt(WEIGHTS @ COVARIANCE @ WEIGHTS)


@pytest.mark.parametrize("u", [4.0, 9.0, 14.0])
def test_the_truth_of_a_mean_is_the_closed_form(u):
    directions = design_directions(SCORES, WEIGHTS[None, None], np.array([u]))
    found = truth_of(SCORES, lambda x: x.mean(1) > u, directions, 40_000)
    log_p = stats.norm.logsf((u - 0.5) / MEAN_SD)
    assert abs(found.log_p - log_p) < 5 * found.log_p_se
    assert found.log_p_se < 0.02
    hazard = np.exp(stats.norm.logpdf((u - 0.5) / MEAN_SD) - log_p)
    expected = np.linspace(0, 1, HORIZON) + COVARIANCE @ WEIGHTS / MEAN_SD * hazard
    np.testing.assert_allclose(found.mean, expected, atol=0.1)


def test_importance_sampling_and_splitting_agree_where_neither_has_a_closed_form():
    level = 9.0
    directions = single_directions(SCORES, level, range(HORIZON))
    one = truth_of(SCORES, lambda x: x.max(1) > level, directions, 40_000)
    other = split_truth(SCORES, lambda x: x.max(1) - level, 2000, runs=4)
    assert abs(one.log_p - other.log_p) < 5 * np.hypot(one.log_p_se, other.log_p_se) + 0.05


def test_events_are_as_rare_as_they_are_called():
    scores = Scores(forecast())
    for event in events():
        if event.kind != "count above":
            log_p = event.truth(scores, 2000).log_p
            assert log_p == pytest.approx(np.log({"1e3": 1e-3, "1e6": 1e-6, "1e12": 1e-12}[event.rarity]), abs=1.5)


def test_a_seed_that_finds_nothing_counts_and_the_worst_kind_is_the_figure():
    truth = Truth(-7.0, 0.01, np.zeros(2), np.ones(2))
    good, nothing = (
        Found(-7.1, np.zeros(2), 30.0, 100.0, 4096.0, 1.0),
        Found(-np.inf, np.full(2, np.nan), 0, 0, 4096.0, 1),
    )
    cells = [Cell("mean", "1e6", "sadt", truth, [good, good]), Cell("max", "1e6", "sadt", truth, [good, nothing])]
    figures = _figures(cells)
    assert figures["log_p_rmse_1e6"] == pytest.approx(np.sqrt((0.1**2 + (np.log(0.5 / 256) + 7) ** 2) / 2))
    assert figures["starts_1e6"] == 15.0
    assert cells[1].row()["found in"] == "1 of 2"
