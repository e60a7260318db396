"""A condition as a reward: r(x) = log L(x) / lambda, so that the target p(x) exp(lambda r(x)) is p(x) L(x)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadt_ray.conditions.look_ahead import log_probability
from sadt_ray.conditions.parse import ParsedCondition, parse_condition
from sadt_ray.conditions.syntax import Chain, ConditionError, During, Negated, Tree, has_tally
from sadt_ray.conditions.terms import Condition, missed_by
from sadt_ray.conditions.units import Units
from sadt_ray.interfaces import Problem
from sadt_ray.numerics.clean_law import CleanLaw
from sadt_ray.rewards.look_ahead import Ahead


class ConditionReward:
    """r(x) = log L(x) / lambda, of a condition in the units and dates of the file.

    The target's log-density gets lambda r = log L whatever lambda is, if lambda is the one of the search.

    Args:
        condition: text such as ``"max[day 1] > 1500"``, a parsed condition, or terms.
        inv_temperature: lambda of the search.
        horizon: number of time steps T of a sample. Without it T is that of the problem's truth, or else becomes known
            with the first samples.

    Raises:
        ConditionError: for text that cannot be read.
        ValueError: for a lambda that is not a positive number.
    """

    oracle = False

    def __init__(
        self, condition: str | ParsedCondition | Condition, inv_temperature: float = 1.0, horizon: int | None = None
    ) -> None:
        if not 0 < inv_temperature < math.inf:
            raise ValueError(f"the inverse temperature must be a positive number, got {inv_temperature}")
        self.condition = parse_condition(condition) if isinstance(condition, str) else condition
        self.inv_temperature = float(inv_temperature)
        self.horizon = horizon

    @property
    def text(self) -> str:
        """The condition as it is written; of terms, the texts of their comparisons."""
        if isinstance(self.condition, ParsedCondition):
            return str(self.condition)
        return "; ".join(each.text or "a comparison" for each in self.condition.comparisons())

    def __repr__(self) -> str:
        lam = "" if self.inv_temperature == 1.0 else f", inv_temperature={self.inv_temperature:g}"
        return f"ConditionReward({self.text!r}{lam})"

    def bind(self, problems: Sequence[Problem]) -> ConditionScorer:
        """Resolve the condition for each problem whose horizon is known.

        Raises:
            ConditionError, ValueError: with the name of a problem that it does not fit.
        """
        return ConditionScorer(self, problems)


class Shortfalls(NamedTuple):
    """By how much B samples miss a condition."""

    amount: Float[np.ndarray, " B"]  # in the units of the comparison; 0 where the condition holds
    comparison: list[str]  # B texts: the comparison that is missed most; within an ``or`` the nearest one


class ConditionScorer:
    """A condition bound to problems. Samples are in the units of the samples; the condition is in those of the file."""

    def __init__(self, reward: ConditionReward, problems: Sequence[Problem]) -> None:
        self.reward = reward
        self.problems = tuple(problems)
        self._known: dict[tuple[int, tuple[int, int]], Condition] = {}
        self._shapes: dict[int, tuple[int, int]] = {}
        for p, problem in enumerate(self.problems):
            horizon = reward.horizon or (None if problem.truth is None else np.shape(problem.truth)[-1])
            if horizon:
                self._resolved(p, (len(problem.scale.channels), int(horizon)))

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """log L / lambda of samples [B, T] or [B, C, T]; NaN for a sample that is not finite.

        Raises ConditionError or ValueError for samples that do not fit the problem or the condition.
        """

        def rewards(x: Tensor, condition: Condition) -> Tensor:
            found = condition.log_likelihood(x) / self.reward.inv_temperature
            return torch.where(x.isfinite().all(-1).all(-1), found, torch.nan)

        return self._by_problem(samples, problem, rewards).numpy()

    def score_tensor(self, x: Tensor, problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Rewards as a function of a tensor [B, T] or [B, C, T]. Gradients flow through soft comparisons."""
        return self._by_problem(
            x,
            problem.cpu().numpy(),
            lambda each, condition: condition.log_likelihood(each) / self.reward.inv_temperature,
        )

    def ahead_of(self, law: CleanLaw, problem: Int[np.ndarray, " B"], inv_temperature: float) -> Ahead:
        """An approximation of log E[L(x_0) | x_t] / lambda, differentiable, see ``conditions.look_ahead``."""
        channels, horizon = law.clean.shape[1] if law.clean.ndim == 3 else 1, law.clean.shape[-1]
        found = torch.empty_like(law.mean[:, 0])
        for p, rows, part in law.by_problem(problem):
            units = Units.of_problem(self.problems[p], law.clean.ndim == 3, channels)
            log_p = log_probability(self._resolved(p, (channels, horizon)), part, units)
            found = found.index_put((rows,), (log_p / self.reward.inv_temperature).to(found))
        return Ahead(found, found[:, None])

    def margin(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """0 where the condition holds, else by how much it is missed, negative; +inf of a condition that is soft."""
        if self.differentiable:
            return np.full(len(samples), np.inf)
        return -self.shortfall(samples, problem).amount

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow: every comparison is soft, and none counts time steps."""
        condition = self.reward.condition
        if isinstance(condition, ParsedCondition):
            return _is_soft(condition.tree)
        return all(each.sd is not None and not each.whole for each in condition.comparisons())

    def satisfied(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
        """Whether each sample satisfies the condition: without its standard deviations, equalities within one sd."""
        return self._by_problem(samples, problem, lambda x, condition: condition.holds(x), torch.bool).numpy()

    def shortfall(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Shortfalls:
        """By how much each sample misses the condition, in the units of the file, and which comparison that is."""
        amount = self._by_problem(samples, problem, lambda x, condition: missed_by(condition, x).amount)
        number = self._by_problem(samples, problem, lambda x, condition: missed_by(condition, x).comparison, torch.long)
        shape = np.shape(samples)
        texts: dict[int, list[str]] = {}
        for p in np.unique(problem).tolist():
            condition = self._resolved(p, self._shape_of(p, shape))
            texts[p] = [each.text or "a comparison" for each in condition.comparisons()]
        return Shortfalls(
            amount.numpy(), [texts[int(p)][int(k)] for p, k in zip(problem, number.tolist(), strict=True)]
        )

    def condition(self, problem: int) -> Condition:
        """The condition of problem number ``problem``, on samples [..., C, T] in the units of the file.

        Raises ValueError if the horizon is not known yet.
        """
        if problem not in self._shapes:
            name = self.problems[problem].name
            raise ValueError(f"the horizon of {name} is not known; give it with ConditionReward(..., horizon=T)")
        return self._known[problem, self._shapes[problem]]

    def to_units(self, x: Float[Tensor, "*n T"], problem: int) -> Float[Tensor, "*m C T"]:
        """Samples [..., T], or [..., C, T] of a problem with C series, in the units of the file: mean + std x."""
        scale, context = self.problems[problem].scale, self.problems[problem].context
        stacked = len(scale.channels) > 1 or np.ndim(context) > 1
        return self._in_units(x if stacked else x[..., None, :], problem)

    def _in_units(self, x: Tensor, problem: int) -> Tensor:
        scale = self.problems[problem].scale
        mean, std = (torch.tensor(each, dtype=x.dtype, device=x.device)[:, None] for each in (scale.mean, scale.std))
        return mean + std * x

    def _by_problem(
        self,
        samples: np.ndarray | Tensor,
        problem: Int[np.ndarray, " B"],
        function: Callable[[Tensor, Condition], Tensor],
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        x = samples if isinstance(samples, Tensor) else torch.as_tensor(np.ascontiguousarray(samples, dtype=float))
        parts, rows = [], []
        for p in np.unique(problem).tolist():
            condition = self._resolved(p, self._shape_of(p, tuple(x.shape)))
            mine = torch.as_tensor(np.flatnonzero(problem == p), device=x.device)
            one = x[mine] if x.ndim == 3 else x[mine][:, None, :]
            parts.append(function(self._in_units(one, p), condition))
            rows.append(mine)
        if not parts:
            return torch.zeros(0, dtype=dtype or x.dtype)
        return torch.cat(parts)[torch.argsort(torch.cat(rows))]

    def _shape_of(self, problem: int, shape: tuple[int, ...]) -> tuple[int, int]:
        if len(shape) not in (2, 3):
            raise ValueError(f"a condition is about samples [B, T] or [B, C, T], got shape {tuple(shape)}")
        return (shape[1] if len(shape) == 3 else 1), shape[-1]

    def _resolved(self, problem: int, shape: tuple[int, int]) -> Condition:
        if (problem, shape) not in self._known:
            self._known[problem, shape] = self._resolve(self.problems[problem], shape)
        self._shapes.setdefault(problem, shape)
        return self._known[problem, shape]

    def _resolve(self, problem: Problem, shape: tuple[int, int]) -> Condition:
        condition = self.reward.condition
        if not isinstance(condition, ParsedCondition):
            return condition
        try:
            return condition.resolve(problem, shape)
        except ConditionError as error:
            raise error.about(problem.name) from None


def _is_soft(tree: Tree) -> bool:
    if isinstance(tree, Chain):
        soft = tree.tolerance is not None and tree.tolerance[0] == "~"
        return soft and not any(map(has_tally, tree.operands))
    if isinstance(tree, Negated):
        return _is_soft(tree.part)
    if isinstance(tree, During):
        return _is_soft(tree.inner)
    return all(map(_is_soft, tree.parts))  # type: ignore[union-attr]
