"""Columns of tables where the reward is, or contains, a condition; and what is said where nothing satisfies it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.interfaces import Problem, Reward
from sadt_ray.methods import Method
from sadt_ray.metrics.probability import binomial_interval, bound_without_hits, log_normal_interval
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.runs.results import ProblemSamples, SampleResult

CONDITION_COLUMNS = ("probability", "probability_low", "probability_high", "satisfied")


def conditions_in(reward: Reward | None) -> list[tuple[float, ConditionReward]]:
    """The conditions of a reward with their weights, those within sums included."""
    if isinstance(reward, ConditionReward):
        return [(1.0, reward)]
    if not isinstance(reward, WeightedSum):
        return []
    return [(w * weight, found) for w, term in reward.terms for weight, found in conditions_in(term)]


def is_only_condition(reward: Reward | None, inv_temperature: float) -> bool:
    """Whether exp(lambda r) is the likelihood of conditions, so that Z is their probability."""

    def others(reward: Reward | None) -> bool:
        if isinstance(reward, WeightedSum):
            return any(others(term) for _, term in reward.terms)
        return not isinstance(reward, ConditionReward)

    found = conditions_in(reward)
    return bool(found) and not others(reward) and all(
        math.isclose(weight * inv_temperature, each.inv_temperature) for weight, each in found
    )  # fmt: skip


def condition_columns(
    method: Method, reward: Reward | None, problems: Sequence[Problem], drawn: SampleResult
) -> dict[str, object]:
    """``CONDITION_COLUMNS`` of one method, averages over problems; nothing for a reward without a condition.

    ``probability`` is P = exp(log Z), where the reward is the condition alone; 0 counts for a problem that nothing
    satisfies. Its 95 % interval is that of a binomial law for independent samples and a hard condition, else log-normal
    from the standard errors of log Z. ``satisfied`` is the share of weight that satisfies the hard reading; problems
    without any weight are left out.
    """
    found = conditions_in(reward)
    if not found:
        return {}
    row: dict[str, object] = dict.fromkeys(CONDITION_COLUMNS)
    scorers = [each.bind(problems) for _, each in found]
    shares = []
    for k, samples in enumerate(drawn):
        if not samples.weightless:
            which = np.full(len(samples.samples), k)
            holds = np.all([scorer.satisfied(samples.samples, which) for scorer in scorers], axis=0)
            shares.append(float(samples.weights @ holds))
    row["satisfied"] = float(np.mean(shares)) if shares else None
    if is_only_condition(reward, method.search.inv_temperature):
        row["probability"] = float(np.mean([min(math.exp(samples.log_z), 1.0) for samples in drawn]))
        low, high = _interval(method, drawn)
        row |= {"probability_low": low, "probability_high": high}
    return row


def _interval(method: Method, drawn: SampleResult) -> tuple[float | None, float | None]:
    rewards = np.concatenate([samples.rewards for samples in drawn])
    hard = bool(np.isin(rewards, (0.0, -np.inf)).all())
    if method.branch_steps == "none" and method.smc.plain and hard and len(rewards):
        return binomial_interval(int((rewards == 0).sum()), len(rewards))
    p = np.array([math.exp(samples.log_z) for samples in drawn])
    se = np.array([samples.log_z_se for samples in drawn])
    held = p > 0
    if not held.any() or not np.isfinite(se[held]).all():
        return None, None
    mean = float(p.mean())
    spread = math.sqrt(float(np.square(p[held] * se[held]).sum())) / len(p) / mean
    degrees = sum(max(round(samples.root_ess) - 1, 1) for samples in drawn if samples.log_z > -math.inf)
    return log_normal_interval(math.log(mean), spread, degrees)


def weightless_notes(drawn: SampleResult, reward: Reward | None) -> Iterator[str]:
    """What has to be said where no sample of a problem has any weight: one sentence per method."""
    found = [(k, samples) for k, samples in enumerate(drawn) if samples.by_reward and samples.weightless]
    if not found:
        return
    k, first = found[0]
    yield (
        f"{drawn.method_name}: no sample of {len(found):,} of {len(drawn):,} contexts has any weight under the reward, "
        f"such as {first.name} ({int(drawn.rollouts[k]):,} rollouts{_nearest(k, first, drawn, reward)}); ESS is 0, and "
        "averages leave them out."
    )


def _nearest(k: int, samples: ProblemSamples, drawn: SampleResult, reward: Reward | None) -> str:
    """By how much the nearest sample misses a condition."""
    conditions = conditions_in(reward)
    if not conditions or not len(samples.samples):
        return ""
    missed = conditions[0][1].bind(drawn.problems).shortfall(samples.samples, np.full(len(samples.samples), k))
    unit = samples.problem.scale.unit
    least = int(np.argmin(missed.amount))
    plain = not isinstance(drawn.method, str) and drawn.method.smc.plain and drawn.method.branch_steps == "none"
    bound = f", log P is below {math.log(bound_without_hits(len(missed.amount))):.1f} (95 %)" if plain else ""
    return f"; the nearest misses {missed.comparison[least]!r} by {missed.amount[least]:,.3g} {unit}".rstrip() + bound
