"""Twists: what each believes, what it charges, and that a look that fails costs no ticket."""

import numpy as np
import pytest
import torch
from smc_worlds import PROBLEMS, ChainWorld, GaussianWorld, Quadratic, assert_unbiased, sampler, tickets_at

from sadt_ray.processes.walk import View
from sadt_ray.rewards.look_ahead import NUM_DRAWS
from sadt_ray.rewards.second_opinion import LinearScorer
from sadt_ray.smc.twists import (
    CleanTwist,
    DebiasedTwist,
    NoTwist,
    Twist,
    bounded,
    debiased_twist,
    relative_cost,
)

LINEAR = LinearScorer(np.array([[0.9, -0.5], [0.3, 0.2]]), np.zeros((2, 2)))
WORLD = GaussianWorld(branch_steps=(0, 2, 3, 5))


def view_of(clean, problem=0, position=2):
    clean = torch.as_tensor(np.asarray(clean, np.float32))
    return View(position, np.full(len(clean), problem), clean, lambda: clean)


def soft_value(state, position, lam, problem=0):
    """Of a linear reward, in closed form; states at positions 1 to 5."""
    sigma = torch.tensor([WORLD.sampler.sigmas[position - 1]]).float()
    mean = torch.from_numpy(PROBLEMS[problem].context).float()[None]
    clean = 2 * WORLD.denoiser.denoised(state, sigma, (mean,)).double().numpy() + 1
    sd = 2 * WORLD.denoiser.clean_spread(sigma, ())[0].double().numpy()
    slope = LINEAR.slopes[problem]
    return lam * clean @ slope + np.square(lam * slope * sd).sum() / 2


@pytest.mark.parametrize("position", [1, 3, 5])
@pytest.mark.parametrize("problem", [0, 1])
def test_the_debiased_twist_of_a_linear_reward_and_a_gaussian_x_0_is_the_soft_value(position, problem):
    lam = 0.8
    states = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    twist = debiased_twist(WORLD.chain, LINEAR, 7, lam)
    walk = WORLD.chain.walk(states, position, np.full(5, problem))
    exact = soft_value(torch.from_numpy(states), position, lam, problem)
    np.testing.assert_allclose(twist(walk.look()), exact, atol=0.1)  # it knows the scatter from 256 draws
    np.testing.assert_allclose(np.diff(twist(walk.look())), np.diff(exact), atol=1e-4)


def test_sweeps_under_it_are_unbiased_and_know_z_nearly_at_once():
    """Leaning along it too: the closed form, by name, as a search runs it."""
    lam, quadratic = 0.8, Quadratic(slope=LINEAR.slopes[0])
    log_z = quadratic.tilted(*WORLD.law(0), lam)[0]
    twist = debiased_twist(WORLD.chain, LINEAR, 7, lam)
    whole = GaussianWorld()
    sweep = sampler(whole.process, LINEAR, twist, lam, guided=True, particles=16)
    results = sweep(tickets_at(whole.chain, 0, 400))
    assert_unbiased(lam * results.value, log_z)
    assert (lam * results.value).std() < 0.25
    assert (
        lam * sampler(whole.process, LINEAR, None, lam, particles=16)(tickets_at(whole.chain, 0, 400)).value
    ).std() > 0.5


def test_the_clean_twist_is_lambda_times_the_reward_at_x0_hat():
    clean = np.array([[1.0, 2.0], [-3.0, 0.5]])
    np.testing.assert_allclose(CleanTwist(LINEAR, 2.0)(view_of(clean)), 2 * LINEAR(clean, np.zeros(2, int)), rtol=1e-6)
    np.testing.assert_allclose(
        CleanTwist(LINEAR, 2.0)(view_of(clean, 1)), 2 * LINEAR(clean, np.ones(2, int)), rtol=1e-6
    )


def test_every_twist_is_a_finite_number():
    """Where the reward is -inf, NaN, +inf or an exception at x0_hat, log psi is low and nothing fails."""
    np.testing.assert_array_equal(
        bounded(torch.tensor([-torch.inf, torch.nan, torch.inf, -2e4, 3.0])), [-1e4, -1e4, -1e4, -1e4, 3]
    )

    def scorer(samples, problem):
        if (samples[:, 0] == 7).any():
            raise RuntimeError("no such series")
        return np.where(samples[:, 0] == 8, np.nan, np.where(samples[:, 0] == 9, -np.inf, samples[:, 1]))

    log_psi = CleanTwist(scorer, 2.0)(view_of([[7, 1], [8, 1], [9, 1], [0, 1.5]]))
    np.testing.assert_array_equal(log_psi, [-1e4, -1e4, -1e4, 3.0])


@pytest.mark.parametrize("known", [np.nan, -np.inf, np.inf], ids=str)
def test_a_look_ahead_that_knows_nothing_leaves_sweeps_as_they_are_without_it(known):
    quadratic, whole = Quadratic(), GaussianWorld()
    tickets = tickets_at(whole.chain, 0, 20)
    twist = CleanTwist(lambda samples, problem: np.full(len(samples), known), 1.0)
    blind = sampler(whole.process, quadratic, twist, particles=16)(tickets)
    plain = sampler(whole.process, quadratic, particles=16)(tickets)
    assert not blind.failures
    np.testing.assert_array_equal(blind.samples, plain.samples)
    np.testing.assert_allclose(blind.value, plain.value, atol=1e-8)


def test_gradients_flow_where_the_reward_lets_them():
    clean = torch.tensor([[1.0, 2.0]], requires_grad=True)
    view = View(2, np.zeros(1, int), clean, lambda: clean)
    for twist in (CleanTwist(LINEAR, 2.0), debiased_twist(WORLD.chain, LINEAR, 7, 2.0)):
        assert twist.differentiable
        (gradient,) = torch.autograd.grad(twist(view).sum(), clean)
        np.testing.assert_allclose(gradient, [2 * LINEAR.slopes[0]], rtol=1e-6)
    black_box = CleanTwist(lambda samples, problem: samples[:, 0], 2.0)
    assert not black_box.differentiable
    assert not black_box(view).requires_grad


def test_each_says_what_it_costs_and_whether_it_looks_at_all():
    debiased = debiased_twist(WORLD.chain, LINEAR, 7, 1.0)
    unknown = debiased_twist(WORLD.chain, lambda samples, problem: samples[:, 0], 7, 1.0)
    twists = (NoTwist(), CleanTwist(LINEAR, 1.0), debiased, unknown)
    assert all(isinstance(twist, Twist) for twist in twists)
    assert [twist.idle for twist in twists] == [True, False, False, False]
    assert [twist.reward_calls for twist in twists] == [0, 1, 0, NUM_DRAWS]
    assert isinstance(debiased, DebiasedTwist)
    np.testing.assert_array_equal(NoTwist()(view_of(np.ones((3, 2)))), 0)


def test_a_look_is_charged_by_its_share_of_an_evaluation():
    chain = GaussianWorld().chain
    assert relative_cost(chain, 500) == 0  # nobody knows what an evaluation costs
    chain.denoiser.multiply_adds, chain.denoiser.decode_multiply_adds = 1_000, 100
    assert relative_cost(chain, 500) == 0.6
    assert debiased_twist(chain, LINEAR, 7, 1.0).nfe == (100 + LINEAR.slopes.shape[1]) / 1_000
    assert relative_cost(ChainWorld().process.bind(PROBLEMS), 500) == 0


def test_a_process_that_cannot_look_ahead_is_refused_with_what_to_do_instead():
    chain = ChainWorld().process.bind(PROBLEMS)
    with pytest.raises(ValueError, match="does not know the distribution of x_0 about x0_hat; use the twist 'clean'"):
        debiased_twist(chain, LINEAR, 5, 1.0)
    view = View(1, np.zeros(2, int), None, lambda: torch.zeros(2, 1))
    for twist in (CleanTwist(LINEAR, 1.0), debiased_twist(WORLD.chain, LINEAR, 7, 1.0)):
        with pytest.raises(ValueError, match="cannot predict x0_hat; use a method without look-ahead"):
            twist(view)
