"""A condition as a reward: the target gets log L, in the units of the file, for problems of any scale."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from sadt_ray.conditions.parse import parse_condition
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.conditions.syntax import ConditionError
from sadt_ray.conditions.terms import Comparison, largest
from sadt_ray.interfaces import Problem, Reward, Scale, TimeAxis
from sadt_ray.processes.joint import joint_problem
from sadt_ray.rewards.combine import WeightedSum

TIME = TimeAxis("2026-01-03T00:00", "h")
LOAD = Problem("load/0", np.zeros(5), time=TIME, scale=Scale((1000.0,), (200.0,), ("load",), "MW"))
WIND = Problem(
    "wind/0", np.zeros(5), time=TimeAxis("2026-01-04T12:00", "h"), scale=Scale((50.0,), (10.0,), ("wind",), "MW")
)
BOTH = joint_problem("both", [LOAD, Problem("w", np.zeros(5), time=TIME, scale=WIND.scale)])
RNG = np.random.default_rng(0)


@given(st.floats(0.1, 200), st.floats(900, 1500), st.floats(1, 100))
def test_lambda_times_the_reward_is_log_l_in_the_units_of_the_file(lam, bound, sd):
    samples = RNG.normal(size=(6, 24))
    owner = np.array([0, 1, 0, 1, 1, 0])
    scorer = ConditionReward(f"max > {bound!r} ~ {sd!r}", lam).bind([LOAD, WIND])
    peaks = np.where(owner == 0, 1000 + 200 * samples.max(1), 50 + 10 * samples.max(1))
    np.testing.assert_allclose(lam * scorer(samples, owner), norm.logcdf((peaks - bound) / sd), atol=1e-300)
    hard = ConditionReward(f"max > {bound!r}", lam).bind([LOAD, WIND])
    assert np.exp(hard(samples, owner)).tolist() == (peaks > bound).tolist()
    np.testing.assert_array_equal(hard.satisfied(samples, owner), peaks > bound)
    np.testing.assert_allclose(hard.shortfall(samples, owner).amount, np.maximum(bound - peaks, 0))


def test_dates_are_those_of_each_problem():
    samples = np.zeros((2, 48))
    samples[:, 18] = 1.0  # January 3, 18:00 of one problem, January 5, 06:00 of the other
    late = Problem("late", np.zeros(5), time=TimeAxis("2026-01-04T12:00", "h"), scale=LOAD.scale)
    scorer = ConditionReward("max[day 1] > 1100").bind([LOAD, late])
    assert scorer.satisfied(samples, np.array([0, 1])).tolist() == [True, False]
    assert scorer.satisfied(samples[::-1], np.array([1, 0])).tolist() == [False, True]


def test_joint_problems_have_all_series_of_their_parts():
    samples = RNG.normal(size=(4, 2, 24))
    scorer = ConditionReward("max(load) - 10 * mean(wind) > 900 and wind > 20 ~ 1").bind([BOTH])
    load, wind = 1000 + 200 * samples[:, 0], 50 + 10 * samples[:, 1]
    hard = load.max(1) - 10 * wind.mean(1) > 900
    expected = np.where(hard, norm.logcdf(wind.min(1) - 20), -np.inf)
    np.testing.assert_allclose(scorer(samples, np.zeros(4, int)), expected)
    assert scorer.to_units(torch.zeros(7, 3, 2, 24), 0).shape == (7, 3, 2, 24)
    np.testing.assert_allclose(scorer.to_units(torch.ones(2, 24, dtype=torch.double), 0)[:, 0], [1200.0, 60.0])
    twins = joint_problem("twins", [LOAD, LOAD])
    assert twins.scale.channels == ("x1", "x2")
    assert twins.scale.unit == "MW"


def test_shortfalls_name_the_comparison():
    scorer = ConditionReward("max > 1500 and (min > 990 or mean > 1001)").bind([LOAD])
    missed = scorer.shortfall(np.repeat([[0.0], [-0.1]], 24, axis=1), np.zeros(2, int))
    assert missed.comparison == ["max > 1500", "max > 1500"]
    np.testing.assert_allclose(missed.amount, [500, 520])
    missed = (
        ConditionReward("min > 990 or mean > 1001").bind([LOAD]).shortfall(np.full((1, 24), -0.1), np.zeros(1, int))
    )
    assert missed.comparison == ["min > 990"]
    np.testing.assert_allclose(missed.amount, [10])


def test_draws_and_conditions_of_a_problem():
    scorer = ConditionReward("max > 1500", horizon=24).bind([LOAD])
    assert scorer.condition(0).lower == 1500
    assert scorer.to_units(torch.zeros(7, 3, 24), 0).shape == (7, 3, 1, 24)
    unknown = ConditionReward("max > 1500").bind([LOAD])
    with pytest.raises(ValueError, match="the horizon of load/0 is not known"):
        unknown.condition(0)
    unknown(np.zeros((1, 24)), np.zeros(1, int))
    assert unknown.condition(0).lower == 1500
    known = Problem("t", np.zeros(5), truth=np.zeros(24), scale=LOAD.scale)
    assert ConditionReward("max > 1500").bind([known]).condition(0).upper == math.inf


def test_what_does_not_fit_a_problem_is_refused_with_its_name():
    with pytest.raises(ConditionError, match=r"^wind/0: there is no series 'load'\n") as caught:
        ConditionReward("max(load) > 3", horizon=24).bind([LOAD, WIND])
    assert caught.value.position == 4
    with pytest.raises(ConditionError, match=r"^load/0: there is no day 3"):
        ConditionReward("max[day 3] > 3").bind([LOAD])(np.zeros((1, 24)), np.zeros(1, int))
    with pytest.raises(ValueError, match="samples have 2 series"):
        ConditionReward("max > 3").bind([LOAD])(np.zeros((1, 2, 24)), np.zeros(1, int))
    with pytest.raises(ValueError, match=r"samples \[B, T\] or \[B, C, T\], got shape \(24,\)"):
        ConditionReward("max > 3").bind([LOAD])(np.zeros(24), np.zeros(24, int))
    with pytest.raises(ValueError, match="must be a positive number, got 0"):
        ConditionReward("max > 3", 0.0)
    with pytest.raises(ConditionError, match="a number, not a condition"):
        ConditionReward("max")


def test_a_sample_that_is_not_finite_has_no_reward():
    samples = np.zeros((2, 24))
    samples[1, 3] = np.nan
    assert np.isnan(ConditionReward("max < 1500").bind([LOAD])(samples, np.zeros(2, int))).tolist() == [False, True]


def test_it_is_a_reward_that_travels_and_has_a_name():
    reward = ConditionReward("max>1500  and min > 3", 50)
    assert isinstance(reward, Reward)
    assert not reward.oracle
    assert repr(reward) == "ConditionReward('max > 1500 and min > 3', inv_temperature=50)"
    again = pickle.loads(pickle.dumps(reward))
    assert again.condition == reward.condition
    assert repr(ConditionReward(parse_condition("max > 1"))) == "ConditionReward('max > 1')"
    samples, owner = RNG.normal(size=(3, 24)), np.zeros(3, int)
    np.testing.assert_array_equal(again.bind([LOAD])(samples, owner), reward.bind([LOAD])(samples, owner))


def test_terms_are_a_condition_too():
    peak = Comparison(largest(0, range(24)), lower=1500.0, text="peak above 1500")
    reward = ConditionReward(peak)
    assert repr(reward) == "ConditionReward('peak above 1500')"
    samples = np.array([[0.0] * 24, [3.0] * 24])
    assert reward.bind([LOAD])(samples, np.zeros(2, int)).tolist() == [-np.inf, 0.0]


@pytest.mark.parametrize(
    ("text", "smooth"),
    [
        ("max > 1300 ~ 100", True),
        ("not (max > 1300 ~ 100 or min < 700 ~ 100)[day 1]", True),
        ("max > 3", False),
        ("max = 3 +- 1", False),
        ("max > 3 ~ 1 and min < 2", False),
        ("count(> 3) >= 2 ~ 1", False),
    ],
)
def test_gradients_flow_through_soft_comparisons(text, smooth):
    scorer = ConditionReward(text).bind([LOAD])
    assert scorer.differentiable == smooth
    total = WeightedSum((2.0, ConditionReward(text))).bind([LOAD])
    assert total.differentiable == smooth
    x = torch.tensor(RNG.normal(size=(3, 24)), requires_grad=True)
    owner = torch.zeros(3, dtype=torch.long)
    scores = total.score_tensor(x, owner)
    np.testing.assert_allclose(scores.detach(), 2 * scorer(x.detach().numpy(), owner.numpy()))
    if smooth:
        scores.sum().backward()
        assert x.grad.abs().sum() > 0
