"""Every statistic is what plain numpy gives, every comparison what it says, and what cannot hold is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import norm

from sadt_ray.conditions.calendar import calendar_of
from sadt_ray.conditions.parse import parse_condition
from sadt_ray.conditions.syntax import ConditionError
from sadt_ray.conditions.terms import Extreme, General, Linear
from sadt_ray.interfaces import Problem, Scale, TimeAxis

NAMES = ("A", "B", "net load")
TIME = TimeAxis("2026-01-03T06:00", "h")
THREE = Problem("three", np.zeros((3, 5)), time=TIME, scale=Scale((0.0,) * 3, (1.0,) * 3, NAMES, "MW"))
ONE = Problem("one", np.zeros(5), time=TIME, scale=Scale((0.0,), (1.0,), ("load",), "MW"))
SPANS = {
    "": np.arange(60),
    "[day 2]": np.arange(18, 42),
    "[steps 4..9]": np.arange(3, 9),
    "[18:00..22:00]": np.array([12, 13, 14, 15, 16, 36, 37, 38, 39, 40]),
    "[day 1..2, 22:00..01:00]": np.array([16, 17, 18, 19, 40, 41]),
    "[step 7]": np.array([6]),
}

spans = st.sampled_from(list(SPANS))
levels = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0])
arrays = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(-3, 4, (3, 60)) / np.random.default_rng(seed).choice([1, 7])
)


def runs(flags, steps):
    best = run = 0
    before = None
    for flag, step in zip(flags, steps, strict=True):
        run = 0 if not flag else (run + 1 if before == step - 1 else 1)
        best, before = max(best, run), step
    return best


def jumps(v, steps):
    return [abs(v[k + 1] - v[k]) for k in range(len(v) - 1) if steps[k + 1] == steps[k] + 1]


PLAIN = {
    "max": lambda v, s: v.max(),
    "min": lambda v, s: v.min(),
    "mean": lambda v, s: v.mean(),
    "sum": lambda v, s: v.sum(),
    "std": lambda v, s: v.std(),
    "range": lambda v, s: np.ptp(v),
    "ramp": lambda v, s: max(jumps(v, s)),
    "first": lambda v, s: v[0],
    "last": lambda v, s: v[-1],
}


def resolved(text, problem=THREE, horizon=60):
    return parse_condition(text).resolve(problem, (len(problem.scale.channels), horizon))


def value(text, x):
    """g of the comparison ``text < 999``, and of the same with its sides changed."""
    one, other = resolved(f"{text} < 999"), resolved(f"999 > {text}")
    found = one.statistic(torch.as_tensor(x))
    np.testing.assert_array_equal(found, other.statistic(torch.as_tensor(x)))
    return float(found)


@given(st.sampled_from([name for name in PLAIN if name not in ("std", "range", "ramp")]), spans, arrays)
def test_a_statistic_of_a_series_over_a_span(name, span, x):
    steps = SPANS[span]
    expected = PLAIN[name](x[1][steps], steps)
    assert value(f"{name}(B){span}", x) == pytest.approx(expected)
    assert value(f"{name}(B{span})", x) == pytest.approx(expected)
    expected = PLAIN[name]((2 * x[0] - x[2])[steps] + 3, steps)
    assert value(f'{name}(2 * A - "net load" + 3){span}', x) + offset(name, steps, 3) == pytest.approx(expected)


def offset(name, steps, constant):
    """A constant within a series moves to the bound."""
    return constant * (len(steps) if name == "sum" else 1)


@given(st.sampled_from(["std", "range", "ramp"]), spans, arrays)
def test_a_scatter_of_a_series_over_a_span(name, span, x):
    assume(span != "[step 7]")
    steps = SPANS[span]
    g = resolved(f"{name}(B + A / 2 + 5){span} < 9").statistic(torch.as_tensor(x))
    assert float(g) == pytest.approx(PLAIN[name]((x[1] + x[0] / 2)[steps], steps))


@given(spans, arrays, levels, st.sampled_from(["<", ">", "<=", ">="]))
def test_counts_and_runs_and_their_margins(span, x, level, sign):
    steps = SPANS[span]
    flags = {"<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal}[sign](x[1][steps], level)
    times = f"- {-level}" if level < 0 else f"{level}"
    block = max(runs([True] * len(steps), steps), 1)
    for name, expected, most in (("count", flags.sum(), len(steps)), ("longest run", runs(flags, steps), block)):
        for threshold in sorted({1, int(expected), int(expected) + 1, most} & set(range(1, most + 1))):
            at_least = resolved(f"{name}(B {sign} {times}){span} >= {threshold}")
            assert float(at_least.statistic(torch.as_tensor(x))) == expected
            assert bool(at_least.holds(torch.as_tensor(x))) == (expected >= threshold)
            margin = float(at_least.statistic.margin(torch.as_tensor(x), at_least.lower))
            if margin != 0:  # on the border the margin does not know whether the level itself counts
                assert (margin > 0) == (expected >= threshold)
            below = resolved(f"{name}(B {sign} {times}){span} < {threshold}")
            assert bool(below.holds(torch.as_tensor(x))) == (expected < threshold)
            margin = float(below.statistic.margin(torch.as_tensor(x), below.upper))
            if margin != 0:
                assert (margin < 0) == (expected < threshold)
            equal = resolved(f"{name}(B {sign} {times}){span} = {threshold}")
            assert bool(equal.holds(torch.as_tensor(x))) == (expected == threshold)
            missed = abs(expected - threshold)
            assert float(equal.shortfall(torch.as_tensor(x))) == missed


@given(
    arrays,
    st.lists(
        st.sampled_from(["max(A)", "min(B)[day 2]", "mean(A + B)", "A[step 3]", "std(B)"]), min_size=1, max_size=4
    ),
)
def test_combinations_of_statistics_are_added_up(x, names):
    text = " + ".join(f"{k + 2} * {name}" for k, name in enumerate(names))
    expected = sum((k + 2) * value(name, x) for k, name in enumerate(names))
    condition = resolved(f"({text}) / 2 - 1 > {expected / 2 - 1 - 1e-6}")
    assert bool(condition.holds(torch.as_tensor(x)))
    assert not bool(resolved(f"({text}) / 2 - 1 > {expected / 2 - 1 + 1e-6}").holds(torch.as_tensor(x)))


def test_statistics_keep_the_kind_that_a_look_ahead_needs():
    kinds = {
        "sum(A)[day 1] - 2 * mean(B) > 0": Linear,
        "A[step 2] < B[step 3]": Linear,
        "max(A)[step 3] > 1": Linear,
        "max(A) > 1": Extreme,
        "-2 * max(A + B) < 1": Extreme,
        "max(A) - mean(B) > 1": Extreme,
        "ramp(A) < 1": Extreme,
        "A < B + 3": Extreme,
        "count(A > 1) >= 2": General,
        "max(A) - min(A) > 1": General,
    }
    for text, kind in kinds.items():
        assert isinstance(resolved(text).statistic, kind), text
    flipped = resolved("-2 * max(A) < -8")
    assert (flipped.lower, flipped.upper, flipped.statistic.largest) == (4.0, math.inf, True)


@given(arrays)
def test_comparisons_between_series_hold_at_every_step_of_the_span(x):
    a, b, c = x[:, 18:42]
    t = torch.as_tensor(x)
    assert bool(resolved('(A + B <= "net load" + 1)[day 2]').holds(t)) == bool((a + b <= c + 1).all())
    assert bool(resolved('(A + B)[day 2] = "net load"[day 2] +- 5').holds(t)) == bool((abs(a + b - c) <= 5).all())
    assert bool(resolved("-1 <= A[day 2] <= 2").holds(t)) == bool(((a >= -1) & (a <= 2)).all())
    soft = resolved("A[day 2] = B[day 2] ~ 2").log_likelihood(t)
    assert float(soft) == pytest.approx(-np.square(a - b).sum() / 8)
    assert bool(resolved("A[steps 1..3] < B[steps 11..13]").holds(t)) == bool((x[0, :3] < x[1, 10:13]).all())


@given(arrays, st.floats(-3, 3), st.floats(0.1, 3))
def test_hard_and_soft_likelihoods(x, bound, sd):
    t, g = torch.as_tensor(x), x[0].max()
    written = f"- {-bound!r}" if bound < 0 else repr(bound)

    def log_l(text):
        return float(resolved(text).log_likelihood(t))

    assert math.exp(log_l(f"max(A) > {written}")) == float(g > bound)
    assert log_l(f"max(A) > {written} ~ {sd!r}") == pytest.approx(norm.logcdf((g - bound) / sd))
    assert log_l(f"max(A) < {written} ~ {sd!r}") == pytest.approx(norm.logcdf((bound - g) / sd))
    assert log_l(f"max(A) = {written} ~ {sd!r}") == pytest.approx(-((g - bound) ** 2) / sd**2 / 2)
    assert math.exp(log_l(f"max(A) = {written} +- {sd!r}")) == float(bound - sd <= g <= bound + sd)
    assert log_l(f"2 * max(A) = 2 * {written} ~ {2 * sd!r}") == pytest.approx(-((g - bound) ** 2) / sd**2 / 2)
    assert log_l(f"not max(A) > {written} ~ {sd!r}") == pytest.approx(norm.logsf((g - bound) / sd))


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("max(a) > 3", "a", "Did you mean A"),
        ('max("netload") > 3', '"netload"', 'Did you mean "net load"'),
        ("max(nothing) > 3", "nothing", 'The series: A, B, "net load"'),
        ("max > 3", "max", r"there are 3 series.*Say which, as in max\(A\)"),
        ("count(> 3) > 1", "count", "there are 3 series"),
        ("x > 3", "x", "there is no series 'x'"),
        ("max(A) > 3 kW", "3 kW", "the data is in MW"),
        ("max(A) > 3 B", "3 B", r"write 3 \* B"),
        ("max(A) > 3 h", "3 h", r"Durations belong to count"),
        ("longest run(A > 3) >= 2 apples", "2 apples", "no unit of time"),
        ("count(A > 5) >= 61", "count", "at most 60 here.*The span has 60 time steps"),
        ("longest run(A > 5)[18:00..22:00] >= 6h", "longest", "at most 5 here"),
        ("count(A > 5) >= 0", "count", "says nothing"),
        ("count(A > 5) < 0", "count", "never below 0"),
        ("count(A > 5) = 2.5", "count", "whole number"),
        ("std(A) < 0", "std", "std is above 0"),
        ("ramp(A) > -1", "ramp", "says nothing"),
        ("ramp(A)[step 2] > 1", "ramp", "always 0"),
        ("ramp(A)[18:00] > 1", "ramp", "no two time steps of the span are neighbours"),
        ("sum(A) = 3", "sum", r"Write sum\(A\) = 3 \+- d for a band"),
        ("200 < max(A) < 100", "200", "no value is within"),
        ("max(A) < 3 and (min(B) > 1 and max(A) > 4)", "max(A) > 4", r"this contradicts max\(A\) < 3"),
        ("min(A) > 4 and max(A) < 3", "max(A) < 3", "contradicts"),
        ("mean(A)[day 1] > 4 and sum(A)[day 1] < 3", "sum", "contradicts"),
        ("A > 4 and mean(A) < 3", "mean", "contradicts"),
        ("A < max(B)", "A", "a series over several time steps meets a statistic"),
        ("A[day 1] < B[day 2]", "A", "18 time steps cannot be combined with 24"),
        ("max(A) * min(A) > 3", "max", "one of two factors must be a number"),
        ("3 / max(A) > 3", "max", "only numbers divide"),
        ("max(A) / 0 > 3", "0", "divides by 0"),
        ("5 > 3", "5", "compares two numbers"),
        ("A - A > 3", "A", "compares two numbers"),
        ("max(mean(A)) > 3", "mean", "a series is needed here, this is a statistic"),
        ("max(5) > 3", "5", "a series is needed here, this is a number"),
        ("count(max(A) > 3) > 1", "max", "not by a statistic"),
        ("max(A[day 1])[day 2] > 3", "[day 1]", "no time step is in this span and the one around it"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(text, at, message):
    with pytest.raises(ConditionError, match=f"(?s){message}") as caught:
        resolved(text)
    assert text[caught.value.position :].startswith(at)


@pytest.mark.parametrize(
    "text",
    [
        "max(A) < 3 or max(A) > 4",
        "max(A) < 3 and max(B) > 4",
        "max(A)[day 1] < 3 and max(A)[day 2] > 4",
        "max(A) < 3 and not max(A) < 1",
        "max(A) < 3 ~ 1 and max(A) > 4 ~ 1",
        "min(A) < 3 and max(A) > 4",
        "max(A) < 3 and mean(A) > 2",
    ],
)
def test_what_can_hold_is_not_called_a_contradiction(text):
    resolved(text)


def test_units_and_durations():
    x = torch.zeros(1, 60, dtype=torch.double)
    assert bool(resolved("max < 3 MW ~ 1 MW", ONE).holds(x))
    assert resolved("longest run(> -1) >= 150min", ONE).lower == 3
    assert resolved("longest run(> -1) > 2h", ONE).lower == 3
    assert resolved("longest run(> -1) <= 2h", ONE).upper == 2.5
    assert resolved("count(> 1 MW) >= 1d", ONE).lower == 24
    assert resolved("count(> 1) >= 4 steps", ONE).lower == 4
    undated = Problem("undated", np.zeros(5))
    with pytest.raises(ConditionError, match="Give a number of steps instead of 4 h"):
        resolved("longest run(> 1) >= 4h", undated)
    months = Problem("months", np.zeros(5), time=TimeAxis("2026-01-01", "MS"))
    with pytest.raises(ConditionError, match="a step of MS varies"):
        resolved("longest run(> 1) >= 40d", months, 12)
    with pytest.raises(ConditionError, match="the unit of the data is not known"):
        resolved("max > 3 MW", undated)
    with pytest.raises(ValueError, match="samples have 2 series, the problem's scale names 1"):
        parse_condition("max > 3").resolve(ONE, (2, 60))
    assert calendar_of(TIME, 60) is calendar_of(TIME, 60)
