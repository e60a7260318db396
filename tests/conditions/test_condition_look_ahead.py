"""The look-ahead of a condition against closed forms, numerical integration and counting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sadt_ray.api import sample
from sadt_ray.conditions import terms
from sadt_ray.conditions.look_ahead import log_all, log_any, log_probability
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.conditions.units import Units
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.methods import sadt
from sadt_ray.numerics.normal import log_between, score_of
from sadt_ray.processes.walk import walk_from

UNITS = Units(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), several=False)
STEPS = 8
NORMAL = Forecast.from_normal(np.linspace(-1, 1, STEPS), 2.0, correlation=0.8)
SKEWED = Forecast.from_law(stats.lognorm(0.5, scale=np.linspace(1, 2, STEPS)), (STEPS,), correlation=0.8)


def law_at(forecast, position=1, rows=5):
    """Law of x_0 given some x_t of a forecast, and the process's step."""
    chain = forecast.process(num_steps=8).bind(forecast.problems())
    walk = walk_from(chain, chain.root_states()[np.zeros(rows, int)], 0, np.zeros(rows, int))
    seeds = np.arange(rows, dtype=np.uint64)
    while walk.position < position:
        walk.step(seeds)
    ((_, _, law),) = walk.look().law.by_problem(np.zeros(rows, int))
    return law


def counted(law, condition, count=200_000):
    """P(condition | x_t) of the first row, by independent draws of its coordinates."""
    rng = np.random.default_rng(0)
    noise = torch.as_tensor(rng.standard_normal((1, count, law.mean.shape[1]))).to(law.mean)
    conditioning = tuple(column[:1] for column in law.conditioning)
    x = law.decode(law.mean[:1, None] + law.spread[:1, None] * noise, conditioning)
    return float(condition.log_likelihood(UNITS(x.double())).exp().mean())


@pytest.mark.parametrize("bounds", [(3.0, np.inf), (-np.inf, -2.0), (0.0, 0.5), (9.0, np.inf)])
@pytest.mark.parametrize("position", [1, 4])
def test_a_linear_condition_of_a_normal_law_is_exact(bounds, position):
    law, weights = law_at(NORMAL, position), np.linspace(0, 1, STEPS) / STEPS
    condition = terms.Comparison(terms.Linear(torch.as_tensor(weights)[None]), *bounds)
    columns = law.columns().double().numpy()
    mean, sd = law.clean.double().numpy() @ weights, np.linalg.norm(columns @ weights)
    expected = log_between(torch.as_tensor((bounds[0] - mean) / sd), torch.as_tensor((bounds[1] - mean) / sd))
    found = log_probability(condition, law, UNITS)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_a_soft_equality_of_a_normal_law_is_exact():
    law, weights = law_at(NORMAL, 2), np.full(STEPS, 1 / STEPS)
    condition = terms.Comparison(terms.Linear(torch.as_tensor(weights)[None]), 2.0, 2.0, sd=0.5)
    columns = law.columns().double().numpy()
    mean, variance = law.clean.double().numpy() @ weights, np.sum((columns @ weights) ** 2)
    expected = stats.norm.logpdf(2.0, mean, np.sqrt(variance + 0.25)) + np.log(0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(log_probability(condition, law, UNITS), expected, rtol=1e-3)


@pytest.mark.parametrize(
    "condition",
    [
        terms.Comparison(terms.average(0, range(STEPS), (1, STEPS)), 2.6),
        terms.Comparison(terms.largest(0, range(STEPS)), 7.0),
        terms.Comparison(terms.smallest(0, range(STEPS)), upper=0.3),
        terms.Comparison(terms.ramp(0, range(STEPS)), 3.5),
        terms.Comparison(terms.count(0, range(STEPS), 3.0), 3.0),
        terms.Comparison(terms.longest_run(0, range(STEPS), 3.0), 3.0),
        terms.Comparison(terms.average(0, range(STEPS), (1, STEPS)), 1.0, 1.3),
    ],
    ids=["mean", "max", "min", "ramp", "count", "run", "band"],
)
def test_skewed_laws_are_looked_ahead_to_within_a_factor(condition):
    law = law_at(SKEWED, 3)
    probability = counted(law, condition)
    found = float(log_probability(condition, law, UNITS)[0])
    assert probability > 1e-4, "the test counts too few"
    assert abs(found - np.log(probability)) < 1.0, (found, np.log(probability))


def test_the_design_point_finds_the_tail_of_a_sum_of_lognormals():
    """P(x_1 + x_2 > u) by numerical integration over the first score; far out, where moments fail."""
    rho, spread = 0.9, 0.5
    forecast = Forecast.from_law(stats.lognorm(spread), (2,), correlation=rho)
    law, z = law_at(forecast, 1, rows=1), np.linspace(-9, 9, 20_001)
    for u in (6.0, 12.0, 24.0):
        rest = u - np.exp(spread * z)
        score = np.where(rest > 0, np.log(np.maximum(rest, 1e-300)) / spread, -np.inf)
        tail = stats.norm.sf((score - rho * z) / np.sqrt(1 - rho**2))
        truth = np.log(np.trapezoid(stats.norm.pdf(z) * tail, z))
        condition = terms.Comparison(terms.total(0, range(2), (1, 2)), u)
        found = float(log_probability(condition, law, UNITS)[0])  # x_T says next to nothing about x_0
        assert abs(found - truth) < 0.07 * abs(truth), (u, found, truth)


@given(
    st.lists(st.floats(-6, 3), min_size=2, max_size=3),
    st.floats(-0.5, 0.9),
)
@settings(max_examples=25)
def test_intersections_are_near_the_multivariate_normal(scores, rho):
    count = len(scores)
    correlation = np.full((count, count), rho) + (1 - rho) * np.eye(count)
    if np.linalg.eigvalsh(correlation).min() < 0.05:
        return
    truth = stats.multivariate_normal(np.zeros(count), correlation, allow_singular=True).cdf(scores)
    if truth < 1e-9:
        return
    log_p = [torch.tensor([stats.norm.logcdf(b)]) for b in scores]
    found = float(log_all(log_p, torch.as_tensor(correlation))[0])
    assert abs(found - np.log(truth)) < 0.15 * max(1.0, abs(np.log(truth)))


def test_independent_events_multiply_and_unite():
    log_p = [torch.tensor([np.log(0.2)]), torch.tensor([np.log(0.5)])]
    np.testing.assert_allclose(log_all(log_p, torch.eye(2, dtype=torch.double)), np.log(0.1), atol=1e-6)
    np.testing.assert_allclose(log_any(log_p), np.log(0.6), atol=1e-6)


def test_a_union_of_events_that_are_out_of_reach_keeps_its_tail_and_its_gradient():
    log_p = [torch.tensor([-200.0], requires_grad=True), torch.tensor([-201.0], requires_grad=True)]
    found = log_any(log_p)
    found.sum().backward()
    assert float(found.detach()) == pytest.approx(np.logaddexp(-200, -201), abs=1e-4)
    assert float(log_p[0].grad + log_p[1].grad) == pytest.approx(1.0, abs=1e-5)


@given(st.floats(-30, 30), st.floats(1e-3, 50))
def test_an_interval_has_its_probability_far_out_too(lower, width):
    found = float(log_between(torch.tensor(lower, dtype=torch.double), torch.tensor(lower + width, dtype=torch.double)))
    side = -1 if 2 * lower + width > 0 else 1
    ends = sorted((side * lower, side * (lower + width)))
    low, high = stats.norm.logcdf(ends)
    assert found == pytest.approx(high + np.log1p(-np.exp(low - high)), rel=1e-6, abs=1e-9)


@given(st.floats(-500, -1e-5))
def test_scores_are_the_inverse_of_the_log_distribution(log_p):
    found = score_of(torch.tensor([log_p], dtype=torch.double))
    assert float(torch.special.log_ndtr(found)[0]) == pytest.approx(log_p, rel=1e-6, abs=1e-9)


def test_gradients_are_finite_where_the_condition_is_out_of_reach():
    law = law_at(SKEWED, 2)
    for text in ("max > 90", "mean > 40", "ramp > 80", "count(> 30) >= 5", "max > 50 and mean > 20", "mean < -1"):
        scorer = ConditionReward(text, horizon=STEPS).bind(SKEWED.problems())
        chain = SKEWED.process(num_steps=8).bind(SKEWED.problems())
        walk = walk_from(chain, chain.root_states()[np.zeros(3, int)], 0, np.zeros(3, int))
        walk.step(np.arange(3, dtype=np.uint64))
        view = walk.look(gradient=True)
        ahead = scorer.ahead_of(view.law, view.problem, 1.0).value
        assert torch.isfinite(ahead).all(), text
        assert torch.isfinite(walk.gradient(ahead)).all(), text
    assert law.linear is False


@pytest.mark.parametrize("u", [3.0, 6.0, 9.0])
def test_the_probability_of_a_linear_condition_is_found_deep_in_the_tail(u):
    """-3 to -40 nats, in closed form, with its conditional mean."""
    weights = np.full(STEPS, 1 / STEPS)
    r = np.asarray(NORMAL.correlation.matrix).reshape(STEPS, STEPS) * 4
    sd, mean = np.sqrt(weights @ r @ weights), np.linspace(-1, 1, STEPS)
    log_p = stats.norm.logsf(u / sd)
    hazard = np.exp(stats.norm.logpdf(u / sd) - log_p)
    expected = mean + r @ weights / sd * hazard
    found = []
    for seed in range(6):
        method = sadt(n_rollouts=128, guidance_scale=1.0, seed=seed)
        reward = ConditionReward(f"mean > {u}", horizon=STEPS)
        found.append(sample(NORMAL.process(), NORMAL.problems(), reward, method, flow=None, progress=False)[0])
    log_zs = np.array([each.log_z for each in found])
    assert abs(np.log(np.mean(np.exp(log_zs - log_p)))) < 0.15
    np.testing.assert_allclose(np.mean([each.mean() for each in found], axis=0), expected, atol=0.25)


@pytest.mark.parametrize("text", ["max > 4 and mean > 2", "mean > 2.5", "ramp > 2", "count(> 2) >= 3 or min < 0.4"])
def test_a_row_is_looked_ahead_to_alike_in_every_batch(text):
    scorer = ConditionReward(text, horizon=STEPS).bind(SKEWED.problems())
    chain = SKEWED.process(num_steps=8).bind(SKEWED.problems())
    for position in (1, 5):
        walk = walk_from(chain, chain.root_states()[np.zeros(40, int)], 0, np.zeros(40, int))
        while walk.position < position:
            walk.step(np.arange(40, dtype=np.uint64))
        together = scorer.ahead_of(walk.look().law, np.zeros(40, int), 1.0).value
        walk.take(np.array([7, 30]))
        alone = scorer.ahead_of(walk.look().law, np.zeros(2, int), 1.0).value
        np.testing.assert_allclose(alone, together[[7, 30]], rtol=2e-3, atol=2e-3)
