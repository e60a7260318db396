"""The copula chain: the laws and the dependence of the forecast, in any number of steps."""

import numpy as np
import pytest
import torch
from scipy import stats

from sadt_ray.forecasts.correlation import Correlation, ar1, from_scores
from sadt_ray.forecasts.marginals import law_marginals, normal_marginals, quantile_marginals
from sadt_ray.forecasts.process import CopulaDenoiser
from sadt_ray.interfaces import GenerativeProcess, MovesToDevice, PredictsClean, Problem, RunsDown
from sadt_ray.numerics.clean_law import CleanLaw
from sadt_ray.processes.diffusion import (
    Denoiser,
    DiffusionProcess,
    DraftsDenoised,
    KnowsCleanSpread,
    SamplerConfig,
)
from sadt_ray.processes.sampling import sample_prior

NAMES = ("a", "b")
PROBLEMS = [Problem(name, np.zeros(0)) for name in NAMES]
SCALE = np.array([[[1.0, 5, 20, 3]], [[2, 2, 2, 2]]])
GAMMA = stats.gamma(a=2.5, scale=SCALE)


def _gamma(correlation=None):
    return CopulaDenoiser(NAMES, law_marginals(GAMMA, SCALE.shape, lower=0), correlation or ar1(0.9, 4))


def _drawn(denoiser, num_steps, count, problems=PROBLEMS, sigma_max=20.0):
    process = DiffusionProcess(denoiser, SamplerConfig(num_steps=num_steps, sigma_max=sigma_max))
    return np.stack(sample_prior(process, problems, count, seed=1))


def test_the_process_keeps_the_contracts():
    denoiser = _gamma()
    for protocol in (Denoiser, KnowsCleanSpread, DraftsDenoised):
        assert isinstance(denoiser, protocol)
    process = DiffusionProcess(denoiser)
    assert isinstance(process, GenerativeProcess)
    assert isinstance(process, MovesToDevice)
    assert isinstance(process.bind(PROBLEMS), PredictsClean)
    assert isinstance(process.bind(PROBLEMS), RunsDown)


@pytest.mark.parametrize("num_steps", [2, 5, 16])
def test_the_chain_has_the_laws_and_the_dependence_of_the_forecast_in_any_number_of_steps(num_steps):
    samples = _drawn(_gamma(), num_steps, 4000)
    assert samples.shape == (2, 4000, 4)
    for item in range(2):
        for step in range(4):
            law = stats.gamma(a=2.5, scale=SCALE[item, 0, step])
            assert stats.kstest(samples[item, :, step], law.cdf).pvalue > 1e-4
        expected = 6 / np.pi * np.arcsin(ar1(0.9, 4).matrix / 2)  # Spearman's rho of a Gaussian copula
        found = stats.spearmanr(samples[item]).statistic
        np.testing.assert_allclose(found, expected, atol=0.025)


def test_a_schedule_that_starts_in_the_middle_is_exact_too():
    (samples,) = _drawn(_gamma(), 3, 4000, PROBLEMS[1:], sigma_max=1.0)
    for step in range(4):
        assert stats.kstest(samples[:, step], stats.gamma(a=2.5, scale=2).cdf).pvalue > 1e-4


def test_normal_laws_give_the_multivariate_normal_law():
    mean, sd = np.array([[[100.0, 200, 300]]]), np.array([[[1.0, 10, 5]]])
    r = ar1(-0.6, 3)
    samples = _drawn(CopulaDenoiser(["a"], normal_marginals(mean, sd), r), 3, 8000, PROBLEMS[:1])[0]
    np.testing.assert_allclose(samples.mean(0), mean[0, 0], atol=5 * 10 / np.sqrt(8000))
    expected = r.matrix * np.outer(sd[0, 0], sd[0, 0])
    np.testing.assert_allclose(np.cov(samples.T) / np.outer(sd, sd), expected / np.outer(sd, sd), atol=0.05)


def test_the_denoiser_is_the_conditional_expectation_of_the_scores():
    r, sigma = ar1(0.9, 4).matrix, 0.7
    denoiser = _gamma()
    z = torch.randn(6, 4, dtype=torch.float64)
    item = (torch.tensor([0, 1, 0, 1, 0, 1]),)
    x = z @ denoiser.axes[0]
    at = torch.tensor([sigma], dtype=torch.float64)
    expected = z.numpy() @ (r @ np.linalg.inv(r + sigma**2 * np.eye(4))).T
    found = denoiser.scores(denoiser.denoised(x, at, item), item)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    torch.testing.assert_close(denoiser.draft_denoised(x, at, item), denoiser.denoised(x, at, item))
    covariance = r - r @ np.linalg.inv(r + sigma**2 * np.eye(4)) @ r
    axes, spread = denoiser.axes[0].numpy(), denoiser.clean_spread(at, item)[0].numpy()
    np.testing.assert_allclose(axes @ np.diag(spread**2) @ axes.T, covariance, atol=1e-9)


def test_draws_of_x0_given_xt_are_in_the_units_of_the_data_and_carry_gradients():
    denoiser = _gamma()
    item = (torch.tensor([0, 1, 1]),)
    mean = torch.zeros(3, 4, requires_grad=True)
    at_many = (item[0][:, None],)
    law = CleanLaw(
        mean=mean,
        spread=denoiser.spread[item[0]].float(),
        clean=denoiser.decode(mean, item),
        decode=lambda y, conditioning: denoiser.decode(y, (conditioning[0][:, None],)),
        conditioning=item,
        position=3,
    )
    draws = law.draws(3000)
    assert draws.shape == (3, 3000, 4)
    expected = GAMMA.mean()[[0, 1, 1], 0]
    np.testing.assert_allclose(draws.detach().mean(1), expected, rtol=0.06)
    (gradient,) = torch.autograd.grad(draws.sum(), mean)
    assert torch.isfinite(gradient).all()
    one = denoiser.decode(draws.new_zeros(3, 4), item)
    torch.testing.assert_close(denoiser.decode(draws.new_zeros(3, 2, 4), at_many)[:, 1], one)


@pytest.mark.parametrize("own", [False, True])
def test_states_and_samples_lead_to_each_other(own):
    r = np.stack([ar1(0.9, 4).matrix, ar1(-0.5, 4).matrix])
    denoiser = _gamma(Correlation(r, "each") if own else None)
    item = (torch.tensor([1, 0, 1, 1, 0]),)
    x = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(denoiser.to_states(denoiser.decode(x, item), item), x, atol=1e-8, rtol=0)


def test_each_item_may_have_its_own_correlation():
    r = np.stack([ar1(0.9, 4).matrix, ar1(-0.5, 4).matrix])
    samples = _drawn(_gamma(Correlation(r, "each")), 4, 4000)
    for item, expected in enumerate((0.9, -0.5)):
        scores = stats.norm.ppf(GAMMA.cdf(samples[item][:, None, None])[:, item, 0])
        np.testing.assert_allclose(np.corrcoef(scores.T)[0, 1], expected, atol=0.03)
    denoiser = _gamma(Correlation(r, "each"))
    x = torch.randn(3, 5, 4)
    item = torch.tensor([1, 0, 1])
    together = denoiser.scores(x, (item[:, None],))
    for row in range(3):
        torch.testing.assert_close(together[row], x[row] @ denoiser.axes[item[row]].float().T)


def test_several_series_are_one_sample_with_their_correlation():
    mean = np.zeros((1, 2, 3))
    r = ar1(0.8, 3, between=0.7, series=2)
    denoiser = CopulaDenoiser(["a"], normal_marginals(mean, np.ones((1, 2, 3))), r)
    samples = _drawn(denoiser, 4, 6000, PROBLEMS[:1])[0]
    assert samples.shape == (6000, 2, 3)
    np.testing.assert_allclose(np.corrcoef(samples.reshape(-1, 6).T), r.matrix, atol=0.05)


def test_the_scores_of_outcomes_give_their_correlation_back():
    laws = _gamma().marginals
    outcomes = _drawn(_gamma(), 3, 4000, PROBLEMS[1:])[0]
    scores = laws.score(torch.as_tensor(outcomes)[:, None], torch.tensor(1)).numpy()
    np.testing.assert_allclose(from_scores(scores).matrix, ar1(0.9, 4).matrix, atol=0.03)


def test_x_t_of_a_wide_schedule_hardly_decides_x_0():
    process = DiffusionProcess(_gamma(), SamplerConfig(num_steps=4, sigma_max=20.0), "every")
    chain = process.bind(PROBLEMS[:1])
    rows, seeds = np.zeros(3000, np.int64), np.arange(3000, dtype=np.uint64)
    path = chain.run_down(np.zeros((3000, 4), np.float32), rows, rows, seeds)
    first, last = (path.states[path.levels == level][:, 0] for level in (1, process.num_levels))
    assert abs(np.corrcoef(first, last)[0, 1]) < 0.15


def test_a_step_costs_one_evaluation_and_features_have_unit_variance():
    process = DiffusionProcess(_gamma(), SamplerConfig(num_steps=5, sigma_max=20.0), "every")
    chain = process.bind(PROBLEMS)
    rows = np.arange(2000) % 2
    seeds = np.arange(2000, dtype=np.uint64)
    path = chain.run_down(np.zeros((2000, 4), np.float32), np.zeros(2000, np.int64), rows, seeds)
    assert (path.nfe == 5).all()
    features = chain.features(path.states, path.levels, rows[path.rows])
    assert features.shape == (len(path.states), 5)
    for level in range(1, process.num_levels + 1):
        np.testing.assert_allclose(features[path.levels == level, :4].std(0), 1, atol=0.07)


def test_quantiles_that_were_given_are_the_quantiles_of_the_samples():
    levels, values = [0.1, 0.5, 0.9], np.array([[[[0.0, 1, 10], [3, 4, 4.5], [-9, 0, 9]]]])
    denoiser = CopulaDenoiser(["a"], quantile_marginals(values, levels), ar1(0.5, 3))
    samples = _drawn(denoiser, 3, 5000, PROBLEMS[:1])[0]
    below = (samples[:, :, None] <= values[0, 0]).mean(0)
    np.testing.assert_allclose(below, np.broadcast_to(levels, (3, 3)), atol=0.025)


def test_a_problem_of_another_forecast_is_refused_by_name():
    with pytest.raises(ValueError, match=r"problem 'c' is no item of this forecast \(a, b, 2 in all\)"):
        DiffusionProcess(_gamma()).bind([Problem("c", np.zeros(0))])


def test_a_correlation_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"needs a correlation \[4, 4\], or 2 of them; this one is \[5, 5\]"):
        _gamma(ar1(0.9, 5))


def test_a_copy_on_another_device_draws_the_same():
    process = DiffusionProcess(_gamma(), SamplerConfig(num_steps=3))
    moved = process.with_device("cpu")
    assert moved.denoiser is not process.denoiser
    for here, there in zip(*(sample_prior(p, PROBLEMS, 5, seed=2) for p in (process, moved)), strict=True):
        np.testing.assert_array_equal(here, there)
