"""The law of x_0 given x_t: draws, moments and scores against what linear algebra and brute force say."""

import numpy as np
import pytest
import torch
from scipy import stats
from smc_worlds import GaussianDenoiser

from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.interfaces import Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig
from sadt_ray.processes.fitted_law import with_fitted_law
from sadt_ray.processes.joint import JointProcess, joint_problem

T, RHO, POSITION = 4, 0.8, 5
R = RHO ** np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
MEAN, SD = np.array([3.0, -1.0, 2.0, 4.0]), np.array([1.0, 2.0, 0.5, 1.5])
LOGNORMAL = Forecast.from_law(stats.lognorm(np.array([0.2, 0.5, 0.8, 0.3]), scale=100.0), (T,), correlation=RHO)


def view_at(process, problem, rows=3, position=POSITION, gradient=False):
    """A view of ``rows`` states that are some steps down, and these states."""
    chain = process.with_branch_steps("none").bind([problem])
    number = np.zeros(rows, np.int64)
    walk = chain.walk(chain.root_states()[number], 0, number)
    while walk.position < position:
        walk.step(derive_seeds(3, 1, np.arange(rows)))
    return walk.look(gradient), walk.states().astype(float), process.sampler.sigmas[position - 1]


@pytest.fixture(scope="module")
def gaussian():
    """Law, and exact mean [B, T] and covariance [T, T] of x_0 given x_t: x_t = V^T z + sigma e, x_0 = MEAN + SD z."""
    forecast = Forecast.from_normal(MEAN, SD, correlation=RHO)
    process = forecast.process()
    view, states, sigma = view_at(process, forecast.problems()[0])
    z_t = states @ process.denoiser.axes[0].numpy().T
    gain = R @ np.linalg.inv(R + sigma**2 * np.eye(T))
    return view.law, MEAN + SD * (z_t @ gain.T), np.outer(SD, SD) * (R - gain @ R)


def test_draws_have_the_mean_and_covariance_of_the_exact_posterior(gaussian):
    law, mean, covariance = gaussian
    draws = law.draws(20_000).double().numpy()
    np.testing.assert_allclose(draws.mean(1), mean, atol=1e-4)  # they come in pairs of opposite signs
    size = np.sqrt(np.diag(covariance))
    for row in draws:
        np.testing.assert_allclose(np.cov(row.T) / np.outer(size, size), covariance / np.outer(size, size), atol=0.04)


def test_the_columns_of_an_affine_law_are_a_root_of_its_covariance(gaussian):
    law, _, covariance = gaussian
    (_, _, part), *_ = law.by_problem(np.zeros(3, np.int64))
    assert part.linear
    columns = part.columns().double().numpy()
    np.testing.assert_allclose(columns.T @ columns, covariance, atol=1e-5)
    plain = law.draws(64)
    torch.testing.assert_close(part.draws(64), plain, rtol=1e-4, atol=1e-4)  # the shortcut changes nothing


@pytest.mark.parametrize("count", [64, 7, 1])
def test_noise_is_shared_by_rows_and_differs_by_position(gaussian, count):
    law = gaussian[0]
    assert law.noise(count).shape == (count, T)
    if count % 2 == 0:
        torch.testing.assert_close(law.noise(count).mean(0), torch.zeros(T), atol=1e-6, rtol=0)
    shifted = law.draws(count) - law.clean[:, None]
    torch.testing.assert_close(shifted[0], shifted[2], atol=1e-4, rtol=0)


def test_draws_of_a_row_do_not_depend_on_its_batch():
    problem = LOGNORMAL.problems()[0]
    together = view_at(LOGNORMAL.process(), problem, rows=5)[0].law.draws(16)
    alone = view_at(LOGNORMAL.process(), problem, rows=1)[0].law.draws(16)
    torch.testing.assert_close(together[:1], alone, rtol=1e-5, atol=0)


def test_scores_of_a_copula_agree_with_brute_force():
    process = LOGNORMAL.process()
    view, states, sigma = view_at(process, LOGNORMAL.problems()[0])
    (_, _, law), *_ = view.law.by_problem(np.zeros(3, np.int64))
    assert not law.linear
    gain = R @ np.linalg.inv(R + sigma**2 * np.eye(T))
    z_t = states @ process.denoiser.axes[0].numpy().T
    np.testing.assert_allclose(law.score_mean().numpy(), z_t @ gain.T, atol=1e-4)
    columns = law.score_columns().double().numpy()
    np.testing.assert_allclose(columns.T @ columns, R - gain @ R, atol=1e-5)
    by_hand = np.log(law.draws(512).double().numpy() / 100.0) / np.array([0.2, 0.5, 0.8, 0.3])
    np.testing.assert_allclose(law.score_draws(512).numpy(), by_hand, atol=2e-3)
    at = law.scores.at(torch.tensor(150.0), law.conditioning)
    np.testing.assert_allclose(at.numpy(), np.tile(np.log(1.5) / np.array([0.2, 0.5, 0.8, 0.3]), (3, 1)), atol=1e-3)
    values = law.scores.values(law.score_draws(4)[:, 0], law.conditioning)
    torch.testing.assert_close(values, law.draws(4)[:, 0], rtol=1e-3, atol=1e-3)


def test_gradients_of_draws_flow_to_the_mean():
    """d/dm E[x_0] of a log-normal value is s E[x_0] in its score."""
    law = view_at(LOGNORMAL.process(), LOGNORMAL.problems()[0], gradient=True)[0].law
    draws = law.draws(256)
    (gradient,) = torch.autograd.grad(draws[:, :, 2].sum(), law.mean)
    axes = LOGNORMAL.process().denoiser.axes[0].float()
    expected = 0.8 * draws[:, :, 2].detach().sum(1, keepdim=True) * axes[2]
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-1)


def test_the_law_of_joint_rows_is_that_of_their_parts_independent():
    parts = [Problem("a", np.array([0.5, -1.0])), Problem("b", np.array([-2.0, 3.0]))]
    process = DiffusionProcess(GaussianDenoiser(), SamplerConfig(5, 0.1, 6.0), "none")
    joint, number = JointProcess(process, 2), np.zeros(3, np.int64)
    chain = joint.bind([joint_problem("both", parts)])
    walk = chain.walk(chain.root_states()[number], 0, number)
    walk.step(derive_seeds(3, 1, np.arange(3)))
    walk.step(derive_seeds(3, 1, np.arange(3)))
    law = walk.look().law
    draws = law.draws(20_000).double().numpy()
    assert draws.shape == (3, 20_000, 2, 2)
    s, sigma = GaussianDenoiser.spread.numpy(), process.sampler.sigmas[1]
    sd = 2 * s * sigma / np.sqrt(s**2 + sigma**2)
    np.testing.assert_allclose(draws.std(1), np.broadcast_to(sd, (3, 2, 2)), rtol=0.05)
    weight = s**2 / (s**2 + sigma**2)
    centre = np.stack([part.context for part in parts])
    expected = 2 * (centre + weight * (walk.states() - centre)) + 1
    np.testing.assert_allclose(draws.mean(1), expected, atol=1e-3)
    correlation = np.corrcoef(draws[0].reshape(20_000, 4).T) - np.eye(4)
    assert np.abs(correlation).max() < 0.05


def test_a_fitted_law_is_about_the_denoisers_own_x0_hat():
    """Coordinates are rotated; draws come back to the hours of the states. Of many steps, the chain is Gaussian too."""
    forecast = Forecast.from_normal(MEAN, SD, correlation=RHO)
    inner = forecast.process().denoiser

    class Bare:
        width = T

        def encode(self, problems, device):
            return inner.encode(problems, device)

        def initial(self, noise, sigma, conditioning):
            return inner.initial(noise, sigma, conditioning)

        def denoised(self, x, sigma, conditioning):
            return inner.denoised(x, sigma, conditioning)

        def decode(self, x, conditioning):
            return inner.decode(x, conditioning)

        def features(self, x, sigma, conditioning):
            return inner.features(x, sigma, conditioning)

    process = with_fitted_law(DiffusionProcess(Bare(), SamplerConfig(150, 0.02, 15.0), "none"), samples=3_000)
    view, states, sigma = view_at(process, forecast.problems()[0], position=60)
    gain = R @ np.linalg.inv(R + sigma**2 * np.eye(T))
    exact = MEAN + SD * (states @ inner.axes[0].numpy().T @ gain.T)
    np.testing.assert_allclose(view.law.draws(256).mean(1).numpy(), exact, atol=0.2)
    spread = view.law.draws(4_000).std(1).numpy()
    np.testing.assert_allclose(spread, np.tile(SD * np.sqrt(np.diag(R - gain @ R)), (3, 1)), rtol=0.15)
