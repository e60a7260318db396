"""Dates of rows: found, moved along, and turned back into dates."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.data.dates import IrregularDates, axis_of_texts, dates_of, later, season_of, time_axis
from sadt_ray.interfaces import TimeAxis

STEPS = ("h", "30min", "15min", "D", "B", "7D", "MS", "ME", "QS", "YS")


@given(
    step=st.sampled_from(STEPS),
    zone=st.sampled_from([None, "UTC", "Europe/Berlin", "America/New_York"]),
    day=st.dates(pd.Timestamp("2000-01-01").date(), pd.Timestamp("2030-01-01").date()),
    moved=st.integers(0, 60),
)
def test_dates_lead_to_their_axis_and_back_and_the_axis_moves_as_they_do(step, zone, day, moved):
    dates = pd.date_range(day, periods=70, freq=step, tz=zone)
    axis = time_axis(dates)
    assert dates_of(axis, 70).equals(dates)
    assert dates_of(later(axis, moved), 70 - moved).equals(dates[moved:])
    assert later(later(axis, moved), -moved) == axis


def test_a_local_time_that_occurs_twice_keeps_its_offset():
    dates = pd.date_range("2026-10-24", periods=60, freq="h", tz="Europe/Berlin")
    axis = time_axis(dates)
    assert later(axis, 26).start == "2026-10-25T02:00"
    assert later(axis, 27).start == "2026-10-25T02:00:00+01:00"


def test_a_gap_is_named():
    dates = pd.date_range("2026-01-01", periods=9, freq="h").delete(4)
    with pytest.raises(IrregularDates, match="after 2026-01-01 03:00:00 comes 2026-01-01 05:00:00: 0 days 02:00:00 on"):
        time_axis(dates)
    with pytest.raises(IrregularDates, match="not 2026-01-01 04:00:00, one 'h' on"):
        time_axis(dates, "h")


def test_one_date_needs_a_step():
    with pytest.raises(ValueError, match="give step"):
        time_axis(pd.DatetimeIndex(["2026-01-01"]))
    assert time_axis(pd.DatetimeIndex(["2026-01-01"]), "D") == TimeAxis("2026-01-01T00:00", "D")


@pytest.mark.parametrize(
    "texts", [["0", "1", "2"], ["a", "b"], ["2026-01-01"], [], ["2026-01-01", "soon"], ["2.5", "3"]]
)
def test_what_is_no_date_has_no_axis(texts):
    assert axis_of_texts(texts) is None


def test_the_usual_cycle_of_a_step():
    steps = ("h", "30min", "D", "B", "MS", "QS", "7D", "W", "YS")
    assert [season_of(step) for step in steps] == [24, 48, 7, 5, 12, 4, 52, 52, 1]
    assert np.isscalar(season_of("h"))


def test_dates_that_are_all_the_same_are_no_axis():
    assert axis_of_texts(["2026-01-01 00:00"] * 5) is None
    with pytest.raises(IrregularDates, match="sort them"):
        time_axis(pd.DatetimeIndex(["2026-01-02", "2026-01-01", "2025-12-31", "2026-01-05"]))
