"""Where a condition can be drawn into a picture of series: levels and bands over spans of time steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from sadt_ray.conditions.terms import All, Any, Comparison, Condition, Extreme, Linear, Values


class Mark(NamedTuple):
    """One comparison, as a level or a band of one series.

    Attributes:
        channel: number of the series.
        steps: time steps, from 0.
        lower, upper: bounds in the units of the series; infinite for none.
        kind: ``all`` or ``any`` for the value at every or at some time step, ``mean`` for their mean.
        text: the comparison as it was written.
    """

    channel: int
    steps: tuple[int, ...]
    lower: float
    upper: float
    kind: str
    text: str


def marks_of(condition: Condition) -> list[Mark]:
    """What can be drawn: bounds on the largest, smallest, mean, sum or single values of one series.

    Other comparisons, and what stands behind a ``not``, are left out.
    """
    return [mark for each in _comparisons(condition) if (mark := _mark(each)) is not None]


def _comparisons(condition: Condition) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
    elif isinstance(condition, All | Any):
        for part in condition.parts:
            yield from _comparisons(part)


def _mark(c: Comparison) -> Mark | None:
    statistic = c.statistic
    within = (c.sd or 0.0) if c.equality else 0.0
    lower, upper = c.lower - within, c.upper + within
    if isinstance(statistic, Extreme):
        values = statistic.elements
        if not isinstance(values, Values) or not values.single:
            return None
        _, channel, steps = values.terms[0]
        every = lower == -torch.inf if statistic.largest else upper == torch.inf
        return Mark(channel, tuple(steps), lower, upper, "all" if every else "any", c.text)
    if not isinstance(statistic, Linear):
        return None
    used = torch.nonzero(statistic.weights)
    weights = statistic.weights[tuple(used.T)]
    if len(used) == 0 or len(used[:, 0].unique()) > 1 or not bool((weights == weights[0]).all()) or weights[0] <= 0:
        return None
    share = float(weights.sum())
    steps = tuple(used[:, 1].tolist())
    low, high = ((bound - statistic.constant) / share for bound in (lower, upper))
    return Mark(int(used[0, 0]), steps, low, high, "mean" if len(steps) > 1 else "all", c.text)
