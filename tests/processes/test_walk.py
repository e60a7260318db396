"""Walks: the plain step is the chain's own, proposals know how likely they were, residuals scatter as x_0 does."""

import numpy as np
import pytest
import torch
from smc_worlds import (
    PROBLEMS,
    ChainWorld,
    GaussianDenoiser,
    GaussianWorld,
    GlancingDenoiser,
    MixtureWorld,
    assert_unbiased,
)

from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.diffusion_walk import LONGEST_SHIFT
from sadt_ray.processes.gaussian_mixture import MixtureDenoiser, grid_prior
from sadt_ray.processes.walk import (
    Choice,
    KnowsResiduals,
    LevelWalk,
    Walk,
    Walks,
    can_choose,
    chosen,
    level_positions,
    supports_guidance,
    walk_from,
)

N = 20_000
SIGMAS = GaussianWorld.sampler.sigmas
CHAINS = {
    "chain": lambda: (ChainWorld().process, 4),
    "mixture": lambda: (MixtureWorld().process, 6),
    "diffusion": lambda: (GaussianWorld(branch_steps="every").process, 6),
    "glancing diffusion": lambda: (GaussianWorld(GlancingDenoiser(), "every").process, 6),
}


def seeds_of(count, seed=0):
    return derive_seeds(seed, 4, np.arange(count))


def walk_at(position, count=N, denoiser=None, x=(0.4, -1.3)):
    """``count`` rows of the first problem, all in one state."""
    chain = GaussianWorld(denoiser or GlancingDenoiser()).chain
    states = np.tile(np.array(x, np.float32), (count, 1))
    return chain.walk(states, position, np.zeros(count, np.int64))


def step_law(position, x=(0.4, -1.3)):
    """Mean and sd of the chain's own next state, by the closed forms."""
    chain = GaussianWorld().chain
    x = torch.tensor([x])
    conditioning = chain.gather(np.zeros(1, np.int64))
    denoised = chain.denoiser.denoised(x, torch.tensor([SIGMAS[position - 1]]).float(), conditioning)
    mean, sd = chain.step_law(position - 1, x, denoised, conditioning)
    return mean[0].double().numpy(), sd[0].double().numpy()


@pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS)
def test_a_walk_by_the_prior_is_advance_bit_for_bit(make):
    process, depth = make()
    chain = process.bind(PROBLEMS)
    problem, seeds = np.arange(30) % 2, seeds_of(30)
    states = chain.root_states()[problem]
    walk = walk_from(chain, states, 0, problem)
    assert isinstance(walk, Walk)
    np.testing.assert_array_equal(level_positions(chain, process.num_levels), np.arange(depth + 1))
    for level in range(process.num_levels):
        step = chain.advance(states, np.full(30, level), problem, seeds)
        assert walk.position == level
        assert walk.step(seeds) is None
        np.testing.assert_array_equal(walk.states(), step.states)
        np.testing.assert_array_equal(walk.take_nfe(), step.nfe)
        np.testing.assert_array_equal(walk.take_nfe(), 0)
        states = step.states
    assert walk.position == depth


@pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS)
def test_rows_are_copied_and_dropped_with_all_that_belongs_to_them(make):
    process, _ = make()
    chain = process.bind(PROBLEMS)
    problem, seeds = np.arange(8) % 2, seeds_of(8)
    rows = np.array([7, 0, 0, 3, 5, 5])
    walk, other = (walk_from(chain, chain.root_states()[problem], 0, problem) for _ in range(2))
    for each in (walk, other):
        each.step(seeds)
        each.look()
        each.evaluate()
    walk.take(rows)
    np.testing.assert_array_equal(walk.states(), other.states()[rows])
    np.testing.assert_array_equal(walk.look().problem, problem[rows])
    np.testing.assert_allclose(walk.look().features(), other.look().features()[rows])
    walk.step(seeds[rows])
    other.step(seeds)
    np.testing.assert_allclose(walk.states(), other.states()[rows], rtol=1e-6)


def test_what_a_chain_can_do_is_told_by_what_its_denoiser_knows():
    plain = DiffusionProcess(MixtureDenoiser(grid_prior())).bind(PROBLEMS)
    for chain, guided, chooses in (
        (ChainWorld().process.bind(PROBLEMS), False, False),
        (plain, False, False),
        (GaussianWorld(GaussianDenoiser()).chain, True, False),
        (GaussianWorld(GlancingDenoiser()).chain, True, True),
    ):
        assert (supports_guidance(chain), can_choose(chain)) == (guided, chooses)
    assert not isinstance(ChainWorld().process.bind(PROBLEMS), Walks)
    with pytest.raises(ValueError, match="no clean_spread"):
        plain.residuals(1, 10)


def test_an_evaluation_is_shared_by_looks_copies_and_the_step_and_a_glance_costs_nothing():
    for denoiser, looked in ((GaussianDenoiser(), 1), (GlancingDenoiser(), 0)):
        walk = walk_at(2, 3, denoiser)
        walk.look()
        walk.look(gradient=True)
        np.testing.assert_array_equal(walk.take_nfe(), looked)
        walk.evaluate()
        walk.take(np.array([0, 1, 2, 2]))
        np.testing.assert_array_equal(walk.take_nfe(), 1 - looked)
        walk.step(seeds_of(4))
        np.testing.assert_array_equal(walk.take_nfe(), 0)
    end = walk_at(6, 3)
    end.evaluate()
    np.testing.assert_array_equal(end.look().clean, 2 * end._x + 1)
    np.testing.assert_array_equal(end.take_nfe(), 0)


def leaned(position, gradient, count=N):
    """Standardised next states under a lean, and log p/q."""
    walk = walk_at(position, count)
    log_ratio = walk.step(seeds_of(count), torch.tensor(gradient).expand(count, 2))
    mean, sd = step_law(position)
    return (walk.states() - mean) / sd, log_ratio


@pytest.mark.parametrize("position", [1, 3, 5])
def test_a_lean_moves_the_mean_by_what_x_0_and_the_next_state_have_in_common(position):
    """(1 - keep) C g: the shift of the Gaussian that is tilted by exp(g . x_0); the spread stays."""
    gradient = np.array([0.3, -0.2])
    z, log_ratio = leaned(position, gradient)
    sigma, following = SIGMAS[position - 1 : position + 1]
    keep = (following / sigma) ** 2
    clean = GaussianDenoiser().clean_spread(torch.tensor([sigma]), ())[0].double().numpy()
    shift = (1 - keep) * clean**2 * gradient / step_law(position)[1]
    assert np.linalg.norm(shift) < LONGEST_SHIFT
    np.testing.assert_allclose(z.mean(0), shift, atol=4.5 / np.sqrt(N))
    np.testing.assert_allclose(z.std(0), 1, atol=4.5 / np.sqrt(2 * N))
    np.testing.assert_allclose(log_ratio, (-z * shift).sum(1) + (shift**2).sum() / 2, atol=1e-4)


@pytest.mark.parametrize("gradient", [(0.4, -0.3), (3e3, 4e3)])
def test_log_ratios_turn_expectations_under_the_lean_into_those_under_the_prior(gradient):
    z, log_ratio = leaned(3, gradient)
    length = np.linalg.norm(z.mean(0))
    if gradient[0] > 1:
        assert abs(length - LONGEST_SHIFT) < 0.05
        return  # so far away that the mean of p/q has no use for a sample
    assert_unbiased(log_ratio, 0.0)
    for axis in range(2):
        for power, expected in ((1, 0.0), (2, 1.0)):
            values = np.exp(log_ratio) * z[:, axis] ** power
            assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(N)


def test_the_gradient_of_a_look_is_that_of_finite_differences_in_the_coordinates_of_states():
    walk = walk_at(3, 4, GaussianDenoiser())
    clean = walk.look(gradient=True).clean
    gradient = walk.gradient((clean[:, 0] ** 2 * clean[:, 1]).sin())
    point = (clean.detach().double() - 1) / 2
    for axis in range(2):
        h = torch.zeros(2).double()
        h[axis] = 1e-5
        up, down = (2 * (point + s * h) + 1 for s in (1, -1))
        difference = ((up[:, 0] ** 2 * up[:, 1]).sin() - (down[:, 0] ** 2 * down[:, 1]).sin()) / 2e-5
        np.testing.assert_allclose(gradient[:, axis], difference, rtol=2e-3, atol=2e-3)


def test_a_gradient_that_is_no_number_leans_nowhere():
    walk = walk_at(3, 2)
    clean = walk.look(gradient=True).clean
    gradient = walk.gradient(torch.stack([clean[0].sum(), (clean[1] * torch.inf).sum()]))
    assert torch.isfinite(gradient).all()
    assert (gradient[0] != 0).all()


def test_candidates_are_chosen_in_proportion_to_psi_and_what_that_did_is_known():
    log_weights = np.tile(np.log([0.1, 0.6, 0.3, 1e-300]), (N, 1))
    pick, log_ratio = chosen(log_weights, seeds_of(N), 3)
    share = np.bincount(pick, minlength=4) / N
    np.testing.assert_allclose(share, [0.1, 0.6, 0.3, 0], atol=4 * np.sqrt(0.24 / N))
    np.testing.assert_allclose(log_ratio, np.log(1 / 4) - log_weights[0, pick], atol=1e-9)
    again, _ = chosen(log_weights, seeds_of(N), 4)
    assert (again != pick).mean() > 0.3  # another position, another draw


def test_so_they_are_far_below_and_above_one():
    rows = np.array([[-1e4, -1e4 + 1], [700.0, 701.0], [-1e4, 0.0]])
    pick, log_ratio = chosen(np.repeat(rows, N // 10, axis=0), seeds_of(3 * (N // 10)), 0)
    share = pick.reshape(3, -1).mean(1)
    np.testing.assert_allclose(share, [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-1)), 1], atol=0.04)
    assert np.isfinite(log_ratio).all()


@pytest.mark.parametrize("gradient", [None, (0.3, -0.5)])
def test_a_chosen_next_state_has_the_prior_s_law_once_it_is_weighted(gradient):
    """Whatever psi is: here one that likes small first coordinates."""
    walk = walk_at(3)
    choice = Choice(5, lambda view: -0.7 * view.clean[:, 0])
    lean = None if gradient is None else torch.tensor(gradient).expand(N, 2)
    log_ratio = walk.step(seeds_of(N), lean, choice)
    assert walk.position == 4
    mean, sd = step_law(3)
    z = (walk.states() - mean) / sd
    assert z[:, 0].mean() < -0.3
    assert_unbiased(log_ratio, 0.0)
    for axis in range(2):
        for power, expected in ((1, 0.0), (2, 1.0)):
            values = np.exp(log_ratio) * z[:, axis] ** power
            assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(N)


@pytest.mark.parametrize("position", [0, 1, 3, 5, 6])
def test_residuals_have_the_covariance_of_x_0_given_the_state_in_the_units_of_the_data(position):
    chain = GaussianWorld().chain
    assert isinstance(chain, KnowsResiduals)
    draws = chain.residuals(position, 4_000)
    assert draws.shape == (2, 4_000, 2)
    if position == 6:
        np.testing.assert_array_equal(draws, 0)
        return
    sigma = torch.tensor([SIGMAS[max(position - 1, 0)]])
    sd = 2 * GaussianDenoiser().clean_spread(sigma, ())[0].double().numpy()
    for problem in draws.astype(float):
        np.testing.assert_allclose(problem.mean(0) / sd, 0, atol=4.5 / np.sqrt(4_000))
        np.testing.assert_allclose(np.cov(problem.T) / np.outer(sd, sd), np.eye(2), atol=0.1)
    np.testing.assert_array_equal(draws[0], draws[1])  # alike problems, whatever their place among others
    np.testing.assert_array_equal(draws, chain.residuals(position, 4_000))


def test_residuals_are_how_x_0_scatters_about_the_look_of_the_walk():
    """By the chain itself: x_0 - x0_hat of rows that went on from one state."""
    walk = walk_at(3)
    clean = walk.look().clean.numpy()
    for _ in range(3):
        walk.step(seeds_of(N))
    scatter = walk.look().clean.numpy() - clean
    draws = GaussianWorld().chain.residuals(3, 4_000)[0]
    np.testing.assert_allclose(scatter.mean(0) / draws.std(0), 0, atol=4.5 / np.sqrt(N))
    np.testing.assert_allclose(scatter.std(0) / draws.std(0), 1, atol=0.05)


def test_a_walk_by_levels_has_no_gradient_and_says_so():
    world = ChainWorld()
    walk = walk_from(world.process.bind(PROBLEMS), np.full((2, 4), -1), 0, np.zeros(2, np.int64))
    assert isinstance(walk, LevelWalk)
    assert walk.look().clean is None
    with pytest.raises(ValueError, match="MarkovChain has no gradients"):
        walk.gradient(torch.zeros(2))
