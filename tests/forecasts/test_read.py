"""Forecast files in the spellings of forecasting libraries; everything wrong with one is said at once."""

import numpy as np
import pandas as pd
import pytest

from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.forecasts.read import BadForecast, read_forecast
from sadt_ray.interfaces import TimeAxis

LEVELS = (0.1, 0.5, 0.9)
DATES = pd.date_range("2026-01-03 00:00", periods=5, freq="h")
VALUES = np.array([[10.0, 12, 15], [11, 13, 16], [12, 14, 17], [13, 15, 18], [9, 10, 11]])


def _frame(columns, dates=DATES, **more):
    table = pd.DataFrame(VALUES[: len(dates)], columns=columns)
    table.insert(0, "timestamp", dates)
    return table.assign(**more)


def _quantiles(forecast):
    """The knots of every item: [N, T, Q]."""
    return forecast.marginals.values[:, 0].numpy()


SPELLINGS = {
    "numbers": ["0.1", "0.5", "0.9"],
    "floats": [0.1, 0.5, 0.9],
    "q percent": ["q10", "q50", "q90"],
    "q levels": ["q0.1", "q0.5", "q0.9"],
    "p percent": ["p10", "p50", "P90"],
    "long": ["quantile_0.1", "quantile_0.5", "quantile_0.9"],
    "intervals": ["AutoARIMA-lo-80", "AutoARIMA", "AutoARIMA-hi-80"],
    "intervals with a median": ["NHITS-lo-80.0", "NHITS-median", "NHITS-hi-80.0"],
    "levels of a model": ["TFT_ql0.1", "TFT_ql0.5", "TFT_ql0.9"],
    "median": ["0.1", "median", "0.9"],
}


@pytest.mark.parametrize("columns", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("kind", ["frame", "csv", "csv.gz", "parquet"])
def test_every_spelling_is_read_from_every_kind_of_table(columns, kind, tmp_path):
    table = _frame(columns)
    source = table
    if kind != "frame":
        source = tmp_path / f"forecast.{kind}"
        table.columns = table.columns.map(str)
        table.to_parquet(source) if kind == "parquet" else table.to_csv(source, index=False)
    forecast = read_forecast(source, unit="MW")
    np.testing.assert_allclose(_quantiles(forecast), VALUES[None])
    np.testing.assert_allclose(forecast.marginals.knots.numpy(), [-1.2815516, 0, 1.2815516], atol=1e-6)
    assert forecast.times == (TimeAxis("2026-01-03T00:00", "h"),)
    assert forecast.problems()[0].scale.unit == "MW"


def test_items_keep_their_order_names_and_outcomes_whatever_the_order_of_rows():
    both = pd.concat([_frame(LEVELS, unique_id="007", y=1.0), _frame(LEVELS, unique_id="a", y=2.0)])
    both.loc[both.unique_id == "a", list(LEVELS)] += 100
    shuffled = pd.concat([both.iloc[:1], both.iloc[1:].sample(frac=1, random_state=0)])
    forecast = read_forecast(shuffled)
    assert forecast.names == ("007", "a")
    np.testing.assert_allclose(_quantiles(forecast), np.stack([VALUES, VALUES + 100]))
    np.testing.assert_allclose(forecast.truth[:, 0, 0], [1, 2])


def test_item_names_of_a_file_stay_texts(tmp_path):
    _frame(LEVELS, item_id="007").to_csv(tmp_path / "f.csv", index=False)
    assert read_forecast(tmp_path / "f.csv").names == ("007",)


def test_dates_in_the_index_are_found():
    table = _frame(LEVELS).set_index("timestamp")
    assert read_forecast(table).horizon == 5


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_time_zone_is_kept_across_a_change_of_clocks(kind, tmp_path):
    dates = pd.date_range("2026-10-25 01:00", periods=5, freq="h", tz="Europe/Berlin")
    path = tmp_path / f"f.{kind}"
    table = _frame(["0.1", "0.5", "0.9"], dates)
    table.to_parquet(path) if kind == "parquet" else table.to_csv(path, index=False)
    zone = "Europe/Berlin" if kind == "csv" else None  # a CSV has the offsets alone
    forecast = read_forecast(path, zone=zone)
    assert forecast.times == (TimeAxis("2026-10-25T01:00", "h", "Europe/Berlin"),)
    assert forecast.dates().equals(pd.DatetimeIndex(dates))
    if kind == "csv":
        with pytest.raises(BadForecast, match="name their time zone with zone"):
            read_forecast(path)


def test_dates_without_a_zone_get_the_one_that_is_named_and_others_are_converted():
    assert read_forecast(_frame(LEVELS), zone="Asia/Tokyo").times[0] == TimeAxis("2026-01-03T00:00", "h", "Asia/Tokyo")
    utc = _frame(LEVELS, DATES.tz_localize("UTC"))
    assert read_forecast(utc, zone="Asia/Tokyo").times[0] == TimeAxis("2026-01-03T09:00", "h", "Asia/Tokyo")
    assert read_forecast(utc).times[0].zone == "UTC"


def test_days_may_come_before_months():
    dates = [f"{day:02d}/01/2026" for day in range(3, 8)]
    assert read_forecast(_frame(LEVELS, dates), dayfirst=True).times[0] == TimeAxis("2026-01-03T00:00", "D")


def test_a_mean_is_not_used_and_said():
    forecast = read_forecast(_frame(LEVELS, mean=3.0))
    assert "column 'mean' is not a quantile and was not used" in repr(forecast)
    assert "column 'AutoARIMA' was taken as the median" in repr(read_forecast(_frame(SPELLINGS["intervals"])))


def test_one_of_several_models_is_read_when_it_is_named():
    table = _frame(["A-lo-80", "A", "A-hi-80"])
    table[["B-lo-80", "B", "B-hi-80"]] = VALUES + 5
    with pytest.raises(BadForecast, match=r"several models: 'A', 'B'; choose one with model \(--model\)"):
        read_forecast(table)
    np.testing.assert_allclose(_quantiles(read_forecast(table, model="B"))[0], VALUES + 5)
    with pytest.raises(BadForecast, match="no model 'C'; the models are 'A', 'B'"):
        read_forecast(table, model="C")


def test_a_long_table_of_samples_is_read():
    drawn = np.random.default_rng(0).gamma(3, size=(40, 5))
    table = pd.DataFrame(
        {"ds": np.tile(DATES, 40), "sample": np.repeat(np.arange(40), 5), "value": drawn.ravel(), "unique_id": "a"}
    )
    forecast = read_forecast(table.sample(frac=1, random_state=0), lower=0)
    expected = Forecast.from_samples(drawn, lower=0)
    np.testing.assert_allclose(forecast.marginals.values, expected.marginals.values)
    np.testing.assert_allclose(forecast.correlation.matrix, expected.correlation.matrix)
    with pytest.raises(BadForecast, match="sample 39 has no value on 2026-01-03 04:00:00"):
        read_forecast(table.iloc[:-1])


def test_history_and_correlation_come_along():
    forecast = read_forecast(_frame(LEVELS, item_id="a"), history={"a": np.arange(90.0) % 7}, correlation=0.3)
    assert forecast.problems()[0].context.shape == (90,)
    assert forecast.correlation.how == "AR(1) with rho 0.3"


def test_columns_that_do_not_fit_are_said_at_once():
    table = pd.DataFrame({"time of day": [1], "speed": [2.0], "q100": [3.0]})
    with pytest.raises(BadForecast) as refused:
        read_forecast(table)
    assert len(refused.value.faults) == 3
    for said in ("no column of dates", "no quantile columns", "'time of day', 'speed', 'q100' are neither"):
        assert said in str(refused.value)


def test_everything_wrong_with_the_rows_is_said_at_once(tmp_path):
    table = _frame(["0.1", "0.5", "0.9"], item_id="a").astype(object)
    table.loc[1, "0.5"] = "n/a"
    table.loc[2, "0.9"] = "high"
    table.loc[3, "timestamp"] = "soon"
    table.to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(BadForecast) as refused:
        read_forecast(tmp_path / "f.csv")
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'f.csv'}:")
    assert "item 'a', row 3: column '0.5' is missing; fill it in" in said
    assert "item 'a', row 4: column '0.9' is 'high', not a finite number" in said
    assert "item 'a', row 5: the date 'soon' is no date; write it as 2026-01-03 18:00" in said


def test_faults_of_all_items_are_said_at_once():
    a, b, c = (_frame(LEVELS, item_id=name) for name in "abc")
    table = pd.concat([pd.concat([a, a.iloc[:1]]), b.drop(2), c.iloc[:4]], ignore_index=True)
    with pytest.raises(BadForecast) as refused:
        read_forecast(table)
    said = str(refused.value)
    assert "item 'a': 2026-01-03 00:00:00 occurs more than once (rows 0 and 5; 2 such rows)" in said
    assert "item 'b': after 2026-01-03 01:00:00 comes 2026-01-03 03:00:00: 0 days 02:00:00 on" in said
    with pytest.raises(BadForecast, match="items differ in size: 'a' 5 x 3, 'c' 4 x 3"):
        read_forecast(pd.concat([a, c.iloc[:4]]))


def test_crossing_quantiles_name_the_file_the_item_and_the_date(tmp_path):
    table = _frame(["0.1", "0.5", "0.9"], item_id="a")
    table.loc[2, ["0.5", "0.9"]] = [20.0, 19]
    table.to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(BadForecast, match=r"f.csv") as refused:
        read_forecast(tmp_path / "f.csv")
    assert "item 'a', step 2 (2026-01-03 02:00:00): quantile 0.5 is 20, quantile 0.9 is 19" in str(refused.value)
    assert "quantiles sorted at 1 of 5 steps" in repr(read_forecast(tmp_path / "f.csv", crossing="sort"))


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (_frame(LEVELS).iloc[:0], {}, "there are no rows"),
        (_frame(LEVELS)[["timestamp", 0.5]], {}, "quantile 0.5 alone"),
        (_frame(LEVELS).iloc[:1], {}, "give step, such as 'h'"),
        (_frame(["0.1", "q10", "0.9"]), {}, "columns '0.1' and 'q10' are both the quantile 0.1"),
        (_frame(LEVELS), {"step": "2h"}, "not 2026-01-03 02:00:00, one '2h' on"),
        (_frame(LEVELS), {"zone": "Mars/Olympus"}, "cannot be placed in zone 'Mars/Olympus'"),
        (_frame(LEVELS), {"lower": 9.5}, "9 is below the lower limit 9.5"),
    ],
)
def test_other_faults_are_said(table, options, said):
    with pytest.raises(BadForecast, match=said):
        read_forecast(table, **options)


def test_one_row_is_enough_with_its_step_and_a_missing_file_is_said(tmp_path):
    assert read_forecast(_frame(LEVELS).iloc[:1], step="h").horizon == 1
    with pytest.raises(FileNotFoundError, match="no file"):
        read_forecast(tmp_path / "absent.csv")
    (tmp_path / "broken.parquet").write_text("not a table")
    with pytest.raises(BadForecast, match="cannot be read"):
        read_forecast(tmp_path / "broken.parquet")
