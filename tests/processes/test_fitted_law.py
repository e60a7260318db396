"""A law fitted on samples: it guides, it changes neither the prior nor E[Z_hat], and it is paid for once."""

import math

import numpy as np
import pytest
import torch
from smc_worlds import PROBLEMS, GaussianWorld, GlancingDenoiser, is_bare

from benchmarks.apparatus.mixture_denoiser import Bare, Mixture
from sadt_ray.api import search
from sadt_ray.interfaces import Problem
from sadt_ray.methods import sadt
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import DiffusionProcess, DraftsDenoised, KnowsCoordinates, SamplerConfig
from sadt_ray.processes.fitted_law import FittedLawDenoiser, chain_with_fitted_law, shrunk_covariance, with_fitted_law
from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.processes.sampling import sample_prior
from sadt_ray.rewards.function import FunctionReward

SAMPLER = SamplerConfig(num_steps=8, sigma_min=0.05, sigma_max=12.0)
PROBLEM = Problem("one", np.zeros(1))
SETUP = 64 * SAMPLER.num_steps


def two_days():
    """Two components far apart, of different shapes: not Gaussian."""
    covariances = np.array([[[0.5, 0.3, 0.1], [0.3, 0.6, 0.2], [0.1, 0.2, 0.4]], np.diag([0.2, 1.0, 0.1])])
    return Bare(Mixture(np.array([0.7, 0.3]), np.array([[-1.0, 0.0, 0.5], [2.0, 1.0, -1.0]]), covariances))


PROCESS = DiffusionProcess(two_days(), SAMPLER, "none")


def rough(samples, problem):
    """A reward without a gradient, of one sample or of parts stacked."""
    total = samples.reshape(len(samples), -1)
    return 0.8 * np.abs(total).max(1) + (total[:, 0] > 1.0)


class RotatedDenoiser(GlancingDenoiser):
    """Knows its covariance in other coordinates, and has a draft."""

    clean_spread = None

    def to_coordinates(self, x, conditioning):
        return x.flip(-1)

    def from_coordinates(self, y, conditioning):
        return y.flip(-1)

    def coordinate_spread(self, sigma, conditioning):
        return GlancingDenoiser.clean_spread(self, sigma, conditioning).flip(-1)


def test_the_denoiser_of_the_test_has_nothing_but_the_protocol():
    assert is_bare(PROCESS.denoiser)
    assert not PROCESS.bind([PROBLEM]).supports_guidance
    assert not PROCESS.bind([PROBLEM]).can_choose


def test_the_prior_stays_what_it_is():
    fitted = with_fitted_law(PROCESS)
    assert isinstance(fitted.denoiser, DraftsDenoised)
    assert isinstance(fitted.denoiser, KnowsCoordinates)
    np.testing.assert_array_equal(sample_prior(fitted, [PROBLEM], 50), sample_prior(PROCESS, [PROBLEM], 50))


def test_a_process_that_lacks_nothing_comes_back_itself():
    process = GaussianWorld(GlancingDenoiser()).process
    assert with_fitted_law(process) is process
    chain = process.bind(PROBLEMS)
    assert chain_with_fitted_law(chain) == (chain, 0)
    fitted = with_fitted_law(PROCESS)
    assert with_fitted_law(fitted) is fitted
    rotated = DiffusionProcess(RotatedDenoiser(), GaussianWorld.sampler, "none")
    assert with_fitted_law(rotated) is rotated


def test_the_law_is_that_of_the_samples_and_conditioning_follows_from_it():
    fitted = FittedLawDenoiser(two_days(), SAMPLER, 2_000)
    conditioning = fitted.encode([PROBLEM], torch.device("cpu"))
    mean, axes, spread = (column[0].double().numpy() for column in conditioning[-3:])
    samples = sample_prior(PROCESS, [PROBLEM], 20_000)[0]
    np.testing.assert_allclose(mean, samples.mean(0), atol=0.12)
    covariance = axes @ np.diag(spread**2) @ axes.T
    np.testing.assert_allclose(covariance, np.cov(samples.T), atol=0.2)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    x, sigma = torch.tensor([[0.4, -1.0, 2.0]]), torch.tensor([1.7])
    gain = covariance @ np.linalg.inv(covariance + 1.7**2 * np.eye(3))
    draft = fitted.draft_denoised(x, sigma, conditioning)[0].numpy()
    np.testing.assert_allclose(draft, mean + gain @ (x[0].numpy() - mean), rtol=1e-4)
    left = axes @ np.diag(fitted.coordinate_spread(sigma, conditioning)[0].numpy() ** 2) @ axes.T
    np.testing.assert_allclose(left, covariance - gain @ covariance, atol=1e-5)
    there = fitted.from_coordinates(fitted.to_coordinates(x, conditioning), conditioning)
    torch.testing.assert_close(there, x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("joint", [False, True])
def test_z_is_estimated_without_bias_with_it(joint):
    process = JointProcess(PROCESS, 2) if joint else PROCESS
    problem = joint_problem("both", [PROBLEM, Problem("other", np.zeros(1))]) if joint else PROBLEM
    exact = np.exp(rough(sample_prior(process, [problem], 40_000, seed=9)[0], problem))
    method = sadt(n_rollouts=16 * 200, particles=16, branch_steps="none")
    found = search(process, [problem], FunctionReward(rough), method, flow=None)
    z = np.exp(found.tree.columns.value[found.tree.children(0)])
    assert len(z) == 200
    error = math.hypot(z.std() / math.sqrt(len(z)), exact.std() / 200)
    assert abs(z.mean() - exact.mean()) < 4 * error
    plain = np.sqrt(exact.var() / 16)
    assert z.std() < 0.8 * plain  # and it is worth having


@pytest.mark.parametrize("parts", [1, 2])
def test_what_fitting_costs_is_counted_once_per_budget(parts):
    process = JointProcess(PROCESS, 2) if parts == 2 else PROCESS
    problem = joint_problem("both", [PROBLEM, Problem("other", np.zeros(1))]) if parts == 2 else PROBLEM
    spent = {}
    for tickets in (2, 4):
        method = sadt(n_rollouts=32 * tickets, particles=32, branch_steps="none")
        found = search(process, [problem], FunctionReward(rough), method, flow=None)
        spent[tickets] = int(found.nfe[0])
    per_ticket = (spent[4] - spent[2]) / 2
    assert spent[2] - 2 * per_ticket == SETUP * parts
    assert 0 < per_ticket <= 32 * SAMPLER.num_steps * parts


def test_problems_do_not_see_each_other():
    other = Problem("other", np.ones(1))
    fitted = FittedLawDenoiser(two_days(), SAMPLER, 16)
    alone = fitted.encode([PROBLEM], torch.device("cpu"))
    together = fitted.encode([other, PROBLEM], torch.device("cpu"))
    for one, both in zip(alone[-3:], together[-3:], strict=True):
        torch.testing.assert_close(one[0].abs(), both[1].abs(), rtol=1e-4, atol=1e-5)


def test_shrinkage_keeps_variances_and_lessens_chance_correlations():
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.standard_normal((1, 40, 12)))
    x = x - x.mean(1, keepdim=True)
    sample = (x[0].T @ x[0] / 39).numpy()
    shrunk = shrunk_covariance(x)[0].numpy()
    np.testing.assert_allclose(np.diag(shrunk), np.diag(sample))
    off = ~np.eye(12, dtype=bool)
    assert np.square(shrunk[off]).sum() < 0.1 * np.square(sample[off]).sum()
    few = torch.as_tensor(rng.standard_normal((1, 5, 12)))
    assert torch.linalg.eigvalsh(shrunk_covariance(few - few.mean(1, keepdim=True))).min() > 0
    many = torch.as_tensor(rng.standard_normal((1, 4_000, 2)) @ np.array([[1.0, 0.9], [0.0, 0.4]]))
    kept = shrunk_covariance(many - many.mean(1, keepdim=True))[0, 0, 1]
    assert kept > 0.85


def test_seeds_of_the_fit_are_its_own():
    """Tickets do not repeat the samples that the law was fitted on."""
    fit = derive_seeds(0x5AD7, 11, np.arange(64))
    tickets = derive_seeds(0, 2, np.arange(64))
    assert not set(fit.tolist()) & set(tickets.tolist())
