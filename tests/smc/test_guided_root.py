"""A guided root: whatever the twist says of x_T, E[Z_hat] = Z; proposals find its modes, alike in every batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from smc_worlds import (
    PROBLEMS,
    GaussianWorld,
    GlancingDenoiser,
    KnownTwist,
    Quadratic,
    assert_unbiased,
    log_z_hat,
    pooled,
    sampler,
    tickets_at,
)

from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.interfaces import Tickets
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import SamplerConfig
from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.smc.root import PRIOR_SHARE, RootProposal
from sadt_ray.smc.twists import LOWEST, DebiasedTwist, bounded, debiased_twist

LAM = 1.3


class ShortWorld(GaussianWorld):
    """A chain that starts so near to x_0 that x_T decides most of it."""

    sampler = SamplerConfig(num_steps=5, sigma_min=0.1, sigma_max=1.5)


WORLD, REWARD = ShortWorld(GlancingDenoiser()), Quadratic()
SLOPE = torch.tensor(REWARD.slope, dtype=torch.float32)


def along(factor):
    """factor * lambda r(x0_hat), with a gradient."""
    return lambda view: factor * LAM * (view.clean.flatten(1)[:, :2] * SLOPE).sum(1)


def two_modes(view):
    """Large where the second value is about two above or two below its mean, -1."""
    x = view.clean[:, 1] + 1
    return torch.logaddexp(-4 * (x - 2).square(), -4 * (x + 2).square())


TWISTS = {
    "right": (along(1.0), True),
    "twice too much": (along(2.0), True),
    "the wrong way": (along(-0.3), True),
    "right, without a gradient": (along(1.0), False),
    "steps": (lambda view: 2.0 * (view.clean.flatten(1)[:, 0] > 1.5).float(), False),
    "of two modes": (lambda view: 0.01 * two_modes(view), True),
    "unknown of most": (lambda view: torch.where(view.clean.flatten(1)[:, 0] > 2.5, 1.0, LOWEST), False),
    "unknown of all": (lambda view: torch.full((len(view.problem),), LOWEST), False),
}


ALWAYS = 1.1


def twist_named(name):
    function, differentiable = TWISTS[name]
    twist = KnownTwist(function)
    twist.differentiable = differentiable
    return twist


def rooted(swept):
    """The same sampler, with a guided root."""
    return replace(swept, root=RootProposal(swept.chain, swept.twist, guided_below=ALWAYS))


def swept(twist, count=600, problem=0, guided=False, chooses=False, **config):
    config = {"particles": 8, "root_pool": 4} | config
    made = rooted(sampler(WORLD.process, REWARD, twist, LAM, guided and twist.differentiable, chooses, **config))
    return made(tickets_at(WORLD.chain, 0, count, problem=problem))


@pytest.mark.parametrize("problem", [0, 1])
@pytest.mark.parametrize("name", TWISTS)
def test_z_is_estimated_without_bias_whatever_the_twist(name, problem):
    results = swept(twist_named(name), problem=problem)
    truth, _, _ = REWARD.tilted(*WORLD.law(problem), LAM)
    assert_unbiased(log_z_hat(results, LAM), truth)


@pytest.mark.parametrize("name", ["right", "the wrong way", "steps"])
def test_so_it_is_with_guided_steps_candidates_and_copies_too(name):
    results = swept(twist_named(name), guided=True, chooses=True, num_candidates=3, split_factor=2)
    truth, _, _ = REWARD.tilted(*WORLD.law(0), LAM)
    assert_unbiased(log_z_hat(results, LAM), truth)


def test_where_nothing_is_decided_at_the_root_it_is_left_to_the_prior():
    swept = sampler(WORLD.process, REWARD, twist_named("of two modes"), LAM, particles=8, root_pool=4)
    tickets = tickets_at(WORLD.chain, 0, 20)
    plain, rooted_too = swept(tickets), replace(swept, root=RootProposal(WORLD.chain, swept.twist))(tickets)
    np.testing.assert_array_equal(plain.value, rooted_too.value)
    np.testing.assert_array_equal(plain.samples, rooted_too.samples)


def test_samples_have_the_mean_and_spread_of_the_target():
    results = swept(twist_named("steps"), count=200, particles=64)
    found = pooled(results, LAM)
    _, centre, sd = REWARD.tilted(*WORLD.law(0), LAM)
    mean = found.weights @ results.samples
    np.testing.assert_allclose(mean, centre, atol=5 * sd.max() / math.sqrt(found.ess))
    np.testing.assert_allclose(found.weights @ np.square(results.samples - mean), sd**2, rtol=0.2)


def test_the_right_twist_makes_the_variance_of_z_small():
    guided = log_z_hat(swept(twist_named("right"), guided=True, root_pool=16), LAM)
    plain = log_z_hat(sampler(WORLD.process, REWARD, twist_named("right"), LAM, True, particles=8)(
        tickets_at(WORLD.chain, 0, 600)), LAM)  # fmt: skip
    assert guided.std() < 0.6 * plain.std()


@pytest.mark.parametrize("name", TWISTS)
def test_proposals_have_the_ratio_of_their_law_to_the_prior(name):
    root = RootProposal(WORLD.chain, twist_named(name))
    noise, log_ratio, _ = root.propose(np.zeros(500, np.int64), derive_seeds(1, 1, np.arange(500)), 40)
    ratio, z = np.exp(log_ratio).ravel(), noise.double().numpy().reshape(-1, 2)
    assert ratio.max() <= 1 / PRIOR_SHARE * (1 + 1e-6)
    for values, expected in ((np.ones(len(z)), 1.0), (z[:, 0], 0.0), (z[:, 1], 0.0), (z[:, 0] ** 2, 1.0)):
        weighted = ratio * values
        assert abs(weighted.mean() - expected) < 4.5 * weighted.std() / math.sqrt(len(z)) + 1e-6


def test_centres_climb_to_the_mode_of_the_twisted_noise():
    """The mode of b . z - |z|^2 / 2 is b; x0_hat = m + s^2 / sqrt(s^2 + sigma^2) z."""
    root = RootProposal(WORLD.chain, twist_named("right"))
    root.propose(np.zeros(1, np.int64), derive_seeds(1, 1, np.arange(1)), 1)
    s, sigma = WORLD.denoiser.spread.numpy(), WORLD.sampler.sigma_max
    expected = LAM * REWARD.slope * 2 * s**2 / np.sqrt(s**2 + sigma**2)
    np.testing.assert_allclose(root._centres[0].numpy(), np.tile(expected, (16, 1)), atol=0.02)


def test_both_of_two_modes_are_found():
    twist = KnownTwist(two_modes)
    twist.differentiable = True
    root = RootProposal(WORLD.chain, twist)
    noise, _, log_psi = root.propose(np.zeros(20, np.int64), derive_seeds(1, 1, np.arange(20)), 64)
    along_it = root._centres[0][:, 1].numpy()
    assert (along_it > 0.5).any()
    assert (along_it < -0.5).any()
    good = log_psi > np.quantile(log_psi, 0.5)
    assert min((noise[..., 1].numpy()[good] > 0).mean(), (noise[..., 1].numpy()[good] < 0).mean()) > 0.1


@pytest.mark.parametrize("name", ["right", "steps"])
def test_a_ticket_comes_to_the_same_in_every_batch(name):
    made = rooted(sampler(WORLD.process, REWARD, twist_named(name), LAM, particles=8, root_pool=4))
    tickets = tickets_at(WORLD.chain, 0, 12)
    tickets = replace(tickets, problem=np.arange(12) % 2)
    together = made(tickets)
    for rows in (np.array([5]), np.array([11, 2, 3])):
        fresh = rooted(sampler(WORLD.process, REWARD, twist_named(name), LAM, particles=8, root_pool=4))
        alone = fresh(tickets.take(rows))
        order = np.argsort(alone.id)
        np.testing.assert_allclose(alone.value[order], together.value[np.isin(together.id, rows)], rtol=1e-5)


@pytest.mark.parametrize(("name", "looks"), [("right", 256 + 2 * 16 * 25), ("steps", 2 * 256)])
def test_finding_the_centres_is_paid_for_in_shares(name, looks):
    """A look at 256 draws; then 25 values and gradients of 16 climbs, or one round of draws if the twist is mild."""
    spent, calls = {}, {}
    for tickets in (1, 4):
        twist = twist_named(name)
        twist.nfe, twist.reward_calls = 0.25, 3
        made = sampler(WORLD.process, REWARD, twist, LAM, particles=8, root_pool=4)
        made = replace(made, root=RootProposal(made.chain, twist, tickets, ALWAYS))
        results = made(tickets_at(WORLD.chain, 0, 4))
        assert len(set(results.nfe)) == len(set(results.reward_calls)) == 1
        spent[tickets], calls[tickets] = int(results.nfe[0]), int(results.reward_calls[0])
    assert spent[1] - spent[4] == pytest.approx(0.25 * looks * 3 / 4, abs=1)
    assert calls[1] - calls[4] == 3 * looks * 3 / 4


# ---- joint processes ------------------------------------------------------------------------------------------------

JOINT = joint_problem("all", [*PROBLEMS, PROBLEMS[0]])
JOINT_PROCESS = JointProcess(WORLD.process, 3)


def joint_scorer(samples, problem):
    return REWARD(samples.mean(1), problem)


def joint_along(factor):
    return lambda view: factor * LAM * (view.clean.mean(1) * SLOPE).sum(1)


@pytest.mark.parametrize(
    ("function", "differentiable"),
    [
        (joint_along(1.0), True),
        (joint_along(-0.3), True),
        (joint_along(2.0), False),
        (lambda view: 2.0 * (view.clean[:, 0, 0] > 1.5).float(), False),
    ],
    ids=["right", "the wrong way", "without a gradient", "steps"],
)
def test_z_of_a_joint_process_is_estimated_without_bias(function, differentiable):
    twist = KnownTwist(function)
    twist.differentiable = differentiable
    made = rooted(
        sampler(JOINT_PROCESS, joint_scorer, twist, LAM, differentiable, True, [JOINT],
                particles=8, root_pool=4, num_candidates=2)
    )  # fmt: skip
    rows = np.zeros(600, np.int64)
    roots = made.chain.root_states()[rows]
    results = made(Tickets(np.arange(600), rows, rows, rows, roots, derive_seeds(5, 2, np.arange(600))))
    mean = np.mean([WORLD.law(problem)[0] for problem in (0, 1, 0)], axis=0)
    sd = WORLD.law(0)[1] / math.sqrt(3)
    assert_unbiased(log_z_hat(results, LAM), REWARD.tilted(mean, sd, LAM)[0])


# ---- conditions whose look-ahead is wrong ---------------------------------------------------------------------------

CORRELATION = 0.8
FORECAST = Forecast.from_normal(np.array([3.0, 1.0, 2.0, 4.0]), 2.0, correlation=CORRELATION)
BOUND = 6.0


def exact_log_p():
    """log P(mean > BOUND) of the Gaussian forecast."""
    lag = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    sd = 2.0 * math.sqrt((CORRELATION**lag).mean())
    return float(stats.norm.logsf(BOUND, loc=2.5, scale=sd))


def look_ahead_of_condition(text, chain, problems, factor=1.0):
    twist = debiased_twist(chain, ConditionReward(text, horizon=4).bind(problems), 20, 1.0)
    if factor == 1.0:
        return twist
    scaled = KnownTwist(lambda view: bounded(factor * twist(view)))
    scaled.differentiable = True
    return scaled


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        (f"mean > {BOUND}", 1.0),
        (f"mean > {BOUND}", 3.0),
        (f"mean > {BOUND}", 0.3),
        ("max > 7", 1.0),
        ("mean > 5", 1.0),
        ("first > 4", 0.5),
        ("count(> 5) >= 2", 1.0),
    ],
)
def test_wrong_look_aheads_of_a_condition_leave_z_unbiased(text, factor):
    process, problems = FORECAST.process(num_steps=6).with_branch_steps("none"), FORECAST.problems()
    chain = process.bind(problems)
    twist = look_ahead_of_condition(text, chain, problems, factor)
    scorer = ConditionReward(f"mean > {BOUND}").bind(problems)
    made = rooted(sampler(process, scorer, twist, 1.0, True, True, problems, particles=32, root_pool=8))
    rows = np.zeros(400, np.int64)
    results = made(
        Tickets(np.arange(400), rows, rows, rows, chain.root_states()[rows], derive_seeds(3, 2, np.arange(400)))
    )
    assert_unbiased(results.value, exact_log_p())
    if isinstance(twist, DebiasedTwist) and text == f"mean > {BOUND}":
        assert results.value.std() < 0.4  # and the right one is worth having
