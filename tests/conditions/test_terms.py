"""Likelihoods of joined conditions are those of probability, to the far tail, and gradients exist where they should."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.conditions.terms import (
    All,
    Any,
    Comparison,
    Linear,
    Not,
    average,
    combined,
    count,
    deviation,
    largest,
    longest_run,
    missed_by,
    ramp,
    smallest,
    spread,
    total,
)

SHAPE = (2, 6)


def value(step, **bounds):
    return Comparison(total(0, [step], SHAPE), **bounds)


def sample(*values):
    x = torch.zeros(SHAPE, dtype=torch.double)
    x[0, : len(values)] = torch.tensor(values, dtype=torch.double)
    return x


def test_or_and_not_follow_the_rules_of_probability():
    x = sample(0.3, -0.7, 1.1)
    parts = [value(0, lower=0.0, sd=1.0), value(1, upper=-1.0, sd=0.5), value(2, lower=1.0, upper=1.0, sd=0.3)]
    p = [math.exp(float(part.log_likelihood(x))) for part in parts]
    assert math.exp(float(All(parts).log_likelihood(x))) == pytest.approx(np.prod(p))
    assert math.exp(float(Any(parts).log_likelihood(x))) == pytest.approx(1 - np.prod([1 - each for each in p]))
    for condition in (All(parts), Any(parts), Any([All(parts[:2]), Not(parts[2])])):
        log_l, log_c = condition.log_likelihood(x), condition.log_complement(x)
        assert float(log_l.exp() + log_c.exp()) == pytest.approx(1.0)
        assert float(Not(condition).log_likelihood(x)) == float(log_c)


def test_far_tails_are_not_lost_to_rounding():
    near = sample(40.0, -40.0)
    far = value(0, lower=0.0, sd=1.0)
    exact = float(torch.special.log_ndtr(torch.tensor(-40.0, dtype=torch.double)))
    assert float(Not(far).log_likelihood(near)) == pytest.approx(exact)
    neither = Any([value(1, lower=0.0, sd=1.0), value(1, lower=0.0, sd=1.0)])
    assert float(neither.log_likelihood(near)) == pytest.approx(exact + math.log(2))


def test_gradients_are_finite_where_a_hard_part_fails():
    x = sample(-1.0, -2.0).requires_grad_()
    mixed = Any([value(0, lower=0.0), All([value(1, lower=0.0, sd=1.0), value(0, lower=-3.0)])])
    mixed.log_likelihood(x).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad[0, 1] > 0
    dead = Any([value(0, lower=0.0), All([value(1, lower=0.0), value(1, upper=5.0, sd=1.0)])])
    log_l = dead.log_likelihood(x)
    assert float(log_l.detach()) == -math.inf
    (gradient,) = torch.autograd.grad(log_l, x)
    assert torch.isfinite(gradient).all()


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.integers(0, 2**32 - 1))
def test_a_sample_misses_by_zero_exactly_where_the_condition_holds(values, seed):
    rng = np.random.default_rng(seed)

    def tree(depth):
        kind = rng.integers(4) if depth else 0
        if kind == 0:
            bounds = {rng.choice(["lower", "upper"]): rng.normal()}
            return value(int(rng.integers(3)), **bounds, strict=bool(rng.integers(2)))
        if kind == 1:
            return Not(tree(depth - 1))
        return (All, Any)[kind - 2](tuple(tree(depth - 1) for _ in range(2)))

    condition, x = tree(3), sample(*values)
    missed = missed_by(condition, x)
    assert bool(condition.holds(x)) == (float(missed.amount) == 0.0)
    assert bool(condition.holds(x)) == (float(condition.log_likelihood(x)) == 0.0)
    assert 0 <= int(missed.comparison) < sum(1 for _ in condition.comparisons())


def test_of_all_the_worst_counts_and_of_any_the_nearest():
    x = sample(1.0, 2.0)
    parts = (value(0, lower=4.0), value(1, lower=10.0))
    assert [float(each) for each in missed_by(All(parts), x)] == [8.0, 1.0]
    assert [float(each) for each in missed_by(Any(parts), x)] == [3.0, 0.0]
    assert [float(each) for each in missed_by(Not(Any((value(0, upper=4.0), value(1, upper=10.0)))), x)] == [8.0, 1.0]
    batch = missed_by(All(parts), torch.stack([x, sample(0.0, 9.5)]))
    assert batch.amount.tolist() == [8.0, 4.0]
    assert batch.comparison.tolist() == [1, 0]
    assert float(value(0, lower=3.0, upper=3.0, sd=0.5).shortfall(x)) == 1.5


@given(st.integers(0, 2**32 - 1), st.sampled_from([(0, 1, 2, 3, 4, 5), (0, 1, 3, 4, 5), (1, 3, 5), (0, 2, 3)]))
def test_statistics_with_gaps_in_their_span(seed, steps):
    x = np.random.default_rng(seed).integers(-2, 3, (4, *SHAPE)).astype(float)
    t, v = torch.as_tensor(x), x[:, 1, list(steps)]
    for statistic, expected in (
        (total(1, steps, SHAPE), v.sum(1)),
        (average(1, steps, SHAPE), v.mean(1)),
        (largest(1, steps), v.max(1)),
        (smallest(1, steps), v.min(1)),
        (deviation(1, steps), v.std(1)),
        (spread(1, steps), np.ptp(v, axis=1)),
        (count(1, steps, 0.0), (v > 0).sum(1)),
        (count(1, steps, 0.0, above=False), (v < 0).sum(1)),
        (longest_run(1, steps, 0.0), [best_run(row > 0, steps) for row in v]),
    ):
        np.testing.assert_allclose(statistic(t), expected, atol=1e-12)
    pairs = [k for k, (a, b) in enumerate(itertools.pairwise(steps)) if b == a + 1]
    if pairs:
        np.testing.assert_allclose(ramp(1, steps)(t), abs(np.diff(v, axis=1))[:, pairs].max(1))
    else:
        with pytest.raises(ValueError, match="two neighbouring time steps"):
            ramp(1, steps)


def best_run(flags, steps):
    return max(
        (
            b - a + 1
            for a in steps
            for b in steps
            if b >= a and all(k in steps and flags[steps.index(k)] for k in range(a, b + 1))
        ),
        default=0,
    )


def test_an_extreme_less_something_linear_is_an_extreme():
    x = torch.as_tensor(np.random.default_rng(0).normal(size=(5, *SHAPE)))
    both = combined([(-2.0, largest(0, range(6))), (3.0, average(1, range(6), SHAPE))])
    torch.testing.assert_close(both(x), -2 * x[:, 0].amax(1) + 3 * x[:, 1].mean(1))
    torch.testing.assert_close(both.elements(x).amin(1), both(x))
    assert not both.largest
    assert isinstance(combined([(2.0, total(0, [1], SHAPE)), (1.0, total(1, [2], SHAPE))]), Linear)
