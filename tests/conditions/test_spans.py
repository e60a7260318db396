"""Spans name the time steps that a calendar and a clock on the wall would name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.conditions.calendar import calendar_of
from sadt_ray.conditions.parse import parse_condition
from sadt_ray.conditions.syntax import ConditionError
from sadt_ray.interfaces import Problem, TimeAxis

HOURLY = TimeAxis("2026-01-03T00:00", "h")
LATE = TimeAxis("2026-01-03T18:00", "h", "Europe/Berlin")
HALF = TimeAxis("2026-01-03T00:00", "30min", "America/New_York")
DAILY = TimeAxis("2026-01-03", "D")
MONTHLY = TimeAxis("2026-01-01", "MS")
SPRING = TimeAxis("2026-03-28T00:00", "h", "Europe/Berlin")  # clocks go forward on March 29
AUTUMN = TimeAxis("2026-10-24T00:00", "h", "Europe/Berlin")  # and back on October 25


def steps(span, axis=HOURLY, horizon=96):
    text = f"max[{span}] > 0"
    parsed = parse_condition(text)
    during = parsed.tree.operands[0]
    return list(calendar_of(axis, horizon).steps(during.parts, text, during.bracket))


def refused(span, axis=HOURLY, horizon=96):
    with pytest.raises(ConditionError) as caught:
        steps(span, axis, horizon)
    return str(caught.value)


@pytest.mark.parametrize(
    ("span", "axis", "horizon", "expected"),
    [
        ("day 1", HOURLY, 96, range(24)),
        ("days 2..3", HOURLY, 96, range(24, 72)),
        ("day 1", LATE, 96, range(6)),
        ("day 2", LATE, 96, range(6, 30)),
        ("hour 1", LATE, 96, [0]),
        ("hours 1..24", LATE, 96, range(24)),
        ("hours 2..3", HALF, 96, range(2, 6)),
        ("step 5", HOURLY, 96, [4]),
        ("steps 3..5", HALF, 96, [2, 3, 4]),
        ("first 4h", HALF, 96, range(8)),
        ("last 2d", HOURLY, 96, range(48, 96)),
        ("first 3", HALF, 96, range(3)),
        ("last 2 steps", MONTHLY, 12, [10, 11]),
        ("18:00..22:00", HOURLY, 48, [18, 19, 20, 21, 22, 42, 43, 44, 45, 46]),
        ("22:00..02:00", HOURLY, 48, [0, 1, 2, 22, 23, 24, 25, 26, 46, 47]),
        ("18:00", HALF, 96, [36, 84]),
        ("17:45..18:15", HALF, 48, [36]),
        ("2026-01-04", HOURLY, 96, range(24, 48)),
        ("2026-01-04..2026-01-05", DAILY, 7, [1, 2]),
        ("2026-01-03 18:00", HOURLY, 96, [18]),
        ("2026-01-03 18:00..2026-01-04 06:00", HOURLY, 96, range(18, 31)),
        ("2026-01-03 18:00..2026-01-04", HOURLY, 96, range(18, 48)),
        ("2026-03", MONTHLY, 12, [2]),
        ("2026-03..2026-05", MONTHLY, 12, [2, 3, 4]),
        ("2026-01", DAILY, 40, range(29)),
        ("day 3", DAILY, 7, [2]),
        ("monday", DAILY, 14, [2, 9]),
        ("weekends", DAILY, 14, [0, 1, 7, 8]),
        ("weekdays", DAILY, 7, [2, 3, 4, 5, 6]),
        ("day 2, 18:00..22:00", HOURLY, 96, range(42, 47)),
        ("steps 2..4", None, 10, [1, 2, 3]),
        ("last 3", None, 10, [7, 8, 9]),
    ],
)
def test_each_span_names_its_time_steps(span, axis, horizon, expected):
    assert steps(span, axis, horizon) == list(expected)


def test_days_on_which_the_clocks_change_have_23_and_25_hours():
    assert [len(steps(f"day {k}", SPRING, 72)) for k in (1, 2, 3)] == [24, 23, 24]
    assert [len(steps(f"day {k}", AUTUMN, 73)) for k in (1, 2, 3)] == [24, 25, 24]
    assert steps("2026-03-29 03:00", SPRING, 72) == [26]
    assert steps("hours 25..48", SPRING, 72) == list(range(24, 48))
    assert steps("2026-10-25, 02:00", AUTUMN, 73) == [26, 27]
    assert steps("18:00", SPRING, 72) == [18, 41, 65]


def test_moments_that_come_twice_or_never_are_refused_with_the_steps_that_are_near():
    twice = refused("2026-10-25 02:00", AUTUMN, 73)
    assert "comes twice" in twice
    assert "[step 27] or [step 28]" in twice
    never = refused("2026-03-29 02:00", SPRING, 72)
    assert "no time step at 2026-03-29 02:00" in never
    assert "2026-03-29 01:00 and 2026-03-29 03:00" in never


@given(
    st.sampled_from(["h", "30min", "15min", "2h", "D"]),
    st.sampled_from([None, "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.datetimes(pd.Timestamp("2025-01-01"), pd.Timestamp("2027-01-01")).map(
        lambda t: t.replace(minute=0, second=0, microsecond=0)
    ),
    st.integers(2, 200),
)
def test_days_by_number_part_the_horizon_as_pandas_does(step, zone, start, horizon):
    start = start if step != "D" else start.replace(hour=0)
    try:
        first = pd.Timestamp(start).tz_localize(zone) if zone else pd.Timestamp(start)
    except Exception:  # an hour that comes twice or never
        return
    index = pd.date_range(first, periods=horizon, freq=step)
    axis = TimeAxis(start.isoformat(), step, zone)
    days = (index.normalize().tz_localize(None) - index[0].normalize().tz_localize(None)).days.to_numpy() + 1
    number = calendar_of(axis, horizon).numbers("day")
    np.testing.assert_array_equal(number, days)
    assert steps(f"day {days[-1]}", axis, horizon) == np.flatnonzero(days == days[-1]).tolist()
    assert steps(f"{index[-1]:%H:%M}", axis, horizon) == np.flatnonzero(index.time == index[-1].time()).tolist()


@pytest.mark.parametrize(
    ("span", "axis", "message"),
    [
        ("day 5", HOURLY, "there is no day 5"),
        ("steps 90..97", HOURLY, "there is no step 97"),
        ("days 3..1", HOURLY, "ends before it begins"),
        ("2026-01-05..2026-01-04", HOURLY, "ends before it begins"),
        ("2026-01-05..2026-01-09", HOURLY, "2026-01-09 is outside the horizon"),
        ("2027-01", HOURLY, "2027-01 is outside the horizon"),
        ("2026-01-03 18:30", HOURLY, "The nearest are 2026-01-03 18:00 and 2026-01-03 19:00"),
        ("18:10..18:50", HOURLY, "no time step is in this span"),
        ("day 1, day 2", HOURLY, "no time step is in this span"),
        ("first 5d", HOURLY, "longer than the horizon"),
        ("first 97", HOURLY, "there are no 97 steps"),
        ("first 2 apples", HOURLY, "no unit of time"),
        ("day 2", MONTHLY, "no time step is in this span"),
        ("day 1", None, "the time steps have no dates"),
        ("18:00", None, "the time steps have no dates"),
        ("first 4h", None, "the time steps have no dates"),
    ],
)
def test_spans_that_do_not_fit_are_refused(span, axis, message):
    said = refused(span, axis)
    assert message in said
    assert "^" in said


def test_a_time_axis_that_cannot_be_is_refused():
    problem = Problem("p", np.zeros(3), time=TimeAxis("2026-01-15", "MS"))
    with pytest.raises(ValueError, match="which is no step of 'MS'"):
        parse_condition("max[day 1] > 3").resolve(problem, (1, 12))


def test_a_day_is_whole_if_the_horizon_has_all_of_it():
    assert [calendar_of(HOURLY, 90).is_whole_day(k) for k in (1, 2, 3, 4)] == [True, True, True, False]
    assert [calendar_of(LATE, 30).is_whole_day(k) for k in (1, 2)] == [False, True]
    assert calendar_of(DAILY, 3).is_whole_day(3)
