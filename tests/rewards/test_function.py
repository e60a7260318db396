"""Any function may be a reward; what is wrong with it is said before the search, or with the problem's name."""

import sys

import numpy as np
import pytest

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.rewards.function import FunctionReward

PROBLEMS = [Problem(name, np.full(4, offset)) for name, offset in (("a", 1.0), ("b", 10.0))]
SAMPLES = np.arange(10.0).reshape(5, 2)
OWNER = np.array([1, 0, 1, 1, 0])


def above_context(samples, problem):
    return samples.sum(1) - problem.context[0]


def test_mixed_batches_are_handed_over_problem_by_problem():
    calls = []

    def reward(samples, problem):
        calls.append((problem.name, len(samples)))
        return above_context(samples, problem)

    rewards = FunctionReward(reward).bind(PROBLEMS)(SAMPLES, OWNER)
    assert rewards.tolist() == [1 - 10, 5 - 1, 9 - 10, 13 - 10, 17 - 1]
    assert calls == [("a", 2), ("b", 3)]


def test_a_function_is_imported_from_module_and_name(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text("def score(samples, problem):\n    return [7.0] * len(samples)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    assert FunctionReward("my_rewards:score").bind(PROBLEMS)(SAMPLES, OWNER).tolist() == [7.0] * 5
    with pytest.raises(ValueError, match="module 'my_rewards' has no 'scoer'; it has: score"):
        FunctionReward("my_rewards:scoer")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module_of_mine:f", "cannot import 'no_such_module_of_mine'.*ModuleNotFoundError.*PYTHONPATH"),
        ("math", "written module:function.*got 'math'"),
        (":f", "written module:function"),
        ("math:pi", "must be a function.*3.14"),
        (3, "must be a function.*got 3"),
    ],
)
def test_a_function_that_cannot_be_had_is_refused_at_once(spec, message):
    with pytest.raises(ValueError, match=message):
        FunctionReward(spec)


def test_a_module_that_raises_on_import_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_rewards.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"cannot import 'broken_rewards'.*ZeroDivisionError: division by zero"):
        FunctionReward("broken_rewards:f")


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x, p: x, ValueError, r"one number per sample, shape \(2,\) .*on 'a' it returned shape \(2, 2\)"),
        (lambda x, p: 1.0, ValueError, r"returned shape \(\)"),
        (lambda x, p: ["high", "low"], ValueError, r"must return numbers, on 'a' got \['high', 'low'\]"),
        (lambda x, p: None, ValueError, r"returned shape \(\)|must return numbers"),
        (lambda x, p: 1 / 0, RuntimeError, "raised ZeroDivisionError on 'a': division by zero"),
    ],
)
def test_a_function_that_misbehaves_is_reported_with_the_problem(function, error, message):
    with pytest.raises(error, match=message):
        FunctionReward(function).bind(PROBLEMS)(SAMPLES, OWNER)


def test_only_an_oracle_sees_the_truth():
    known = [Problem("a", np.zeros(4), truth=np.ones(2))]

    def distance(samples, problem):
        return -np.abs(samples - problem.truth).sum(1)

    owner = np.zeros(5, int)
    assert FunctionReward(distance, oracle=True).bind(known)(SAMPLES, owner)[0] == -1.0
    with pytest.raises(RuntimeError, match="truth is None for a reward that was not declared an oracle"):
        FunctionReward(distance).bind(known)(SAMPLES, owner)


def test_it_is_a_reward_and_an_oracle_if_it_says_so():
    assert isinstance(FunctionReward(above_context), Reward)
    assert FunctionReward(above_context).oracle is False
    assert FunctionReward(above_context, oracle=True).oracle is True
