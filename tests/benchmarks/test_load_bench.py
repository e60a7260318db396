"""``jobs.bench load`` on a made-up series of the shape of DEOK: reading, forecast, closed form, figures."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import load
from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.metrics import crps

pytest.importorskip("sklearn")
DAYS = 3 * load.YEAR + 40


def made_up_load():
    """A daily and a yearly cycle, and an error that lasts all day."""
    rng = np.random.default_rng(0)
    day = np.arange(DAYS)[:, None]
    season = 3000 + 400 * np.cos(4 * np.pi * day / 365.25)
    level = 120 * rng.standard_normal((DAYS, 1))
    shape = 300 * np.sin(2 * np.pi * (np.arange(24) - 8) / 24)
    return season + level + shape + 40 * rng.standard_normal((DAYS, 24))


def write_file(path, values, duplicated=(), missing=()):
    """In the layout of the file: labels day first and naming the end of the hour, in disorder."""
    ends = pd.date_range("2012-01-01 01:00", periods=values.size, freq="h")
    rows = [(hour, values.flat[hour]) for hour in range(values.size) if hour not in missing]
    rows = [(hour, value + (10 if hour in duplicated else 0)) for hour, value in rows]
    rows += [(hour, values.flat[hour] - 10) for hour in duplicated]
    order = np.random.default_rng(1).permutation(len(rows))
    lines = [f"{ends[rows[k][0]]:%d-%m-%Y %H:%M},{rows[k][1]}" for k in order]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["Datetime,DEOK_MW", *lines]) + "\n")
    return path


def test_disorder_duplicates_and_gaps_of_the_file_are_repaired(tmp_path):
    values = np.arange(24.0 * 14).reshape(14, 24)
    file = write_file(tmp_path / load.FILE, values, duplicated=(25, 40), missing=(70, 71, 200))
    series = load.read_load(file)
    np.testing.assert_allclose(series, values.ravel())  # gaps of a straight line are filled exactly
    assert series.index[0] == pd.Timestamp("2012-01-01 00:00")


def test_only_whole_days_are_kept(tmp_path):
    values = np.arange(24.0 * 4).reshape(4, 24)
    file = write_file(tmp_path / load.FILE, values, missing=(*range(5), *range(90, 96)))
    np.testing.assert_allclose(load.read_load(file), values[1:3].ravel())


def test_without_the_file_the_error_names_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "data_directories", lambda: [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(DataNotFound, match=r"a/series/DEOK_hourly.csv\n.*a/DEOK.*\n.*b/series.*\n(.*\n)*.*SADT_DATA"):
        load.find_file()


def test_a_forecaster_knows_nothing_of_the_day_it_forecasts():
    values = made_up_load()[:60]
    changed = values.copy()
    changed[50] += 1000
    first = pd.Timestamp("2012-01-01")
    before, after = (load.Days(first, each).features for each in (values, changed))
    np.testing.assert_array_equal(before[:51], after[:51])
    assert not np.array_equal(before[51], after[51])


def gaussian_day():
    hours = np.arange(6)
    sd = 50 + 10 * hours
    return 1000.0 + 30 * hours, 0.8 ** np.abs(np.subtract.outer(hours, hours)) * np.outer(sd, sd)


def test_the_closed_form_given_a_sum_agrees_with_rejection():
    mean, covariance = gaussian_day()
    draws = np.random.default_rng(0).multivariate_normal(mean, covariance, 400_000)
    low, high = mean.sum() + 300, mean.sum() + 400
    kept = draws[(draws.sum(1) > low) & (draws.sum(1) < high)]
    exact = load.SumGiven(mean, covariance, low, high)
    assert exact.log_probability == pytest.approx(np.log(len(kept) / len(draws)), abs=0.02)
    np.testing.assert_allclose(exact.conditional_mean(), kept.mean(0), atol=5 * 80 / len(kept) ** 0.5)
    np.testing.assert_allclose(exact.conditional_sd(), kept.std(0), rtol=0.02)


@pytest.mark.parametrize("shift", [-2500.0, 0.0, 2500.0])
def test_draws_of_the_closed_form_keep_the_sum_in_the_band_and_have_its_moments(shift):
    mean, covariance = gaussian_day()
    exact = load.SumGiven(mean, covariance, mean.sum() + shift - 20, mean.sum() + shift + 20)
    draws = exact.draws(50_000, 0)
    assert draws.sum(1).min() >= exact.low - 1e-6
    assert draws.sum(1).max() <= exact.high + 1e-6
    np.testing.assert_allclose(draws.mean(0), exact.conditional_mean(), atol=5 * exact.conditional_sd().max() / 220)
    np.testing.assert_allclose(draws.std(0), exact.conditional_sd(), rtol=0.02)
    mirrored = load.SumGiven(mean, covariance, mean.sum() - shift - 20, mean.sum() - shift + 20)
    assert exact.log_probability == pytest.approx(mirrored.log_probability, abs=1e-9)


def test_scores_by_hour_average_to_the_score_of_the_day():
    rng = np.random.default_rng(0)
    samples, truth, weights = rng.normal(size=(50, 24)), rng.normal(size=24), rng.dirichlet(np.ones(50))
    assert load.by_hour(samples, truth, weights).mean() == pytest.approx(float(crps(samples, truth, weights)))
    assert np.isnan(load.by_hour(samples[:0], truth)).all()
    assert np.isnan(load.by_hour(samples, truth, np.zeros(50))).all()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A made-up file where the benchmark looks, and tiny sizes."""
    write_file(tmp_path / "data" / "series" / load.FILE, made_up_load(), duplicated=(30,), missing=(1000,))
    monkeypatch.setenv("SADT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "LEVELS", (0.05, 0.25, 0.5, 0.75, 0.95))
    monkeypatch.setattr(load, "SAMPLES", 20_000)
    monkeypatch.setattr(load, "_EXACT", 5_000)
    monkeypatch.setitem(load._TREES, "max_iter", 20)
    monkeypatch.setitem(load._EVERY, True, 150)


def test_the_total_of_a_day_sharpens_its_hours_and_agrees_with_rejection_and_the_closed_form(small, monkeypatch):
    result = load.run(quick=True)
    figures = result.figures
    assert figures["cells"] == 3 * 24
    assert figures["crps_after"] < 0.85 * figures["crps_before"]  # the error lasts all day, so the total tells it
    assert figures["crps_after"] == pytest.approx(figures["crps_after_rejection"], rel=0.1)
    assert figures["crps_after_normal"] == pytest.approx(figures["crps_after_normal_exact"], rel=0.1)
    assert figures["log_p_rms"] < 0.2
    assert figures["log_p_rms_normal"] < 0.2
    for suffix in ("", "_p95"):
        assert figures[f"brier_peak{suffix}"] == pytest.approx(figures[f"brier_counting{suffix}"], abs=0.02)
        assert figures[f"brier_climatology{suffix}"] <= 1
    assert {"seconds_per_day", "brier_skill", "peak_days", "crps_after_minus_before_half_width"} <= figures.keys()
    assert all(row.keys() == result.rows[0].keys() for row in result.rows)

    def fitted_again(*arguments):
        raise AssertionError("the forecasts are in the cache")

    monkeypatch.setattr(load, "quantile_forecasts", fitted_again)
    file = load.find_file()
    days = load.days_of(load.read_load(file))
    assert load.day_ahead(days, days.test[::150], file.read_bytes()).quantiles.shape == (3, 24, 5)
