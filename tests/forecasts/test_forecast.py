"""A forecast in its own units and dates becomes problems and a prior."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sadt_ray.forecasts.correlation import ar1, from_scores
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.interfaces import GenerativeProcess, TimeAxis
from sadt_ray.processes.sampling import sample_prior

LEVELS = [0.1, 0.5, 0.9]
HOURS = {"start": "2026-01-03T00:00", "step": "h"}


def _day(**details):
    median = 100 + 10 * np.sin(np.arange(24) / 4)
    values = median[:, None] + 5 * stats.norm.ppf(LEVELS)
    return Forecast.from_quantiles(values, LEVELS, **{**HOURS, **details})


def test_a_forecast_becomes_problems_with_dates_units_and_history():
    history = np.arange(48.0)
    forecast = _day(zone="Europe/Berlin", names="load", channels="load", unit="MW", history=history, truth=np.ones(24))
    (problem,) = forecast.problems()
    assert problem.name == "load"
    assert problem.time == TimeAxis("2026-01-03T00:00", "h", "Europe/Berlin")
    assert (problem.scale.mean, problem.scale.std) == ((0.0,), (1.0,))
    assert (problem.scale.channels, problem.scale.unit) == (("load",), "MW")
    np.testing.assert_array_equal(problem.context, history)
    assert problem.truth.shape == (24,)
    assert str(forecast.dates("load")[5]) == "2026-01-03 05:00:00+01:00"


def test_its_prior_has_its_quantiles():
    forecast = _day()
    process = forecast.process(num_steps=4)
    assert isinstance(process, GenerativeProcess)
    (samples,) = sample_prior(process, forecast.problems(), 4000, seed=0)
    assert samples.shape == (4000, 24)
    expected = 100 + 10 * np.sin(np.arange(24) / 4) + 5 * stats.norm.ppf(0.9)
    np.testing.assert_allclose(np.quantile(samples, 0.9, axis=0), expected, atol=0.6)
    np.testing.assert_allclose(np.corrcoef(samples[:, 3], samples[:, 4])[0, 1], 0.9, atol=0.02)


def test_its_schedule_is_wider_than_the_scores_spread():
    process = _day().process()
    assert process.sampler.sigma_max > 9 * float(process.denoiser.spread.max())
    assert process.sampler.sigma_min < float(process.denoiser.spread.min())
    assert _day().process(num_steps=8, sigma_max=30.0, branch_steps="start").sampler.sigma_max == 30


def test_samples_bring_their_own_dependence():
    root = np.linalg.cholesky(ar1(-0.7, 6).matrix)
    drawn = np.exp(np.random.default_rng(0).standard_normal((3000, 6)) @ root.T)
    forecast = Forecast.from_samples(drawn, lower=0)
    np.testing.assert_allclose(forecast.correlation.matrix[0], ar1(-0.7, 6).matrix, atol=0.05)
    (samples,) = sample_prior(forecast.process(num_steps=3), forecast.problems(), 3000, seed=0)
    for step in range(6):
        assert stats.ks_2samp(samples[:, step], drawn[:, step]).pvalue > 1e-4


def test_normal_laws_are_linear_and_other_laws_exact():
    linear = Forecast.from_normal(np.zeros((2, 5)), 3.0)
    assert linear.marginals.linear
    assert linear.marginals.shape == (2, 1, 5)
    forecast = Forecast.from_law(stats.lognorm(s=np.full((2, 5), 0.5), scale=np.array([[1.0], [9]])), (2, 5))
    z = forecast.scores(np.full((2, 5), 9.0))
    np.testing.assert_allclose(z[:, 0, 0], [np.log(9) / 0.5, 0], atol=1e-5)
    assert "lognorm laws" in repr(forecast)
    assert Forecast.from_law(stats.norm(0, 1), (4,)).marginals.shape == (1, 1, 4)


def test_items_may_start_at_their_own_dates():
    forecast = Forecast.from_normal(np.zeros((2, 3)), 1, start=["2026-01-01", "2026-02-01"], step="D", names=["a", "b"])
    assert [problem.time.start for problem in forecast.problems()] == ["2026-01-01T00:00", "2026-02-01T00:00"]
    assert forecast.dates("b")[2] == pd.Timestamp("2026-02-03")


def test_items_of_the_same_dates_are_joined_into_one_problem_of_several_series():
    mean = np.array([[1.0, 2, 3], [10, 20, 30]])
    forecast = Forecast.from_normal(mean, 1, **HOURS, names=["a", "b"], truth=mean, history=np.zeros((2, 9)))
    joint = forecast.joined("both")
    (problem,) = joint.problems()
    assert problem.scale.channels == ("a", "b")
    assert (problem.context.shape, problem.truth.tolist()) == ((2, 9), mean.tolist())
    together = joint.with_correlation(ar1(0.9, 3, between=0.8, series=2))
    (samples,) = sample_prior(together.process(num_steps=3), [problem], 3000, seed=0)
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.1)
    np.testing.assert_allclose(np.corrcoef(samples[:, 0, 1], samples[:, 1, 1])[0, 1], 0.8, atol=0.04)
    (apart,) = sample_prior(joint.process(num_steps=3), [problem], 3000, seed=0)
    assert abs(np.corrcoef(apart[:, 0, 1], apart[:, 1, 1])[0, 1]) < 0.08
    np.testing.assert_allclose(np.corrcoef(apart[:, 0, 0], apart[:, 0, 1])[0, 1], 0.9, atol=0.04)


def test_joined_laws_are_those_of_the_items():
    values = np.array([[[0.0, 1, 3]], [[10, 11, 19]]])
    forecast = Forecast.from_quantiles(values, LEVELS, lower=-1)
    z = stats.norm.ppf(0.9)
    joint = forecast.joined("both").marginals
    assert joint.values[0, :, 0, -1].tolist() == forecast.marginals.values[:, 0, 0, -1].tolist()
    assert joint.transform(torch.full((1, 2, 1), z)).ravel().tolist() == pytest.approx([3, 19], rel=1e-5)


def test_past_forecasts_and_outcomes_show_the_dependence():
    root = np.linalg.cholesky(ar1(0.6, 4).matrix)
    outcomes = 5 + 2 * np.random.default_rng(0).standard_normal((2000, 4)) @ root.T
    past = Forecast.from_normal(np.full((2000, 4), 5.0), 2.0)
    today = Forecast.from_normal(np.zeros(4), 1.0).with_correlation(from_scores(past.scores(outcomes)))
    np.testing.assert_allclose(today.correlation.matrix, ar1(0.6, 4).matrix, atol=0.04)
    assert "correlation from 2000 past outcomes, shrunk by" in repr(today)


def test_the_history_of_each_item_shows_its_dependence():
    history = np.cumsum(np.random.default_rng(0).standard_normal((2, 400)), axis=1)
    forecast = Forecast.from_normal(np.zeros((2, 12)), 1.0, **HOURS, history=history)
    found = forecast.with_correlation("history").correlation
    assert found.matrix.shape == (2, 12, 12)
    assert found.matrix[0, 4, 5] > 0.8
    assert (forecast.with_correlation("independent").correlation.matrix == np.eye(12)).all()


def test_it_says_in_one_line_what_it_is():
    said = repr(_day(zone="Europe/Berlin", unit="MW", names="load"))
    assert said == (
        "<Forecast of load, 24 steps of h, 2026-01-03 00:00 to 2026-01-03 23:00 Europe/Berlin, 3 quantiles "
        "0.1..0.9, normal tails, MW; correlation assumed: AR(1) with rho 0.9>"
    )
    limited = Forecast.from_quantiles([[[1, 0.5, 2]]], LEVELS, lower=0, crossing="sort", correlation=0.5)
    assert "dates not known" in repr(limited)
    assert "limits 0..inf, quantiles sorted at 1 of 1 steps; correlation AR(1) with rho 0.5" in repr(limited)


def test_crossing_quantiles_are_named_by_item_and_date():
    values = np.array([[[1.0, 2, 3]], [[1, 3, 2]]])
    with pytest.raises(ValueError, match=r"item 'b', step 0 \(2026-01-03 00:00:00\): quantile 0.5 is 3"):
        Forecast.from_quantiles(values, LEVELS, **HOURS, names=["a", "b"])


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"step": None}, "give step, such as 'h'"),
        ({"start": None}, "no start is given"),
        ({"start": pd.date_range("2026-01-01", periods=3, freq="h")}, "3 dates for 24 steps"),
        ({"names": ["a", "b"]}, "2 item names"),
        ({"start": ["2026-01-01", "2026-01-02"]}, "2 starts for 1 items"),
        ({"truth": np.zeros(3)}, r"truth has shape \(3,\)"),
        ({"history": np.zeros((2, 50))}, "this forecast has 1 items of 1"),
        ({"correlation": "guess"}, "choose history or independent"),
        ({"correlation": "history"}, "no history is known"),
        ({"correlation": np.eye(3)}, r"must be \[24, 24\]"),
        ({"correlation": ar1(0.5, 3)}, "3 scores; this forecast has 1 x 24"),
    ],
)
def test_details_that_do_not_fit_are_refused(details, said):
    with pytest.raises(ValueError, match=said):
        _day(**details)


def test_shapes_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"no quantiles \[T, Q\]"):
        Forecast.from_quantiles(np.zeros(3), LEVELS)
    with pytest.raises(ValueError, match="different dates"):
        Forecast.from_normal(np.zeros((2, 3)), 1, start=["2026-01-01", "2026-02-01"], step="D").joined("x")
    with pytest.raises(ValueError, match="dates of 'forecast' are not known"):
        Forecast.from_normal(np.zeros(3), 1).dates()
