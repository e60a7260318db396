"""Any Python function as a reward: the function itself, or its name ``module:function``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.config import load_function
from sadt_ray.interfaces import Problem

RewardFunction = Callable[[np.ndarray, Problem], "np.ndarray | Sequence[float]"]


class FunctionReward:
    """r(x) = f(samples [n, ...], problem) -> n numbers. f is called once per problem of a batch.

    Args:
        function: the function f, or its import name ``"package.module:function"``.
        oracle: whether the function may read ``problem.truth``. Otherwise the truth is ``None``, so that a reward
            cannot read it by accident.

    Raises:
        ValueError: with the name of a module or function that does not exist.
    """

    def __init__(self, function: str | RewardFunction, oracle: bool = False) -> None:
        self.function = _callable(load_function(function, "reward") if isinstance(function, str) else function)
        self.oracle = oracle

    def __repr__(self) -> str:
        return f"FunctionReward({_name(self.function)})"

    def bind(self, problems: Sequence[Problem]) -> FunctionScorer:
        """Bind the problems, without their truth unless the function is an oracle."""
        return FunctionScorer(self.function, problems if self.oracle else [replace(p, truth=None) for p in problems])


class FunctionScorer:
    """A function bound to problems. It gets the rows of a batch problem by problem."""

    def __init__(self, function: RewardFunction, problems: Sequence[Problem]) -> None:
        self.function = function
        self.problems = tuple(problems)

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of samples [B, ...].

        Raises ValueError unless the function returns one number per sample, and RuntimeError if the function raises.
        Both name the problem.
        """
        rewards = np.empty(len(samples))
        for p in np.unique(problem):
            rows = np.flatnonzero(problem == p)
            rewards[rows] = self._of_one_problem(samples[rows], self.problems[p])
        return rewards

    def _of_one_problem(self, samples: np.ndarray, problem: Problem) -> Float[np.ndarray, " n"]:
        name = _name(self.function)
        try:
            returned = self.function(samples, problem)
        except Exception as error:
            no_truth = isinstance(error, TypeError | AttributeError) and problem.truth is None
            hint = " (problem.truth is None for a reward that was not declared an oracle)" if no_truth else ""
            raise RuntimeError(
                f"reward {name} raised {type(error).__name__} on {problem.name!r}: {error}{hint}"
            ) from error
        try:
            rewards = np.asarray(returned, dtype=float)
        except (TypeError, ValueError):
            raise ValueError(f"reward {name} must return numbers, on {problem.name!r} got {returned!r:.80}") from None
        if rewards.shape != (len(samples),):
            raise ValueError(
                f"reward {name} must return one number per sample, shape ({len(samples)},) for samples "
                f"{samples.shape}; on {problem.name!r} it returned shape {rewards.shape}"
            )
        return rewards


def _callable(function: object) -> RewardFunction:
    if not callable(function):
        raise ValueError(f"a reward must be a function f(samples, problem) -> one number per sample, got {function!r}")
    return function


def _name(function: RewardFunction) -> str:
    return f"{function.__module__}:{function.__qualname__}" if hasattr(function, "__qualname__") else repr(function)
