"""Whatever a reward does, good rows keep their rewards and bad rows their reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.interfaces import Problem
from sadt_ray.rewards.checked import score_checked
from sadt_ray.rewards.function import FunctionReward

SAMPLES = np.arange(12.0).reshape(6, 2)
OWNER = np.array([0, 1, 0, 1, 0, 1])
GOOD = SAMPLES.sum(1)


class Faulty:
    """Sums samples, except that it does ``fault`` when it meets one of the ``bad`` first values."""

    def __init__(self, bad, fault):
        self.bad, self.fault, self.calls = set(bad), fault, 0

    def __call__(self, samples, problem):
        self.calls += 1
        rewards = samples.sum(1)
        rows = np.isin(samples[:, 0], list(self.bad))
        return self.fault(rewards, rows) if rows.any() else rewards


def put(value):
    return lambda rewards, rows: np.where(rows, value, rewards)


def explode(rewards, rows):
    raise KeyError("no such key")


FAULTS = {
    "nan": (put(np.nan), "returned nan, but it must be a finite number or -inf"),
    "inf": (put(np.inf), "returned inf, but it must be a finite number or -inf"),
    "raises": (explode, "raised KeyError: 'no such key'"),
    "shape": (lambda rewards, rows: rewards[~rows], r"returned shape (0,) for 1 samples"),
    "text": (lambda rewards, rows: ["many"], "raised ValueError"),
    "matrix": (lambda rewards, rows: np.ones((len(rewards), 3)), "returned shape (1, 3) for 1 samples"),
}


def test_a_sound_reward_is_called_once_and_minus_infinity_is_allowed():
    scorer = Faulty([4.0], put(-np.inf))
    rewards, failures = score_checked(scorer, SAMPLES, OWNER)
    assert rewards.tolist() == [1.0, 5.0, -np.inf, 13.0, 17.0, 21.0]
    assert failures == {}
    assert scorer.calls == 1


@pytest.mark.parametrize("fault", FAULTS)
@given(bad=st.sets(st.integers(0, 5), min_size=1))
def test_exactly_the_offending_samples_are_named_and_the_others_kept(fault, bad):
    action, reason = FAULTS[fault]
    rewards, failures = score_checked(Faulty({2.0 * row for row in bad}, action), SAMPLES, OWNER)
    assert set(failures) == bad
    kept = [row for row in range(6) if row not in bad]
    np.testing.assert_array_equal(rewards[kept], GOOD[kept])
    assert np.isnan(rewards[list(bad)]).all()
    for row, message in failures.items():
        assert message.startswith(f"sample {row} (of problem {OWNER[row]})")
        assert reason in message


def test_the_reason_says_when_the_sample_itself_is_not_finite():
    samples = SAMPLES.copy()
    samples[3, 1] = np.nan
    _, failures = score_checked(lambda x, p: x.sum(1), samples, OWNER)
    assert list(failures) == [3]
    assert "which is not finite itself" in failures[3]


def test_a_function_that_fails_on_one_problem_costs_only_that_problems_samples():
    def picky(samples, problem):
        if problem.name == "b":
            raise ValueError("I do not like b")
        return samples.sum(1)

    scorer = FunctionReward(picky).bind([Problem("a", np.zeros(1)), Problem("b", np.zeros(1))])
    rewards, failures = score_checked(scorer, SAMPLES, OWNER)
    assert set(failures) == {1, 3, 5}
    assert rewards[OWNER == 0].tolist() == GOOD[OWNER == 0].tolist()
    assert "raised ValueError on 'b': I do not like b" in failures[1]


def test_the_rewards_own_array_is_left_alone():
    own = np.array([1.0, np.inf])
    score_checked(lambda x, p: own, SAMPLES[:2], OWNER[:2])
    assert own[1] == np.inf


def test_an_empty_batch_calls_nothing():
    scorer = Faulty([], explode)
    rewards, failures = score_checked(scorer, SAMPLES[:0], OWNER[:0])
    assert (len(rewards), failures, scorer.calls) == (0, {}, 0)


def test_an_interrupt_is_not_a_failed_reward():
    def interrupted(samples, problem):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_checked(interrupted, SAMPLES, OWNER)
