"""The copula reward: the density ratio that it says, couplings as they were planted, r~ the soft value itself."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from sadt_ray.interfaces import Problem
from sadt_ray.numerics.logspace import log_mean_exp
from sadt_ray.rewards.copula import CopulaReward, CopulaScorer, with_prior_samples
from sadt_ray.rewards.coupling import Coupling, Scores, fit_coupling, scores_from
from sadt_ray.rewards.look_ahead import Differentiable, LooksAhead

C, K, T = 3, 2, 6
RNG = np.random.default_rng(3)
BASIS = np.linalg.qr(RNG.standard_normal((T, K)))[0].T
CORRELATION = np.array([[[1, 0.9, 0.2], [0.9, 1, 0.3], [0.2, 0.3, 1]], [[1, -0.5, 0], [-0.5, 1, 0.6], [0, 0.6, 1.0]]])
COUPLING = Coupling(BASIS, CORRELATION)
MEAN, FACTOR = RNG.standard_normal((2, C, T)), RNG.standard_normal((2, C, T, T)) / 2  # x_c ~ N(mean, factor factor')


def whitening():
    covariance = np.einsum("kt,pcti,pcsi,ls->pckl", BASIS, FACTOR, FACTOR, BASIS)
    values, axes = np.linalg.eigh(covariance)
    return np.einsum("pcik,pck,pcjk->pcij", axes, values**-0.5, axes) @ BASIS


SCORES = Scores(MEAN, whitening())
SCORER = CopulaScorer(COUPLING, SCORES)
PROBLEM = np.array([0, 1, 1, 0, 1])
X = MEAN[PROBLEM] + np.einsum("bcti,bci->bct", FACTOR[PROBLEM], 0.7 * RNG.standard_normal((5, C, T)))
SHRINK = (0.8, 0.4, 0.0)


def prior_draws(count, seed=0):
    noise = np.random.default_rng(seed).standard_normal((2, count, C, T))
    return MEAN[:, None] + np.einsum("pcti,pnci->pnct", FACTOR, noise)


def residuals(position):
    return SHRINK[position] * (prior_draws(4_000, 9) - MEAN[:, None])


def scores_of(x, problem):
    return np.einsum("bckt,bct->bck", SCORES.whitening[problem], x - SCORES.mean[problem])


def test_it_is_the_log_density_of_the_copula_against_independence():
    u = scores_of(X, PROBLEM)
    expected = sum(
        multivariate_normal(np.zeros(C), CORRELATION[k]).logpdf(u[:, :, k])
        - multivariate_normal(np.zeros(C), np.eye(C)).logpdf(u[:, :, k])
        for k in range(K)
    )
    np.testing.assert_allclose(SCORER(X, PROBLEM), expected)


def test_under_a_gaussian_prior_it_tilts_by_nothing_on_average_and_by_its_information_at_the_target():
    mild = COUPLING.weakened(0.5)
    u = np.random.default_rng(1).standard_normal((200_000, C, K))
    scorer = CopulaScorer(mild, Scores(np.zeros((1, C, K)), np.tile(np.eye(K), (1, C, 1, 1))))
    ratio = np.exp(scorer(u, np.zeros(len(u), int)))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(u))
    coupled = np.stack([u[:, :, k] @ np.linalg.cholesky(mild.correlation[k]).T for k in range(K)], axis=2)
    rewards = scorer(coupled, np.zeros(len(u), int))
    assert abs(rewards.mean() - mild.information) < 4 * rewards.std() / np.sqrt(len(u))
    assert COUPLING.weakened(0.0).information == pytest.approx(0.0, abs=1e-12)
    assert 0 < mild.information < COUPLING.information


@pytest.mark.parametrize("power", [1, 3])
def test_a_coupling_is_found_again_whatever_spreads_and_tails_were_foreseen(power):
    """Directions in which errors are largest, and the correlations of their ranks."""
    rng, count, drawn, sizes = np.random.default_rng(5), 1_000, 100, np.array([3.0, 2.0])
    u = np.stack([rng.standard_normal((count, C)) @ np.linalg.cholesky(CORRELATION[k]).T for k in range(K)], axis=2)
    errors = np.einsum("nck,kt->nct", u**power * sizes, BASIS) + 0.05 * rng.standard_normal((count, C, T))
    scales = np.exp(rng.standard_normal((count, C, 1)))  # as foreseen by each forecast
    noise = rng.standard_normal((count, drawn, C, K)) * sizes
    samples = np.einsum("nmck,kt->nmct", noise, BASIS) + 0.05 * rng.standard_normal((count, drawn, C, T))
    found = fit_coupling(scales[:, None] * samples, scales * errors, rank=K)
    np.testing.assert_allclose(np.abs(found.basis @ BASIS.T), np.eye(K), atol=0.1)
    np.testing.assert_allclose(found.correlation, CORRELATION, atol=0.1)


def test_scores_of_the_priors_own_samples_are_white():
    scores = scores_from(prior_draws(5_000), BASIS)
    u = scores(prior_draws(5_000))
    assert u.shape == (2, 5_000, C, K)
    np.testing.assert_allclose(u.mean(1), 0, atol=1e-9)
    np.testing.assert_allclose(np.einsum("pnck,pncl->pckl", u, u) / 4_999, np.tile(np.eye(K), (2, C, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(scores(X[[0, 1]]), scores_of(X[[0, 1]], np.array([0, 1])), atol=0.2)


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_it_looks_ahead_to_the_soft_value_of_a_gaussian_x_0(lam, position):
    """(1/lambda) log E exp(lambda r(x_0)), by other draws than those that it knows; E r at lambda = 0."""
    ahead = SCORER.look_ahead(residuals, 3, lam)(torch.tensor(X), position, PROBLEM)
    draws = SHRINK[position] * (prior_draws(15_000, 77) - MEAN[:, None])
    for b, p in enumerate(PROBLEM[:3]):
        rewards = SCORER(X[b] + draws[p], np.full(15_000, p))
        exact = rewards.mean() if lam == 0 else log_mean_exp(lam * rewards[None])[0] / lam
        assert ahead.value[b].item() == pytest.approx(exact, rel=0.08, abs=0.15)
    assert ahead.features.shape == (5, 3)
    np.testing.assert_allclose(ahead.features[:, 0], SCORER(X, PROBLEM))
    if position == 2:
        np.testing.assert_allclose(ahead.value, SCORER(X, PROBLEM))


def test_gradients_are_those_of_finite_differences():
    assert isinstance(SCORER, Differentiable)
    assert isinstance(SCORER, LooksAhead)
    ahead = SCORER.look_ahead(residuals, 3, 1.0)
    for function in (lambda x: ahead(x, 1, PROBLEM).value, lambda x: SCORER.score_tensor(x, torch.tensor(PROBLEM))):
        x = torch.tensor(X, requires_grad=True)
        (gradient,) = torch.autograd.grad(function(x).sum(), x)
        step = torch.zeros(C, T, dtype=torch.float64)
        step[1, 4] = 1e-6
        slope = (function(torch.tensor(X) + step) - function(torch.tensor(X) - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, 1, 4], slope, rtol=1e-5, atol=1e-6)


def test_a_direction_is_never_taken_for_more_open_than_under_the_prior():
    """Few draws say so now and then; without a bound the look-ahead would not be finite."""
    few = CopulaScorer(
        Coupling(BASIS, np.tile([[1, 0.99, 0.99], [0.99, 1, 0.99], [0.99, 0.99, 1.0]], (K, 1, 1))), SCORES
    )
    wild = few.look_ahead(lambda at: 3 * (prior_draws(4, at) - MEAN[:, None]), 2, 1.0)
    ahead = wild(torch.tensor(X), 0, PROBLEM)
    assert torch.isfinite(ahead.value).all()
    assert (ahead.features[:, 2] <= 1 + 1e-9).all()


def test_an_inverse_temperature_without_a_target_is_refused():
    with pytest.raises(ValueError, match="at inverse temperature 5 the target of this copula cannot be normalised"):
        SCORER.look_ahead(residuals, 3, 5.0)


def test_what_does_not_fit_is_named():
    problems = [Problem("a", np.zeros(4)), Problem("b", np.zeros(4))]
    with pytest.raises(ValueError, match="problem 'a': the copula reward needs extras 'prior_samples'"):
        CopulaReward(COUPLING).bind(problems)
    known = with_prior_samples(problems, prior_draws(50))
    np.testing.assert_allclose(
        CopulaReward(COUPLING).bind(known)(X, PROBLEM),
        CopulaScorer(COUPLING, scores_from(prior_draws(50), BASIS))(X, PROBLEM),
    )
    with pytest.raises(ValueError, match="2 problems need as many arrays"):
        with_prior_samples(problems, prior_draws(50)[:1])
    with pytest.raises(ValueError, match="too few for 2 directions"):
        CopulaReward(COUPLING).bind(with_prior_samples(problems, prior_draws(4)))
    with pytest.raises(ValueError, match="do not vary"):
        CopulaReward(COUPLING).bind(with_prior_samples(problems, 0 * prior_draws(50)))
    with pytest.raises(ValueError, match="all channels of a problem together"):
        SCORER(X[:, 0], PROBLEM)
    with pytest.raises(ValueError, match="positive definite"):
        Coupling(BASIS[:1], np.array([[[1.0, 1.1], [1.1, 1.0]]]))
    with pytest.raises(ValueError, match="for each direction"):
        Coupling(BASIS, CORRELATION[:1])
    with pytest.raises(ValueError, match="strength"):
        COUPLING.weakened(1.5)
    with pytest.raises(ValueError, match="do not make a coupling"):
        fit_coupling(prior_draws(20), X[:2], rank=2)
