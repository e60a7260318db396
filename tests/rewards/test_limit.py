"""A limit costs nothing where it holds and, where not, in proportion to the violation, or everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.conditions.parse import parse_condition
from sadt_ray.interfaces import Problem, Reward, Scale
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.limit import STATISTICS, LimitReward
from sadt_ray.rewards.look_ahead import margins

WAVE = np.array([[0.0, 1.0, -2.0, 3.0], [0.0, 0.5, 0.5, 1.0]])
OWNER = np.zeros(2, int)


def score(**settings):
    return LimitReward(**settings).bind([])(WAVE, OWNER).tolist()


def test_each_statistic_is_what_it_is_called():
    values = {"max": 3.0, "min": -2.0, "mean": 0.5, "std": np.sqrt(3.25), "range": 5.0, "ramp": 5.0}
    assert set(values) == set(STATISTICS)
    for statistic, value in values.items():
        assert score(upper=value, statistic=statistic)[0] == pytest.approx(0.0)
        assert score(upper=value - 0.5, statistic=statistic)[0] == pytest.approx(-0.5)
        assert score(lower=value + 0.5, statistic=statistic)[0] == pytest.approx(-0.5)


def test_the_margin_is_the_violation_that_costs_one():
    assert score(upper=2.0, margin=0.25) == [-4.0, 0.0]


def test_a_hard_limit_forbids():
    assert score(upper=2.0, margin=0.0) == [-np.inf, 0.0]
    assert score(upper=3.0, margin=0.0) == [0.0, 0.0]


def test_a_hard_limit_says_how_far_a_sample_is_inside_it_and_a_soft_one_does_not():
    hard = LimitReward(lower=-1.0, upper=2.0, margin=0.0).bind([])
    np.testing.assert_array_equal(margins(hard, WAVE, OWNER), [-1.0, 1.0])
    np.testing.assert_array_equal(margins(hard, WAVE, OWNER) >= 0, np.isfinite(hard(WAVE, OWNER)))
    np.testing.assert_array_equal(margins(LimitReward(upper=2.0).bind([]), WAVE, OWNER), [np.inf, np.inf])


def test_the_margin_of_a_sum_is_the_smallest_of_its_terms():
    terms = (LimitReward(upper=limit, margin=0.0) for limit in (2.0, 0.5))
    both = WeightedSum(*((1.0, term) for term in terms), (2.0, LimitReward(upper=0.0))).bind([])
    np.testing.assert_array_equal(margins(both, WAVE, OWNER), [-2.5, -0.5])


def test_a_band_counts_whichever_side_is_violated():
    assert score(lower=1.5, upper=2.0) == [-1.0, -0.5]


@given(st.floats(-3, 3), st.floats(0, 3), st.sampled_from([0.0, 0.1, 4.0]))
def test_a_larger_limit_never_costs_more(limit, more, margin):
    tight = LimitReward(upper=limit, margin=margin)(WAVE, OWNER)
    loose = LimitReward(upper=limit + more, margin=margin)(WAVE, OWNER)
    assert np.all(loose >= tight)
    assert np.all(loose <= 0)


def test_it_is_a_reward_and_no_oracle():
    assert isinstance(LimitReward(upper=1.0), Reward)
    assert LimitReward(upper=1.0).oracle is False


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give a finite upper or lower limit"),
        ({"upper": float("inf")}, "give a finite upper or lower limit, got lower=None and upper=inf"),
        ({"upper": 1.0, "lower": 2.0}, r"lower=2.0 is above upper=1.0"),
        ({"upper": 1.0, "margin": -1.0}, "margin must be .* got -1.0"),
        ({"upper": 1.0, "statistic": "median"}, "unknown statistic 'median'; choose one of max, min"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LimitReward(**settings)


def test_samples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\[B, time\], got shape \(4,\)"):
        LimitReward(upper=1.0)(WAVE[0], OWNER)


def test_a_limit_names_the_condition_in_the_units_of_the_file():
    known = Problem("W/OT", np.zeros(4), scale=Scale((20.0,), (8.0,), ("OT",), "degrees"))
    soft = LimitReward(upper=1.5, margin=0.5)
    assert soft.as_condition(known, strength=4.0) == "max < 32 ~ 1"
    assert '--given "max < 32 ~ 1"' in soft.note([known], 4.0)
    assert "samples beyond it lose weight, but may keep some" in soft.note([known], 4.0)
    hard = LimitReward(lower=0.25, statistic="ramp", margin=0.0)
    assert hard.as_condition(known, strength=4.0) == "ramp > 2"
    assert "soft" not in hard.note([known], 4.0)
    band = LimitReward(lower=-1.0, upper=1.0, statistic="mean", margin=0.0)
    assert band.as_condition(known, 1.0) == "12 < mean < 28"
    assert "As a condition" in soft.note([Problem("p", np.zeros(4))], 4.0)


def test_the_condition_that_a_limit_names_is_read():
    problem = Problem("p", np.zeros(4), scale=Scale((-3.0,), (1e-7,)))
    for limit in (LimitReward(upper=1e-9), LimitReward(lower=-2.0, upper=2.0, statistic="std")):
        parse_condition(limit.as_condition(problem, 50.0))
