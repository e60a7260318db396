"""The exact mixture: its closed forms, its exact reverse chain, and the diffusion sampler held against them."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from sadt_ray.interfaces import GenerativeProcess, Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixture,
    GaussianMixtureProcess,
    MixtureDenoiser,
    grid_prior,
    nine_mode_posterior,
)

PRIOR, POSTERIOR = grid_prior(), nine_mode_posterior()
RATIO = DensityRatioReward(PRIOR, POSTERIOR)
PROBLEMS = [Problem("a", np.zeros(0))]


def sampled(process, level, n, seed=0):
    """n independent states at a level, and what each cost."""
    chain, zeros, nfe = process.bind(PROBLEMS), np.zeros(n, np.int64), np.zeros(n, np.int64)
    states, seeds = np.repeat(chain.root_states(), n, axis=0), derive_seeds(seed, 0, np.arange(n))
    for at in range(level):
        step = chain.advance(states, zeros + at, zeros, seeds)
        states, nfe = step.states, nfe + step.nfe
    return states, nfe


def exact_draws(mixture, n, seed=0):
    rng = np.random.default_rng(seed)
    means = mixture.means[rng.choice(len(mixture.weights), n, p=mixture.weights)]
    return means + mixture.sd * rng.standard_normal(means.shape)


def marginal_cdf(mixture, axis, sigma):
    spread = np.hypot(mixture.sd, sigma)
    return lambda x: stats.norm.cdf(np.asarray(x)[:, None], mixture.means[:, axis], spread) @ mixture.weights


@pytest.mark.parametrize("branch_steps", ["none", "published", "late", (40, 45, 50, 55, 60, 65, 100)])
@pytest.mark.parametrize("mixture", [PRIOR, POSTERIOR], ids=["25 modes", "9 modes"])
def test_the_reverse_chain_is_exact_at_x_0_however_few_its_steps(mixture, branch_steps):
    process = GaussianMixtureProcess(mixture, branch_steps=branch_steps)
    n = 10_000
    x, nfe = sampled(process, process.num_levels, n)
    for axis in range(2):
        assert stats.kstest(x[:, axis], marginal_cdf(mixture, axis, 0.0)).pvalue > 1e-3
    counts = np.bincount(mixture.nearest_mode(x), minlength=len(mixture.weights))
    assert stats.chisquare(counts, n * mixture.weights).pvalue > 1e-3
    np.testing.assert_array_equal(nfe, 100)


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_states_on_the_way_have_the_noisy_mixture_as_their_law(level):
    process = GaussianMixtureProcess(POSTERIOR, branch_steps=(0, 45, 55, 65, 100))
    x, _ = sampled(process, level, 10_000)
    for axis in range(2):
        cdf, wider = (marginal_cdf(POSTERIOR, axis, factor * process.level_sigma(level)) for factor in (1.0, 1.4))
        assert stats.kstest(x[:, axis], cdf).pvalue > 1e-3
        assert stats.kstest(x[:, axis], wider).pvalue < 1e-3


def test_two_levels_have_the_exact_joint_law():
    """x_s = x_0 + sigma_s e and x_t = x_s + independent noise: Cov(x_s, x_t) = Var(x_s), and increments are normal."""
    process = GaussianMixtureProcess(PRIOR, branch_steps=(45, 60, 100))
    chain, n = process.bind(PROBLEMS), 40_000
    zeros, seeds = np.zeros(n, np.int64), derive_seeds(1, 0, np.arange(n))
    x_t = chain.advance(np.repeat(chain.root_states(), n, axis=0), zeros, zeros, seeds).states
    x_s = chain.advance(x_t, zeros + 1, zeros, seeds).states
    sigma_t, sigma_s = process.level_sigma(1), process.level_sigma(2)
    increment = (x_t - x_s) / np.sqrt(sigma_t**2 - sigma_s**2)
    for axis in range(2):
        assert stats.kstest(increment[:, axis], "norm").pvalue > 1e-3
        assert abs(np.corrcoef(increment[:, axis], x_s[:, axis])[0, 1]) < 4 / np.sqrt(n)
        assert abs(np.corrcoef(np.square(increment[:, axis]), np.square(x_s[:, axis]))[0, 1]) < 4 / np.sqrt(n)


def test_evaluations_are_the_steps_that_a_sampler_would_have_paid():
    process = GaussianMixtureProcess(PRIOR, branch_steps=(0, 30, 100))
    chain = process.bind(PROBLEMS)
    levels = np.array([0, 1, 2])
    step = chain.advance(np.zeros((3, 2)), levels, np.zeros(3, np.int64), derive_seeds(0, 0, levels))
    np.testing.assert_array_equal(step.nfe, [0, 30, 70])


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0, 20.0])
def test_densities_are_those_of_scipy(sigma):
    x = np.random.default_rng(0).normal(scale=8, size=(50, 2))
    covariance = (POSTERIOR.sd**2 + sigma**2) * np.eye(2)
    parts = [stats.multivariate_normal(mean, covariance).logpdf(x) for mean in POSTERIOR.means]
    log_joint = (np.log(POSTERIOR.weights)[:, None] + parts).T
    np.testing.assert_allclose(POSTERIOR.log_density(x, sigma), logsumexp(log_joint, axis=1), rtol=1e-10)
    np.testing.assert_allclose(POSTERIOR.log_joint(x, sigma), log_joint, rtol=1e-10)
    np.testing.assert_allclose(POSTERIOR.posterior(x, sigma).sum(1), 1, rtol=1e-12)


def test_at_lambda_one_the_target_is_the_posterior_and_z_is_one():
    x = exact_draws(PRIOR, 200_000)
    weights = np.exp(RATIO.bind(PROBLEMS)(x, None))
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(len(x))
    nine = PRIOR.nearest_mode(POSTERIOR.means)
    masses = np.bincount(PRIOR.nearest_mode(x), weights, minlength=25) / len(x)
    np.testing.assert_allclose(masses[nine], POSTERIOR.weights, atol=0.01)
    assert masses.sum() - masses[nine].sum() < 1e-4


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0])
def test_the_soft_value_is_the_expectation_of_exp_r_given_the_noisy_state(sigma):
    """By the exact posterior of x_0 given x_t, component by component: a Gaussian integral done on a grid of draws."""
    rng = np.random.default_rng(1)
    for state in np.array([[1.0, 0.5], [-8.0, -6.0], [6.0, 2.0]]):
        picks = rng.choice(25, 100_000, p=PRIOR.posterior(state[None], sigma)[0])
        shrink = PRIOR.sd**2 / (PRIOR.sd**2 + sigma**2)
        mean = PRIOR.means[picks] + shrink * (state - PRIOR.means[picks])
        x_0 = mean + sigma * np.sqrt(shrink) * rng.standard_normal(mean.shape)
        ratios = np.exp(RATIO.soft_value(x_0, 0.0))
        exact = np.exp(RATIO.soft_value(state[None], sigma)[0])
        assert abs(ratios.mean() - exact) < 4.5 * ratios.std() / np.sqrt(len(ratios)) + 1e-9


def test_the_reward_is_the_soft_value_without_noise():
    x = exact_draws(PRIOR, 10)
    np.testing.assert_array_equal(RATIO.bind(PROBLEMS)(x, None), RATIO.soft_value(x, 0.0))


def test_the_denoiser_is_the_score_by_tweedies_formula():
    """D(x) = x + sigma^2 grad log p_sigma(x), the gradient by central differences."""
    import torch

    x = np.random.default_rng(2).normal(scale=6, size=(20, 2))
    for sigma in (0.3, 2.0, 15.0):
        up, down = ([PRIOR.log_density(x + h * e, sigma) for e in np.eye(2)] for h in (1e-5, -1e-5))
        gradient = (np.stack(up, 1) - np.stack(down, 1)) / 2e-5
        denoised = MixtureDenoiser(PRIOR).denoised(torch.as_tensor(x), torch.full((20,), sigma).double(), ())
        np.testing.assert_allclose(denoised.numpy(), x + sigma**2 * gradient, atol=1e-4)


GAUSSIAN = GaussianMixture(np.zeros((1, 2)), np.ones(1), sd=1.0)


def final_variance(num_steps, sigma_max=20.0):
    """Var x_0 of the ancestral chain with an exact denoiser of N(0, 1): linear, so a recursion over its steps."""
    sigmas = SamplerConfig(num_steps=num_steps, sigma_max=sigma_max).sigmas
    variance = 1 + sigma_max**2
    for sigma, sigma_next in itertools.pairwise(sigmas):
        shrink, keep = 1 / (1 + sigma**2), (sigma_next / sigma) ** 2
        variance = (shrink + keep * (1 - shrink)) ** 2 * variance + sigma_next**2 * (1 - keep)
    return variance


def test_the_ancestral_sampler_converges_at_first_order():
    """Its error in the variance of a Gaussian halves as steps double, by theory and, within noise, in the sampler."""
    n = 50_000
    error = np.array([final_variance(num_steps) - 1 for num_steps in (64, 128, 256, 512)])
    np.testing.assert_allclose(error[:-1] / error[1:], 2.0, atol=0.1)
    for num_steps in (8, 16, 32):
        process = DiffusionProcess(MixtureDenoiser(GAUSSIAN), SamplerConfig(num_steps, sigma_max=20.0), "none")
        x, nfe = sampled(process, 1, n)
        assert abs(x.var() / final_variance(num_steps) - 1) < 4 * np.sqrt(2 / (2 * n))
        np.testing.assert_array_equal(nfe, num_steps)


def test_the_diffusion_sampler_finds_the_modes_of_the_mixture_with_more_steps():
    """The exact denoiser through the general process: total variation over the nine modes, noise included."""
    distance = []
    for num_steps in (4, 64):
        process = DiffusionProcess(MixtureDenoiser(POSTERIOR), SamplerConfig(num_steps, sigma_max=80.0), "none")
        x, _ = sampled(process, 1, 4_000)
        masses = np.bincount(POSTERIOR.nearest_mode(x.astype(float)), minlength=9) / len(x)
        distance.append(0.5 * np.abs(masses - POSTERIOR.weights).sum())
    assert distance[1] < 0.04 < 0.08 < distance[0]


def test_features_are_the_state_and_the_logarithm_of_its_spread():
    process = GaussianMixtureProcess(PRIOR, branch_steps=(0, 50, 100))
    features = process.bind(PROBLEMS).features(np.array([[1.0, 2.0]]), np.array([2]), np.array([0]))
    np.testing.assert_allclose(features, [[1.0, 2.0, np.log(np.hypot(PRIOR.sd, process.level_sigma(2)))]])


def test_it_is_a_process_and_keeps_its_schedule_when_it_branches_elsewhere():
    process = GaussianMixtureProcess(PRIOR, num_steps=40, sigma_max=30.0)
    assert isinstance(process, GenerativeProcess)
    elsewhere = process.with_branch_steps((10, 40))
    np.testing.assert_array_equal(elsewhere.sigmas, process.sigmas)
    assert elsewhere.num_levels == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianMixture(np.zeros((2, 2)), np.ones(1), 1.0),
        lambda: GaussianMixture(np.zeros((2, 2)), np.ones(2), 1.0),
        lambda: GaussianMixture(np.zeros((1, 2)), np.ones(1), 0.0),
    ],
)
def test_what_makes_no_mixture_is_refused(make):
    with pytest.raises(ValueError, match="as many weights as means"):
        make()
