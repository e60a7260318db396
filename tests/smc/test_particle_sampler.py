"""Particle sweeps against known truth: E[Z_hat] = Z and the samples' law, whatever twist and proposal."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from smc_worlds import (
    PROBLEMS,
    ChainWorld,
    Fine,
    GaussianDenoiser,
    GaussianWorld,
    GlancingDenoiser,
    KnownTwist,
    MixtureWorld,
    Quadratic,
    assert_unbiased,
    log_z_hat,
    pooled,
    sampler,
    tickets_at,
)

from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Tickets
from sadt_ray.processes.diffusion_walk import LONGEST_SHIFT
from sadt_ray.rollout.rollout import rollout
from sadt_ray.smc.config import SMCConfig
from sadt_ray.smc.schedule import num_candidates_at
from sadt_ray.smc.twists import LOWEST, CleanTwist
from sadt_ray.tree.search import Search

CHAIN, MIXTURE = ChainWorld(), MixtureWorld()
TWISTS = ("none", "exact", "noise", "against")
SCHEMES = ("multinomial", "stratified", "systematic", "residual", "siblings-4")


def chain_sweeps(twist, process=CHAIN.whole, level=0, count=2_000, **config):
    tickets = tickets_at(process.bind(PROBLEMS), level, count)
    return sampler(process, CHAIN.scorer, CHAIN.twist(twist), CHAIN.lam, **config)(tickets)


def assert_target(masses, target):
    """The masses Z_hat W of all sequences have Z times the target as their mean, one by one and together."""
    error = masses.std(0) / np.sqrt(len(masses))
    seen = (masses > 0).sum(0) >= 20  # for the others a standard error means nothing
    z = (masses.mean(0) - target)[seen] / error[seen]
    assert np.abs(z).max() < 4.5
    assert 0.5 < z.std() < 1.5
    assert total_variation(masses.mean(0), target) < 0.7 * error.sum() / target.sum()


def total_variation(one, other):
    return np.abs(one / one.sum() - other / other.sum()).sum() / 2


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("twist", TWISTS)
def test_on_the_chain_z_hat_is_unbiased_and_samples_have_the_target_s_law(twist, scheme):
    """However wrong the twist is: noise, or right for -r."""
    results = chain_sweeps(twist, particles=16, resampling=scheme, ess_threshold=1.0)
    assert_unbiased(CHAIN.lam * results.value, CHAIN.log_z())
    assert_target(CHAIN.masses(results), CHAIN.target())


@pytest.mark.parametrize("ess_threshold", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("particles", [1, 2, 16])
@pytest.mark.parametrize("twist", ["exact", "noise", "against"])
def test_so_they_are_for_any_number_of_particles_and_any_threshold(twist, particles, ess_threshold):
    results = chain_sweeps(twist, particles=particles, ess_threshold=ess_threshold)
    assert_unbiased(CHAIN.lam * results.value, CHAIN.log_z())
    assert_target(CHAIN.masses(results), CHAIN.target())


def test_a_target_of_another_temperature_would_be_seen():
    results = chain_sweeps("noise", particles=16)
    other = ChainWorld()
    other.lam = 1.3
    with pytest.raises(AssertionError):
        assert_target(CHAIN.masses(results), other.target())


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("twist", ["exact", "noise"])
def test_from_inner_nodes_a_sweep_estimates_the_soft_values_of_its_node_and_of_its_new_child(twist, level):
    chain = CHAIN.process.bind(PROBLEMS)
    tickets = tickets_at(chain, level, 3_000)
    prefix = tuple(tickets.state[0, :level].tolist())
    results = chain_sweeps(twist, CHAIN.process, level, 3_000, particles=8, ess_threshold=1.0)
    assert_unbiased(CHAIN.lam * results.value, CHAIN.log_z(prefix))
    assert_target(CHAIN.masses(results), CHAIN.target(prefix))
    if level == 3:
        np.testing.assert_array_equal(results.path_level, 4)  # no node but x_0
        return
    np.testing.assert_array_equal(results.path_level.reshape(-1, 2), np.tile([level + 1, 4], (3_000, 1)))
    children = results.path_state[::2]
    np.testing.assert_array_equal((children >= 0).sum(1), level + 1)
    assert_unbiased(CHAIN.lam * results.value - [CHAIN.log_z(child) for child in children], 0.0)
    tokens = np.bincount(children[:, level], minlength=3) / 3_000
    prior = [CHAIN.process.probability((*prefix, token)) / CHAIN.process.probability(prefix) for token in range(3)]
    np.testing.assert_allclose(tokens, prior, atol=0.04)


@pytest.mark.parametrize("twist", ["exact", "noise"])
def test_a_tree_of_sweeps_that_selects_by_states_alone_is_unbiased(twist):
    """600 searches of one process at once: selection reads F (exact or noise), values are those of sweeps."""
    names = [f"run {i}" for i in range(600)]
    config = SearchConfig(n_rollouts=12, alpha=1.0, inv_temperature=CHAIN.lam, widen_c=1.0, widen_alpha=0.5)
    process = Fine(CHAIN.process, (1, 2, 4))
    chain = process.bind(names)
    search = Search(config, names, chain.root_states(), process.num_levels)
    sweep = sampler(process, CHAIN.scorer, CHAIN.twist(twist), CHAIN.lam, problems=names, particles=4)
    while len(tickets := search.ask(600)):
        search.tell(sweep(tickets))
    assert (search.tree.column("level") == 2).sum() > 600
    log_z = np.array([found.log_z for found in search.samples()])
    assert_unbiased(log_z, CHAIN.log_z())


@pytest.mark.parametrize("twist", ["none", "exact", "half", "against"])
def test_on_the_mixture_z_is_one_and_modes_have_their_masses(twist):
    tickets = tickets_at(MIXTURE.whole.bind(PROBLEMS), 0, 600)
    results = sampler(MIXTURE.whole, MIXTURE.scorer, MIXTURE.twist(twist), particles=32)(tickets)
    assert_unbiased(results.value, 0.0)
    every = pooled(results, 1.0)
    posterior = MIXTURE.ratio.posterior
    masses = np.bincount(posterior.nearest_mode(results.samples), every.weights, minlength=9)
    assert total_variation(masses, posterior.weights) < 3 / np.sqrt(every.ess)
    assert every.ess > 500


def test_from_inner_nodes_of_the_mixture_the_value_is_the_ratio_of_two_densities():
    chain = MIXTURE.process.bind(PROBLEMS)
    for state in ([6.0, 2.0], [-7.0, -6.0]):
        state = np.array(state)
        tickets = tickets_at(chain, 2, 2_000, state=state)
        results = sampler(MIXTURE.process, MIXTURE.scorer, MIXTURE.twist("half"), particles=8)(tickets)
        assert_unbiased(results.value, MIXTURE.soft_value(state[None], 2)[0])
        children = results.path_state[::2]
        assert_unbiased(results.value - MIXTURE.soft_value(children, 3), 0.0)


@pytest.mark.parametrize("twist", TWISTS)
def test_without_resampling_every_twist_is_importance_sampling(twist):
    """The weights telescope: what is left is exp(lambda r)."""
    results = chain_sweeps(twist, count=50, particles=8, ess_threshold=0.0)
    log_weights = CHAIN.lam * results.rewards.reshape(50, 8)
    np.testing.assert_allclose(CHAIN.lam * results.value, logsumexp(log_weights, axis=1) - np.log(8), atol=1e-9)
    np.testing.assert_allclose(
        results.sample_log_weight.reshape(50, 8), log_weights - logsumexp(log_weights, axis=1)[:, None], atol=1e-9
    )


def test_with_the_exact_twist_what_is_decided_is_settled_at_once():
    """r of the first token alone: V = r from the first step on, weights are equal afterwards, Z_hat is known there."""
    world = ChainWorld(table=lambda sequence: 2.0 * (sequence[0] == 1) - sequence[0])
    tickets = tickets_at(world.whole.bind(PROBLEMS), 0, 500)
    settled, late = (
        sampler(world.whole, world.scorer, world.twist(twist), world.lam, particles=16, ess_threshold=1.0)(tickets)
        for twist in ("exact", "none")
    )
    np.testing.assert_allclose(settled.sample_log_weight, -np.log(16), atol=1e-9)
    assert np.ptp(late.sample_log_weight) > 1
    np.testing.assert_allclose(settled.value, late.value, atol=1e-9)  # the same first tokens
    assert_target(world.masses(settled), world.target())


def test_the_exact_twist_helps_and_the_wrong_one_harms():
    sweeps = {twist: chain_sweeps(twist, particles=16, ess_threshold=1.0) for twist in TWISTS}
    spread = {twist: np.exp(CHAIN.lam * results.value).std() for twist, results in sweeps.items()}
    assert spread["exact"] < spread["none"] < spread["against"] < spread["noise"]


@pytest.mark.parametrize("scheme", ["systematic", "residual", "siblings-4"])
@pytest.mark.parametrize("world", ["chain", "leaning", "choosing", "both"])
def test_weights_and_z_hat_follow_from_who_descends_from_whom(world, scheme):
    """Resampled at every step: Z_hat = prod_t mean_i psi(child) / psi(parent) p/q, from the harvest alone."""
    config = {"particles": 8, "ess_threshold": 1.0, "resampling": scheme, "record_particles": True}
    if world == "chain":
        results, lam = chain_sweeps("noise", count=30, **config), CHAIN.lam
    else:
        results, lam = gaussian_sweeps(world, 30, **config), 0.8
    h = results.particle_record
    log_psi = np.where(np.isnan(h.reward), h.log_flow, lam * h.reward)
    above = np.where(h.parent >= 0, log_psi[np.maximum(h.parent, 0)], 0.0)
    increments = log_psi - above + h.log_ratio
    log_z = np.zeros(30)
    for level in range(1, h.level.max() + 1):
        at = increments[h.level == level].reshape(30, 8)
        log_z += logsumexp(at, axis=1) - np.log(8)
    np.testing.assert_allclose(lam * results.value, log_z, atol=1e-5)
    last = at - logsumexp(at, axis=1)[:, None]
    np.testing.assert_allclose(results.sample_log_weight.reshape(30, 8), last, atol=1e-5)


# A diffusion chain with a Gaussian x_0

TILT = np.array([0.0, 0.0, 0.3, 0.6, 0.9, 1.2, 0.0])  # of siblings: an eighth of it lies above position 3
QUADRATIC = Quadratic(curvature=(0.05, 0.1))
PROPOSALS = {"prior": (False, 1), "leaning": (True, 1), "choosing": (False, 4), "both": (True, 4), "many": (True, 16)}


def gaussian_sweeps(proposal, count, lam=0.8, reward=QUADRATIC, glanced=0.5, level=0, state=None, problem=0, **config):
    """Under r at a draft_denoised that is half of D, a twist that is wrong, unless told otherwise."""
    world = GaussianWorld(GlancingDenoiser(glanced), "none" if level == 0 else (0, 2, 3, 5))
    guided, candidates = PROPOSALS[proposal]
    sweep = sampler(
        world.process, reward, CleanTwist(reward, lam), lam, guided, candidates > 1, num_candidates=candidates, **config
    )
    return sweep(tickets_at(world.chain, level, count, state=state, problem=problem))


def assert_gaussian(results, lam, mean, sd):
    """First and second moments of the pooled samples, each within its standard error over tickets."""
    every = pooled(results, lam)
    for axis, power in itertools.product(range(2), (1, 2)):
        values = every.weights * (((results.samples[:, axis] - mean[axis]) / sd[axis]) ** power - (power == 2))
        per_ticket = np.bincount(every.ticket, values)
        assert abs(per_ticket.sum()) < 4 * np.sqrt(np.square(per_ticket).sum())
        assert np.sqrt(np.square(per_ticket).sum()) < 0.1


@pytest.mark.parametrize("glanced", [1.0, 0.5])
@pytest.mark.parametrize("proposal", PROPOSALS)
def test_leaning_and_choosing_leave_z_and_the_law_as_they_are(proposal, glanced):
    """Also at a draft_denoised that is wrong by half: what proposals do, weights undo."""
    results = gaussian_sweeps(proposal, 1_000, glanced=glanced, particles=8)
    log_z, mean, sd = QUADRATIC.tilted(*GaussianWorld().law(0), 0.8)
    assert_unbiased(0.8 * results.value, log_z)
    assert_gaussian(results, 0.8, mean, sd)


@pytest.mark.parametrize("proposal", ["leaning", "choosing", "both"])
def test_so_they_do_below_an_inner_node_and_with_one_particle(proposal):
    state = np.array([1.0, -2.0], np.float32)
    for particles in (1, 8):
        results = gaussian_sweeps(proposal, 2_000, level=2, state=state, problem=1, particles=particles)
        world = GaussianWorld(branch_steps=(0, 2, 3, 5))
        log_z, mean, sd = QUADRATIC.tilted(*world.law(1, 2, state), 0.8)
        assert_unbiased(0.8 * results.value, log_z)
        assert_gaussian(results, 0.8, mean, sd)
        np.testing.assert_array_equal(results.path_level.reshape(-1, 2), np.tile([3, 4], (2_000, 1)))
        children = results.path_state[::2].astype(np.float64)
        values = [QUADRATIC.tilted(*world.law(1, 3, child), 0.8)[0] for child in children]
        assert_unbiased(0.8 * results.value - values, 0.0)
        x, conditioning = torch.as_tensor(state)[None], world.chain.gather(np.ones(1, np.int64))
        mean, sd = world.chain.step_law(2, x, world.chain.denoised_at(3, x, conditioning), conditioning)
        z = (children - mean.numpy()) / sd.numpy()  # nodes of the tree are drawn from the prior, whatever follows
        assert np.abs(z.mean(0)).max() < 4 / np.sqrt(2_000)
        assert np.abs(z.std(0) - 1).max() < 4 / np.sqrt(4_000)


@pytest.mark.parametrize("split_factor", [1, 2])
def test_every_particle_leans_along_the_gradient_of_its_own_parent(split_factor):
    """Resampled or grown in between or not: what a child says of p/q follows from its state and its parent's."""
    world, lam = GaussianWorld(), 0.8
    twist = KnownTwist(CleanTwist(QUADRATIC, lam), tilt=TILT)
    sweep = sampler(
        world.process,
        QUADRATIC,
        twist,
        lam,
        True,
        particles=8,
        split_factor=split_factor,
        ess_threshold=1.0,
        record_particles=True,
    )
    h = sweep(tickets_at(world.chain, 0, 40)).particle_record
    for level in range(2, 7):
        rows = np.flatnonzero(h.level == level)
        x = torch.as_tensor(h.state[h.parent[rows]])
        conditioning, step = world.chain.gather(np.zeros(len(rows), np.int64)), level - 2
        denoised = world.chain.denoised_at(level - 1, x, conditioning)
        mean, spread = world.chain.step_law(step, x, denoised, conditioning)
        slope = torch.as_tensor(QUADRATIC.slope - QUADRATIC.curvature * (2 * denoised.numpy() + 1 - QUADRATIC.centre))
        shift = world.chain.guidance_shift(step, 2 * lam * slope, conditioning) / spread
        shift = shift * (LONGEST_SHIFT / shift.norm(dim=1, keepdim=True)).clamp_max(1)
        z = (torch.as_tensor(h.state[rows]) - mean) / spread
        np.testing.assert_allclose(h.log_ratio[rows], (-z * shift).sum(1) + shift.square().sum(1) / 2, atol=2e-3)


def test_for_a_linear_reward_the_lean_is_the_optimal_proposal():
    """From an inner node every weight is then the same, and Z_hat is Z itself."""
    linear, lam, state = Quadratic(slope=(0.9, -0.5)), 0.7, np.array([1.0, -1.0], np.float32)
    world = GaussianWorld(branch_steps=(0, 2, 3, 5))
    results = gaussian_sweeps(
        "leaning", 100, lam, linear, glanced=1.0, level=2, state=state, particles=16, ess_threshold=0.0
    )
    children = results.path_state[::2].astype(np.float64)
    values = np.array([linear.tilted(*world.law(0, 3, child), lam)[0] for child in children])
    np.testing.assert_allclose(lam * results.value, values, atol=2e-4)
    np.testing.assert_allclose(results.sample_log_weight, -np.log(16), atol=2e-4)
    leaning, prior = (
        1 / np.square(np.exp(gaussian_sweeps(p, 200, lam, linear, 1.0, particles=16).sample_log_weight))
        .reshape(-1, 16).sum(1).mean() for p in ("leaning", "prior")
    )  # fmt: skip
    assert leaning > 14 > 12 > prior  # x_T is drawn from the prior


def growing_sweep(world, proposal, **config):
    guided, candidates = PROPOSALS[proposal]
    twist = KnownTwist(CleanTwist(QUADRATIC, 0.8), tilt=TILT)
    return sampler(
        world.process, QUADRATIC, twist, 0.8, guided, candidates > 1,
        num_candidates=candidates, split_factor=4, record_particles=True, **config,
    )  # fmt: skip


@pytest.mark.parametrize("resampling", ["systematic", "siblings-2"])
@pytest.mark.parametrize("proposal", ["prior", "both"])
def test_a_sweep_that_grows_on_its_way_is_as_right_and_costs_less(proposal, resampling):
    for denoiser in (GaussianDenoiser(), GlancingDenoiser(0.5)):
        world = GaussianWorld(denoiser)
        if proposal == "both" and not world.chain.can_choose:
            continue
        sweep = growing_sweep(world, proposal, particles=16, resampling=resampling)
        results = sweep(tickets_at(world.chain, 0, 1_500))
        log_z, mean, sd = QUADRATIC.tilted(*world.law(0), 0.8)
        assert_unbiased(0.8 * results.value, log_z)
        assert_gaussian(results, 0.8, mean, sd)
        np.testing.assert_array_equal(np.bincount(results.particle_record.level) / 1_500, [0, 4, 4, 4, 16, 16, 16])
        assert_forest(results, np.zeros(1_500, int), 6)
        np.testing.assert_array_equal(results.nfe, 3 * 4 + 2 * 16)  # what copies share is evaluated once


def test_a_sweep_grows_below_its_new_node_or_is_whole_from_there():
    world = GaussianWorld(GlancingDenoiser(), (0, 2, 4, 5))  # positions 1, 3, 5, 6
    for level, counts in ((0, [0, 0, 4, 4, 16, 16, 16]), (1, [0] * 4 + [4, 16, 16]), (2, [0] * 6 + [16])):
        results = growing_sweep(world, "prior", particles=16)(tickets_at(world.chain, level, 5))
        np.testing.assert_array_equal(np.bincount(results.particle_record.level) / 5, counts)
        np.testing.assert_array_equal(np.diff(results.sample_splits), 16)
        assert_forest(results, world.chain.level_positions[level + 1] + np.zeros(5, int), 6)


def test_one_particle_stays_one():
    results = growing_sweep(GaussianWorld(), "leaning", particles=1)(tickets_at(GaussianWorld().chain, 0, 5))
    np.testing.assert_array_equal(np.diff(results.sample_splits), 1)


def test_a_lean_of_another_scale_is_corrected_too():
    results = gaussian_sweeps("leaning", 2_000, particles=8, guidance_scale=0.5)
    log_z, mean, sd = QUADRATIC.tilted(*GaussianWorld().law(0), 0.8)
    assert_unbiased(0.8 * results.value, log_z)
    assert_gaussian(results, 0.8, mean, sd)
    assert not np.array_equal(results.samples, gaussian_sweeps("leaning", 2_000, particles=8).samples)


def test_better_proposals_make_weights_more_alike():
    def spread(proposal):
        return (0.8 * gaussian_sweeps(proposal, 1_000, glanced=1.0, particles=8).value).std()

    assert spread("leaning") < 0.7 * spread("prior")
    assert spread("choosing") < 0.8 * spread("prior")


def test_dps_weighs_all_samples_alike_and_is_biased():
    """For a linear reward its samples have nearly the right mean, the lean is optimal; for a quadratic one not."""
    results = gaussian_sweeps("leaning", 1_000, particles=4, weighted=False, glanced=1.0)
    np.testing.assert_allclose(results.sample_log_weight, -np.log(4))
    np.testing.assert_allclose(results.value, results.rewards.reshape(-1, 4).mean(1))
    _, mean, sd = QUADRATIC.tilted(*GaussianWorld().law(0), 0.8)
    off = (results.samples.mean(0) - mean) / sd * np.sqrt(4_000)
    assert np.abs(off).max() > 10
    linear = Quadratic()
    drawn = gaussian_sweeps("leaning", 1_000, reward=linear, particles=4, weighted=False, glanced=1.0).samples
    _, mean, sd = linear.tilted(*GaussianWorld().law(0), 0.8)
    assert np.abs((drawn.mean(0) - mean) / sd * np.sqrt(4_000)).max() < 10


# One particle is the plain rollout; nobody depends on companions


def mixed_tickets(chain, levels):
    """Tickets of both problems at several levels, each from a node that the chain itself reached."""
    parts = [tickets_at(chain, level, 1, seed=row, problem=row % 2) for row, level in enumerate(levels)]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    return Tickets(**{**columns, "id": np.arange(len(levels)) + 100})


ROLLED = {
    "chain": (CHAIN.process, CHAIN.scorer),
    "chain with few levels": (CHAIN.process.with_branch_steps((2, 4)), CHAIN.scorer),
    "mixture": (MIXTURE.process, MIXTURE.scorer),
    "diffusion": (GaussianWorld(branch_steps=(0, 2, 5)).process, QUADRATIC),
    "diffusion without levels": (GaussianWorld(GaussianDenoiser()).process, QUADRATIC),
}


@pytest.mark.parametrize(("process", "scorer"), ROLLED.values(), ids=ROLLED)
def test_one_particle_without_a_twist_is_the_plain_rollout_bit_for_bit(process, scorer):
    tickets = mixed_tickets(process.bind(PROBLEMS), np.arange(30) % process.num_levels)
    swept = sampler(process, scorer)(tickets)
    order = np.argsort(swept.id)
    plain = rollout(process.bind(PROBLEMS), scorer, process.num_levels, tickets)
    for name in ("id", "value", "samples", "rewards", "sample_log_weight", "nfe", "reward_calls"):
        np.testing.assert_array_equal(getattr(swept, name)[order], getattr(plain, name), err_msg=name)
    for row, at in enumerate(order):
        ours, theirs = (slice(*r.path_splits[i : i + 2]) for r, i in ((swept, at), (plain, row)))
        np.testing.assert_array_equal(swept.path_level[ours], plain.path_level[theirs])
        np.testing.assert_array_equal(swept.path_state[ours], plain.path_state[theirs])


def test_one_particle_under_a_twist_takes_the_same_way_and_knows_the_flow_of_its_nodes():
    tickets = mixed_tickets(CHAIN.process.bind(PROBLEMS), [0, 0, 1, 2, 3])
    swept = sampler(CHAIN.process, CHAIN.scorer, CHAIN.twist("exact"), CHAIN.lam)(tickets)
    plain = rollout(CHAIN.process.bind(PROBLEMS), CHAIN.scorer, 4, tickets)
    np.testing.assert_array_equal(swept.path_state, plain.path_state)
    np.testing.assert_array_equal(swept.value, plain.value)
    np.testing.assert_allclose(swept.path_log_flow, [CHAIN.log_z(state) for state in swept.path_state], atol=1e-9)


SIX_RECORDED = {"particles": 6, "record_particles": True}
SWEPT = {
    "chain": lambda: sampler(CHAIN.process, CHAIN.scorer, CHAIN.twist("noise"), CHAIN.lam, **SIX_RECORDED),
    "mixture": lambda: sampler(MIXTURE.process, MIXTURE.scorer, MIXTURE.twist("exact"), **SIX_RECORDED),
    "diffusion": lambda: sampler(
        GaussianWorld(GlancingDenoiser(), (0, 2, 3, 5)).process, QUADRATIC, CleanTwist(QUADRATIC, 1.0),
        guided=True, chooses=True, num_candidates=3, particles=6, record_particles=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", SWEPT.values(), ids=SWEPT)
def test_a_ticket_brings_the_same_alone_as_in_any_batch_of_any_levels(make):
    sweep, levels = make(), np.array([0, 2, 1, 0, 3, 1, 2, 0])
    tickets = mixed_tickets(sweep.chain, levels)
    together = sweep(tickets)
    backwards = sweep(tickets.take(slice(None, None, -1)))
    for row in range(len(levels)):
        alone = sweep(tickets.take([row]))
        for other in (together, backwards):
            assert_same_ticket(alone, other, int(tickets.id[row]))


def assert_same_ticket(alone, batch, ticket):
    at = int(np.flatnonzero(batch.id == ticket)[0])
    close = {"rtol": 1e-4, "atol": 1e-5}  # batched products round differently
    np.testing.assert_allclose(batch.value[at], alone.value[0], **close)
    assert batch.nfe[at] == alone.nfe[0]
    assert batch.reward_calls[at] == alone.reward_calls[0]
    for splits, names in (
        ("path_splits", ("path_level", "path_state", "path_log_flow")),
        ("sample_splits", ("samples", "rewards", "sample_log_weight")),
    ):
        rows = slice(*getattr(batch, splits)[at : at + 2])
        for name in names:
            np.testing.assert_allclose(getattr(batch, name)[rows], getattr(alone, name), err_msg=name, **close)
    mine = np.flatnonzero(batch.particle_record.ticket == at)
    parent = batch.particle_record.parent[mine]
    number = np.full(len(batch.particle_record) + 2, -9)
    number[mine], number[-1], number[-2] = np.arange(len(mine)), -1, -2
    np.testing.assert_array_equal(number[parent], alone.particle_record.parent)
    for name in ("level", "state", "log_flow", "log_ratio", "reward"):
        np.testing.assert_allclose(
            getattr(batch.particle_record, name)[mine], getattr(alone.particle_record, name), err_msg=name, **close
        )


# The harvest


def assert_forest(results, first_new, at_end):
    """Parents stand one level above and before their children, the first of all below the position ``first_new`` of
    the ticket's new node, or of its root; only x_0 has a reward."""
    h = results.particle_record
    assert (h.parent < np.arange(len(h))).all()
    below = h.parent >= 0
    np.testing.assert_array_equal(h.level[below], h.level[h.parent[below]] + 1)
    np.testing.assert_array_equal(h.ticket[below], h.ticket[h.parent[below]])
    np.testing.assert_array_equal(np.isnan(h.reward), h.level < at_end)
    first = first_new[h.ticket[~below]]
    np.testing.assert_array_equal(h.parent[~below], np.where(first > 0, -2, -1))
    np.testing.assert_array_equal(h.level[~below], first + 1)


@pytest.mark.parametrize("scheme", ["systematic", "multinomial", "siblings-4"])
def test_every_particle_of_the_harvest_begins_as_its_parent_did(scheme):
    sweep = sampler(
        CHAIN.process, CHAIN.scorer, CHAIN.twist("noise"), CHAIN.lam,
        particles=8, resampling=scheme, ess_threshold=1.0, record_particles=True,
    )  # fmt: skip
    tickets = mixed_tickets(CHAIN.process.bind(PROBLEMS), np.array([0, 2, 1, 0, 1, 2]))
    results = sweep(tickets)
    h = results.particle_record
    level = tickets.level[results.id - 100]
    assert_forest(results, level + 1, 4)
    np.testing.assert_array_equal((h.state >= 0).sum(1), h.level)
    np.testing.assert_array_equal(h.log_ratio, 0)
    new_node = results.path_state[results.path_splits[:-1]]
    for row in range(len(h)):
        origin = h.state[h.parent[row]] if h.parent[row] >= 0 else new_node[h.ticket[row]]
        known = h.level[row] - 1 if h.parent[row] != -1 else 0
        np.testing.assert_array_equal(h.state[row, :known], origin[:known])
    above = np.isnan(h.reward)
    np.testing.assert_allclose(h.log_flow[above], [CHAIN.noise[CHAIN.code(s[s >= 0])] for s in h.state[above]])
    np.testing.assert_allclose(h.reward[~above], CHAIN.reward(h.state[~above]))
    np.testing.assert_array_equal(h.reward[~above], results.rewards)
    if scheme == "siblings-4":
        count = np.bincount(h.parent[h.parent >= 0], minlength=len(h))
        assert set(count[above]) <= {0, 4, 8}
        assert (count[above] > 0).sum() == above.sum() / 4


def test_families_have_siblings_even_where_there_is_no_twist():
    results = chain_sweeps("none", count=5, particles=8, resampling="siblings-4", record_particles=True)
    h = results.particle_record
    count = np.bincount(h.parent[h.parent >= 0], minlength=len(h))
    assert set(count[h.level < 4]) == {0, 4}


def test_a_failed_ticket_takes_its_particles_out_of_the_harvest_and_parents_stay_right():
    def scorer(samples, problem):
        return np.where(problem == 1, np.nan, CHAIN.reward(samples))

    config = {"particles": 4, "record_particles": True, "ess_threshold": 1.0}
    tickets = mixed_tickets(CHAIN.process.bind(PROBLEMS), np.array([0, 0, 1, 1, 0, 2, 2]))
    sweep = sampler(CHAIN.process, scorer, CHAIN.twist("noise"), CHAIN.lam, **config)
    results = sweep(tickets)
    np.testing.assert_array_equal(np.sort(results.id), [100, 102, 104, 106])
    assert_forest(results, tickets.level[results.id - 100] + 1, 4)
    whole = sampler(CHAIN.process, CHAIN.scorer, CHAIN.twist("noise"), CHAIN.lam, **config)
    for row in (0, 2, 4, 6):
        assert_same_ticket(whole(tickets.take([row])), results, 100 + row)


def test_one_particle_s_harvest_is_its_path():
    sweep = sampler(CHAIN.process, CHAIN.scorer, CHAIN.twist("exact"), CHAIN.lam, record_particles=True)
    results = sweep(tickets_at(CHAIN.process.bind(PROBLEMS), 0, 3))
    h = results.particle_record
    for ticket in range(3):
        np.testing.assert_array_equal(h.state[h.ticket == ticket], results.path_state[4 * ticket : 4 * ticket + 4])
    assert_forest(results, np.zeros(3, int), 4)


# What it costs


@pytest.mark.parametrize(("level", "alone", "steps"), [(0, 0, 5), (1, 2, 3), (2, 1, 2), (3, 0, 2)])
def test_the_way_to_the_new_node_costs_one_particle_and_what_all_share_is_evaluated_once(level, alone, steps):
    """Branch steps 0, 2, 3, 5: levels 1 to 4. Below the root the first evaluation is that of one state."""
    for denoiser in (GaussianDenoiser(), GlancingDenoiser()):
        world = GaussianWorld(denoiser, (0, 2, 3, 5))
        tickets = tickets_at(world.chain, level, 3)
        for twist in (None, CleanTwist(QUADRATIC, 1.0)):
            results = sampler(world.process, QUADRATIC, twist, particles=10)(tickets)
            np.testing.assert_array_equal(results.nfe, alone + 1 + 10 * (steps - 1))


def test_from_the_root_of_a_chain_without_levels_every_particle_costs_every_step():
    world = GaussianWorld()
    tickets = tickets_at(world.chain, 0, 3)
    np.testing.assert_array_equal(sampler(world.process, QUADRATIC, particles=10)(tickets).nfe, 50)
    np.testing.assert_array_equal(sampler(world.process, QUADRATIC)(tickets).nfe, 5)


def test_looks_are_charged_what_the_twist_says_gradients_twice_and_candidates_each():
    """5 steps from the root: looks at 5 positions; candidates at 4 of them, x_0's not."""
    world = GaussianWorld(GlancingDenoiser())
    tickets = tickets_at(world.chain, 0, 2)
    linear = Quadratic()

    def cost(guided, candidates):
        twist = KnownTwist(lambda view: linear.score_tensor(view.clean, None), nfe=0.1, reward_calls=1)
        sweep = sampler(
            world.process, linear, twist, guided=guided, chooses=candidates > 1, num_candidates=candidates, particles=10
        )
        results = sweep(tickets)
        return results.nfe[0] - 50, results.reward_calls[0], twist.asked / 2

    assert cost(False, 1) == (5, 50 + 10, 50)
    assert cost(True, 1) == (10, 50 + 10, 50)
    assert cost(False, 3) == (5 + 12, 50 + 120 + 10, 170)
    assert cost(True, 3) == (10 + 12, 50 + 120 + 10, 170)


def test_without_a_lean_nobody_looks_at_what_all_particles_share():
    world = GaussianWorld(GlancingDenoiser(), (0, 2, 3, 5))
    twist = KnownTwist(lambda view: view.clean[:, 0], reward_calls=1)
    results = sampler(world.process, QUADRATIC, twist, particles=10)(tickets_at(world.chain, 1, 1))
    assert twist.asked == 1 + 10 + 10  # the new node at position 3; then positions 4 and 5
    assert results.reward_calls[0] == 21 + 10


# Degenerate inputs


def test_where_every_reward_is_minus_infinity_there_is_no_sample_and_the_search_goes_on():
    def scorer(samples, problem):
        return np.full(len(samples), -np.inf)

    search = Search(SearchConfig(n_rollouts=20), ["a"], CHAIN.process.bind(PROBLEMS[:1]).root_states(), 4)
    for particles in (1, 8):
        sweep = sampler(
            CHAIN.process, scorer, CHAIN.twist("exact"), CHAIN.lam, particles=particles, record_particles=True
        )
        results = sweep(search.ask(3))
        assert (results.value == -np.inf).all()
        assert len(results.samples) == 0
        assert not results.failures
        search.tell(results)
    good = sampler(CHAIN.process, CHAIN.scorer, CHAIN.twist("exact"), CHAIN.lam, particles=8)
    while len(tickets := search.ask(3)):
        search.tell(good(tickets))
    assert np.isfinite(search.samples()[0].log_z)


def test_samples_of_reward_minus_infinity_have_no_weight_and_the_others_their_law():
    def scorer(samples, problem):
        return np.where(samples[:, 0] == 1, -np.inf, CHAIN.reward(samples))

    tickets = tickets_at(CHAIN.whole.bind(PROBLEMS), 0, 2_000)
    results = sampler(CHAIN.whole, scorer, CHAIN.twist("exact"), CHAIN.lam, particles=8, ess_threshold=1.0)(tickets)
    sequences = np.array(CHAIN.process.sequences())
    target = np.zeros(81)
    target[sequences @ CHAIN._base] = np.where(sequences[:, 0] == 1, 0.0, 1.0)
    assert_target(CHAIN.masses(results), target * CHAIN.target())


@pytest.mark.parametrize("level", [0, 2])
def test_for_a_constant_reward_weights_are_alike_and_z_is_exp_lambda_c(level):
    def scorer(samples, problem):
        return np.full(len(samples), -2.5)

    tickets = tickets_at(CHAIN.process.bind(PROBLEMS), level, 20)
    plain = sampler(CHAIN.process, scorer, None, CHAIN.lam, particles=8)(tickets)
    flat = KnownTwist(lambda view: np.full(len(view.problem), -2.5 * CHAIN.lam))
    twisted = sampler(CHAIN.process, scorer, flat, CHAIN.lam, particles=8, ess_threshold=1.0)(tickets)
    for results in (plain, twisted):
        np.testing.assert_allclose(results.value, -2.5, rtol=1e-12)
        np.testing.assert_allclose(results.sample_log_weight, -np.log(8), rtol=1e-12)
    np.testing.assert_array_equal(plain.samples, twisted.samples)


@pytest.mark.parametrize("how", ["raises", "nan", "+inf"])
def test_a_reward_that_fails_for_one_particle_costs_its_ticket_alone(how):
    tickets = tickets_at(CHAIN.whole.bind(PROBLEMS), 0, 6)
    whole = sampler(CHAIN.whole, CHAIN.scorer, CHAIN.twist("noise"), CHAIN.lam, particles=4)(tickets)
    sequences = whole.samples @ CHAIN._base
    lonely = next(s for s in sequences if (sequences == s).sum() == 1)
    hit = int(np.flatnonzero(sequences == lonely)[0]) // 4

    def scorer(samples, problem):
        bad = samples @ CHAIN._base == lonely
        if how == "raises" and bad.any():
            raise RuntimeError("no such series")
        return np.where(bad, {"nan": np.nan, "+inf": np.inf}.get(how, 0.0), CHAIN.reward(samples))

    results = sampler(CHAIN.whole, scorer, CHAIN.twist("noise"), CHAIN.lam, particles=4)(tickets)
    (failure,) = results.failures
    assert failure.ticket == hit
    assert failure.nfe == 16
    assert {"raises": "no such series", "nan": "nan", "+inf": "inf"}[how] in failure.message
    others = np.arange(6) != hit
    np.testing.assert_array_equal(results.id, np.flatnonzero(others))
    np.testing.assert_array_equal(results.value, whole.value[others])
    np.testing.assert_array_equal(results.samples, whole.samples[np.repeat(others, 4)])


def test_where_all_tickets_fail_there_are_only_reasons():
    sweep = sampler(
        CHAIN.process, lambda samples, problem: np.full(len(samples), np.nan), None, particles=4, record_particles=True
    )
    results = sweep(tickets_at(CHAIN.process.bind(PROBLEMS), 0, 3))
    assert len(results) == len(results.samples) == len(results.particle_record) == 0
    assert [failure.ticket for failure in results.failures] == [0, 1, 2]


def test_a_chain_whose_rows_do_not_stay_in_step_is_refused():
    chain = CHAIN.process.bind(PROBLEMS)
    advance = chain.advance
    chain.advance = lambda *args: (step := advance(*args))._replace(levels=np.where(step.levels == 2, 4, step.levels))
    sweep = replace(sampler(CHAIN.process, CHAIN.scorer, particles=4), chain=chain)
    with pytest.raises(ValueError, match="jumped from level 1 to 4"):
        sweep(tickets_at(CHAIN.process.bind(PROBLEMS), 0, 2))


# Configuration


def test_candidates_are_shared_out_by_how_much_siblings_differ():
    assert num_candidates_at(3, 4, None) == 4
    tilt = np.array([0.0, 0.0, 0.1, 1.0, 2.0, 0.0])
    counts = [num_candidates_at(position, 4, tilt) for position in (2, 3, 4)]
    assert counts[0] <= 1 < counts[1] < counts[2] <= 16
    assert num_candidates_at(2, 4, np.zeros(5)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"particles": 0}, "particles must be at least 1, got 0"),
        ({"num_candidates": 0}, "candidates must be at least 1, got 0"),
        (
            {"twist": "best"},
            "twist must be one of none, clean, debiased, flow, module:function, or a function, got 'best'",
        ),
        ({"guidance": "now"}, "guidance must be one of never, possible, always"),
        ({"ess_threshold": 1.5}, r"ess_threshold must be in \[0, 1\]"),
        ({"guidance_scale": 0.0}, "guidance_scale must be a positive number"),
        ({"guidance": "always"}, "guidance='always' needs a twist"),
        (
            {"resampling": "best"},
            "resampling must be one of .*, siblings-K, module:function, or a function, got 'best'",
        ),
        ({"resampling": "siblings-0"}, "got 'siblings-0'"),
        ({"resampling": "siblings-3", "particles": 8}, "8 particles, .* do not divide into siblings-3"),
        ({"split_factor": 0}, "split_factor must be at least 1, got 0"),
        ({"split_factor": 4, "particles": 10}, "10 particles cannot be split from 4 times fewer"),
    ],
)
def test_settings_that_make_no_sweep_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SMCConfig(**settings)


def test_a_plain_rollout_is_one_particle_with_nothing_to_look_at_and_nothing_to_bring():
    assert SMCConfig().plain
    assert not any(SMCConfig(**s).plain for s in ({"particles": 2}, {"twist": "clean"}, {"record_particles": True}))


def test_a_look_that_rules_good_states_out_leaves_z_unbiased():
    exact = CHAIN.twist("exact").function
    twist = KnownTwist(lambda view: np.where(exact(view) > CHAIN.log_z(), LOWEST, exact(view)))
    sweep = sampler(CHAIN.whole, CHAIN.scorer, twist, CHAIN.lam, particles=8, ess_threshold=1.0)
    results = sweep(tickets_at(CHAIN.whole.bind(PROBLEMS), 0, 4000))
    assert_unbiased(log_z_hat(results, CHAIN.lam), CHAIN.log_z())
