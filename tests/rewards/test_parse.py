"""Sums of rewards, and rewards as they are written on a command line."""

import numpy as np
import pytest

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rewards.limit import LimitReward
from sadt_ray.rewards.parse import parse_reward
from sadt_ray.rewards.second_opinion import SecondOpinionReward
from sadt_ray.rewards.spectral import SpectralReward

PROBLEMS = [Problem(str(i), np.random.default_rng(i).normal(size=336)) for i in range(2)]
SAMPLES = np.random.default_rng(9).normal(size=(4, 96))
OWNER = np.array([0, 1, 1, 0])


def total(samples, problem):
    return samples.sum(1)


def score(reward):
    return reward.bind(PROBLEMS)(SAMPLES, OWNER)


def test_a_sum_is_the_weighted_sum_of_its_terms():
    both = WeightedSum((2.0, SpectralReward()), (-0.5, FunctionReward(total)))
    np.testing.assert_allclose(score(both), 2.0 * score(SpectralReward()) - 0.5 * SAMPLES.sum(1))
    assert isinstance(both, Reward)


def test_a_sum_of_nothing_is_zero_and_a_term_of_weight_zero_is_never_called():
    def explode(samples, problem):
        raise AssertionError

    assert score(WeightedSum()).tolist() == [0.0] * 4
    assert score(WeightedSum((0.0, FunctionReward(explode)))).tolist() == [0.0] * 4


def test_a_sum_is_an_oracle_as_soon_as_one_of_its_terms_is():
    assert not WeightedSum((1.0, SpectralReward())).oracle
    assert WeightedSum((1.0, SpectralReward()), (1.0, FunctionReward(total, oracle=True))).oracle


def test_a_sum_of_sums_and_what_is_wrong_with_a_term():
    nested = WeightedSum((2.0, WeightedSum((3.0, FunctionReward(total)))))
    np.testing.assert_allclose(score(nested), 6.0 * SAMPLES.sum(1))
    with pytest.raises(ValueError, match="must be a finite number, got inf"):
        WeightedSum((float("inf"), SpectralReward()))

    class Short:
        oracle = False

        def bind(self, problems):
            return lambda samples, problem: np.zeros(1)

    with pytest.raises(ValueError, match=r"returned shape \(1,\) for 4 samples"):
        score(WeightedSum((1.0, Short())))


def terms(spec, **settings):
    return [(weight, vars(reward)) for weight, reward in parse_reward(spec, **settings).terms]


def test_rewards_are_read_by_name():
    assert score(parse_reward("none")).tolist() == [0.0] * 4
    assert terms("second-opinion") == [(1.0, vars(SecondOpinionReward()))]
    assert terms("second_opinion:0.3") == [(1.0, vars(SecondOpinionReward(0.3)))]
    assert terms("second-opinion:0, 0.1,.2") == [(1.0, vars(SecondOpinionReward((0.0, 0.1, 0.2))))]
    assert terms("limit:max<1.5") == [(1.0, vars(LimitReward(upper=1.5)))]
    assert terms("limit: ramp >= -2e-1 , margin=0") == [
        (1.0, vars(LimitReward(lower=-0.2, statistic="ramp", margin=0.0)))
    ]
    np.testing.assert_allclose(score(parse_reward(f"{__name__}:total")), SAMPLES.sum(1))
    assert not parse_reward(f"{__name__}:total").oracle
    assert parse_reward(f"oracle:{__name__}:total").oracle


def test_terms_add_up_with_their_factors_and_the_spectral_reward():
    spec = f"0.5*limit:max<1e+0 + 2 * {__name__}:total"
    expected = 0.5 * score(LimitReward(upper=1.0)) + 2 * SAMPLES.sum(1) + score(SpectralReward(3.0))
    np.testing.assert_allclose(score(parse_reward(spec, SpectralReward(3.0))), expected)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("secondopinion", "unknown reward 'secondopinion'; write none, second-opinion"),
        ("", "unknown reward ''"),
        ("none + ", "unknown reward"),
        ("limit:max=1.5", "a limit is written limit:STATISTIC<NUMBER.*got 'max=1.5'"),
        ("limit:peak<1.5", "unknown statistic 'peak'"),
        ("second-opinion:much", "as in second-opinion:0.3 or .* got 'much'"),
        ("no_such_module_of_mine:f", "cannot import 'no_such_module_of_mine'"),
    ],
)
def test_what_is_not_understood_is_explained(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_reward(spec)
