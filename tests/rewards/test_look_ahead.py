"""What a reward promises of x_0 beforehand: exact where it can be, the expected spectrum where the reward is one."""

import numpy as np
import pytest
import torch

from sadt_ray.interfaces import Problem
from sadt_ray.numerics.psd import welch
from sadt_ray.rewards.combine import SumScorer, WeightedSum
from sadt_ray.rewards.look_ahead import (
    NUM_DRAWS,
    Differentiable,
    LooksAhead,
    clean_score,
    is_differentiable,
    look_ahead_of,
)
from sadt_ray.rewards.second_opinion import LinearScorer
from sadt_ray.rewards.spectral import SpectralReward

T, DRAWS = 32, 4_000
RNG = np.random.default_rng(0)
FACTOR = 0.4 * RNG.standard_normal((2, T, T)) / np.sqrt(T)  # x_0 - x0_hat = shrink_t * FACTOR e: correlated in time
SHRINK = (1.0, 0.5, 0.1, 0.0)
SLOPES, ORIGINS = RNG.standard_normal((2, T)), RNG.standard_normal((2, T))
LINEAR = LinearScorer(SLOPES, ORIGINS)
PROBLEMS = [Problem(f"p{i}", RNG.standard_normal(120).cumsum() / 3) for i in range(2)]
SPECTRAL = SpectralReward(spectral_weight=1.5, nperseg=16).bind(PROBLEMS)
CLEAN = torch.tensor(RNG.standard_normal((6, T)) / 2)
PROBLEM = np.array([0, 1, 0, 1, 1, 0])


def residuals(position):
    noise = np.random.default_rng(position).standard_normal((2, DRAWS, T))
    return SHRINK[position] * np.einsum("ptk,prk->prt", FACTOR, noise)


class Mystery:
    """A scorer that nothing is known of."""

    def __call__(self, samples, problem):
        return samples[:, 0] - problem


@pytest.mark.parametrize("lam", [0.5, 2.0])
@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_of_a_linear_reward_it_is_the_soft_value_of_a_gaussian_x_0(position, lam):
    """(1/lambda) log E exp(lambda r) = r(x0_hat) + lambda a'Ca / 2."""
    ahead = LINEAR.look_ahead(residuals, 4, lam)(CLEAN, position, PROBLEM)
    sd = SHRINK[position] * np.linalg.norm(np.einsum("pt,ptk->pk", SLOPES, FACTOR), axis=1)
    reward = LINEAR(CLEAN.numpy(), PROBLEM)
    np.testing.assert_allclose(ahead.value.numpy() - reward, lam / 2 * sd[PROBLEM] ** 2, rtol=0.1, atol=1e-9)
    np.testing.assert_allclose(ahead.features[:, 0], reward, rtol=1e-9)
    np.testing.assert_allclose(ahead.features[:, 1], sd[PROBLEM], rtol=0.06)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_of_the_spectral_reward_it_is_that_of_the_spectrum_to_be_expected(position):
    """E[S(x_0) | x_t] by other draws than those that it knows."""
    value = SPECTRAL.look_ahead(residuals, 4, 1.0)(CLEAN, position, PROBLEM).value
    noise = np.random.default_rng(99).standard_normal((6, 8_000, T))
    scatter = SHRINK[position] * np.einsum("btk,brk->brt", FACTOR[PROBLEM], noise)
    expected = welch(CLEAN[:, None] + torch.tensor(scatter), 16).mean(1)
    target = SPECTRAL.context_log_psds[PROBLEM]
    exact = -1.5 * ((expected + SPECTRAL.reward.eps).log() - target).abs().mean(-1)
    np.testing.assert_allclose(value, exact, atol=0.03)
    if position == 0:
        at_clean = clean_score(SPECTRAL, CLEAN, PROBLEM)
        assert (exact - at_clean).abs().min() > 0.1  # what r(x0_hat) misses


def test_where_nothing_is_open_it_is_the_reward_itself():
    for scorer in (SPECTRAL, LINEAR):
        value = scorer.look_ahead(residuals, 4, 1.0)(CLEAN, 3, PROBLEM).value
        np.testing.assert_allclose(value, scorer(CLEAN.numpy(), PROBLEM), rtol=1e-9)


SUM = SumScorer([(0.7, SPECTRAL), (-0.4, LINEAR)])


@pytest.mark.parametrize("scorer", [SPECTRAL, LINEAR, SUM], ids=["spectral", "linear", "sum"])
@pytest.mark.parametrize("position", [0, 2])
def test_gradients_are_those_of_finite_differences(scorer, position):
    ahead = scorer.look_ahead(residuals, 4, 1.3)
    clean = CLEAN.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ahead(clean, position, PROBLEM).value.sum(), clean)
    for t in (0, 7, 31):
        h = torch.zeros(T).double()
        h[t] = 1e-6
        up, down = (ahead(CLEAN + sign * h, position, PROBLEM).value for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, t], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


def test_of_a_sum_it_is_the_sum_with_each_term_at_its_own_temperature():
    """lambda w_k: the soft value of a linear term grows with the square of its weight."""
    lam = 1.7
    ahead = SUM.look_ahead(residuals, 4, lam)(CLEAN, 0, PROBLEM)
    spectral = SPECTRAL.look_ahead(residuals, 4, 0.7 * lam)(CLEAN, 0, PROBLEM)
    linear = LINEAR.look_ahead(residuals, 4, -0.4 * lam)(CLEAN, 0, PROBLEM)
    np.testing.assert_allclose(ahead.value, 0.7 * spectral.value - 0.4 * linear.value, rtol=1e-9)
    assert ahead.features.shape[1] == spectral.features.shape[1] + linear.features.shape[1]
    both = SumScorer([(1.0, LINEAR), (1.0, LINEAR)]).look_ahead(residuals, 4, lam)
    alone = LINEAR.look_ahead(residuals, 4, lam)
    reward, scatter = LINEAR(CLEAN.numpy(), PROBLEM), alone(CLEAN, 0, PROBLEM).features[:, 1].numpy()
    np.testing.assert_allclose(both(CLEAN, 0, PROBLEM).value, 2 * (reward + lam / 2 * scatter**2), rtol=1e-9)


def test_of_no_terms_it_is_zero():
    ahead = look_ahead_of(WeightedSum().bind(PROBLEMS), residuals, 4, 1.0)(CLEAN, 0, PROBLEM)
    np.testing.assert_array_equal(ahead.value, 0)
    assert ahead.features.shape == (6, 1)


def test_a_scorer_that_has_none_is_asked_at_x0_hat_where_no_law_is_known():
    ahead = look_ahead_of(Mystery(), residuals, 4, 1.0)
    at_clean = CLEAN[:, 0].numpy() - PROBLEM
    np.testing.assert_allclose(ahead(CLEAN, 0, PROBLEM).value, at_clean)
    assert ahead.reward_calls == NUM_DRAWS
    mixed = SumScorer([(1.0, LINEAR), (2.0, Mystery())]).look_ahead(residuals, 4, 1.0)
    linear = LINEAR.look_ahead(residuals, 4, 1.0)(CLEAN, 1, PROBLEM).value.numpy()
    np.testing.assert_allclose(mixed(CLEAN, 1, PROBLEM).value, linear + 2 * at_clean)
    assert mixed.reward_calls == NUM_DRAWS
    assert SUM.look_ahead(residuals, 4, 1.0).reward_calls == 0
    assert SPECTRAL.look_ahead(residuals, 4, 1.0).multiply_adds > T


def test_a_scorer_that_fails_at_an_x0_hat_does_not_know_and_others_do():
    def scorer(samples, problem):
        if (samples[:, 0] == CLEAN[2, 0].item()).any():
            raise RuntimeError("no such series")
        return np.where(problem == 1, np.inf, 1.0)

    np.testing.assert_array_equal(clean_score(scorer, CLEAN, PROBLEM), [1, np.nan, np.nan, np.nan, np.nan, 1])


def test_who_is_differentiable_and_who_looks_ahead():
    partly = SumScorer([(1.0, LINEAR), (1.0, Mystery())])
    assert [is_differentiable(s) for s in (LINEAR, SPECTRAL, SUM, Mystery(), partly)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert all(isinstance(s, Differentiable) and isinstance(s, LooksAhead) for s in (LINEAR, SPECTRAL, SUM))
    assert not isinstance(Mystery(), LooksAhead)
    value = partly.score_tensor(CLEAN, torch.tensor(PROBLEM))
    np.testing.assert_allclose(value, partly(CLEAN.numpy(), PROBLEM))
