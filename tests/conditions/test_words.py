"""Conditions in words: what is compared, when, with what, and how strictly."""

import numpy as np
import pytest

from sadt_ray.conditions.syntax import ConditionError
from sadt_ray.conditions.words import affects, describe
from sadt_ray.interfaces import Problem, Scale, TimeAxis

LOAD = Problem("p", np.zeros(3), time=TimeAxis("2026-01-03T06:00", "h"), scale=Scale((0.0,), (1.0,), ("load",), "MW"))
PAIR = Problem("q", np.zeros(3), scale=Scale((0.0, 0.0), (1.0, 1.0), ("A", "B"), ""))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "max[18:00..22:00] > 1500",
            "the largest load in MW between 18:00 and 22:00 of each day (20 steps) is above 1,500 (hard)",
        ),
        (
            "1500 < max",
            "the largest load in MW is above 1,500 (hard)",
        ),
        (
            "sum[day 2] = 32000 +- 500",
            "the sum of load in MW on day 2 (2026-01-04, 24 steps) is within 500 of 32,000 (hard)",
        ),
        (
            "mean[day 1] = 3 ~ 5",
            "the mean load in MW on day 1 (2026-01-03, not whole, 18 steps) is about 3 (soft, standard deviation 5)",
        ),
        (
            "100 < max < 200 ~ 5",
            "the largest load in MW is between 100 and 200 (soft, standard deviation 5)",
        ),
        (
            "count(> 1200) >= 3",
            "the number of time steps with load above 1,200 is at least 3 (hard)",
        ),
        (
            "longest run(> 1200) >= 4h",
            "the longest run of time steps with load above 1,200 is at least 4 h (hard)",
        ),
        (
            "x[2026-01-03 18:00] <= 9",
            "load in MW at 2026-01-03 18:00 (1 step) is at most 9 (hard)",
        ),
        (
            "x[weekend] < 9",
            "at every time step load in MW on weekends (42 steps) is below 9 (hard)",
        ),
        (
            "not max[sunday] > 9",
            "it is not so that the largest load in MW on Sundays (24 steps) is above 9 (hard)",
        ),
        (
            "max > 9 and (min < 1 or std > 2)",
            "the largest load in MW is above 9 (hard) and (either the smallest load in MW is below 1 (hard) or "
            "the standard deviation of load in MW is above 2 (hard))",
        ),
        (
            "(max > 9)[first 4h]",
            "the largest load in MW in the first 4 h (4 steps) is above 9 (hard)",
        ),
    ],
)
def test_conditions_in_words(text, words):
    assert describe(text, LOAD, (1, 96)) == words


def test_without_a_problem_series_and_units_have_no_name():
    assert describe("sum[day 1] > 5") == "the sum of the values on day 1 is above 5 (hard)"
    assert describe("A + B <= C") == "at every time step A + B is at most C (hard)"
    assert describe("mean(A) - mean(B) > 3", PAIR, (2, 8)) == "the mean A minus the mean B is above 3 (hard)"


def test_what_does_not_fit_the_problem_is_not_described():
    with pytest.raises(ConditionError, match="there is no day 9"):
        describe("max[day 9] > 5", LOAD, (1, 96))


def test_what_a_condition_does_to_samples_of_the_prior():
    satisfied = np.zeros(4096, bool)
    assert affects(satisfied) == "holds in none of 4,096 prior samples"
    missed = np.linspace(12, 90, 4096)
    assert affects(satisfied, missed, "MW") == "holds in none of 4,096 prior samples; nearest misses by 12 MW"
    satisfied[:3] = True
    assert affects(satisfied) == "holds in 3 of 4,096 prior samples (0.073 %)"
    satisfied[:1270] = True
    assert affects(satisfied) == "holds in 31 % of 4,096 prior samples"
    satisfied[:4095] = True
    assert affects(satisfied) == "holds in 99 % of 4,096 prior samples"
    assert affects(np.ones(8, bool)) == "holds in all of 8 prior samples: it changes nothing"
    assert affects(np.ones(0, bool)) == "no prior samples to check it with"
