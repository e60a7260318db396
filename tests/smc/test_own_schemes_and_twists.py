"""Resampling schemes and twists of a user's own: as unbiased as the built-in ones, and refused with their names."""

import json
import pickle

import numpy as np
import pytest
import torch
from smc_worlds import PROBLEMS, ChainWorld, MixtureWorld, assert_unbiased, sampler, tickets_at

from sadt_ray import FunctionReward, Problem, sample
from sadt_ray.config import settings_of
from sadt_ray.methods import fk, sadt, sadt_tree, sweep
from sadt_ray.rollout.spec import RolloutFactory, RolloutSpec
from sadt_ray.smc.config import SMCConfig, siblings_per_parent
from sadt_ray.smc.resampling import scheme_named, systematic
from sadt_ray.smc.twists import LOWEST, FunctionTwist, NoTwist, Twist, clean_of

HERE = __name__
CHAIN = ChainWorld()


def coins(weights, uniforms):
    """A particle stays with probability W_i / max W, or takes the place of one drawn by W: Metropolis-like, biased."""
    return np.where(uniforms < weights / weights.max(1, keepdims=True), np.arange(weights.shape[1]), 0)


def branching_systematic(weights, uniforms):
    """Systematic resampling in reverse order of the particles, written anew."""
    n = weights.shape[1]
    ladder = (np.arange(n) + uniforms[:, :1]) / n
    cumulative = weights[:, ::-1].cumsum(1)
    cumulative[:, -1] = 1.0
    return n - 1 - (cumulative[:, None, :] <= ladder[:, :, None]).sum(2)


def short(weights, uniforms):
    return np.zeros((len(weights), 1), np.int64)


def broken(weights, uniforms):
    return np.full(weights.shape, np.nan)


def beyond(weights, uniforms):
    return np.full(weights.shape, weights.shape[1])


def chain_particles(**config):
    tickets = tickets_at(CHAIN.whole.bind(PROBLEMS), 0, 2_000)
    config = {"particles": 16, "ess_threshold": 1.0, **config}
    return sampler(CHAIN.whole, CHAIN.scorer, CHAIN.twist("noise"), CHAIN.lam, **config)(tickets)


@pytest.mark.parametrize("scheme", [branching_systematic, f"{HERE}:branching_systematic"], ids=["function", "name"])
def test_a_scheme_that_keeps_expected_copies_keeps_z_and_the_target(scheme):
    results = chain_particles(resampling=scheme)
    assert_unbiased(CHAIN.lam * results.value, CHAIN.log_z())
    masses, target = CHAIN.masses(results), CHAIN.target()
    error = masses.std(0) / np.sqrt(len(masses))
    seen = (masses > 0).sum(0) >= 20
    assert np.abs((masses.mean(0) - target)[seen] / error[seen]).max() < 4.5


def test_a_scheme_that_does_not_is_seen_in_z():
    results = chain_particles(resampling=coins)
    with pytest.raises(AssertionError):
        assert_unbiased(CHAIN.lam * results.value, CHAIN.log_z())


def test_a_built_in_scheme_given_as_a_function_gives_the_same_particles():
    named, given = chain_particles(), chain_particles(resampling=systematic)
    np.testing.assert_array_equal(named.value, given.value)
    np.testing.assert_array_equal(named.samples, given.samples)


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (short, r"must return integers of shape \(2, 4\).* it returned int64 of shape \(2, 1\)"),
        (broken, "must return integers .* it returned float64"),
        (beyond, "must return particles from 0 to 3, it returned 4"),
        (lambda weights, uniforms: -np.ones((2, 4), int), "must return particles from 0 to 3, it returned -1"),
    ],
)
def test_impossible_ancestors_are_an_error_that_names_the_scheme(scheme, message):
    with pytest.raises(ValueError, match=f"the resampling scheme {HERE}:.* {message}"):
        scheme_named(scheme)(np.full((2, 4), 0.25), np.full((2, 4), 0.5))


def test_small_integers_are_ancestors_too():
    ancestors = scheme_named(lambda weights, uniforms: np.zeros(weights.shape, np.uint8))(
        np.ones((1, 3)), np.ones((1, 3))
    )
    assert ancestors.dtype == np.int64


def test_a_scheme_of_ones_own_has_no_siblings_and_is_taken_by_the_methods():
    assert siblings_per_parent(coins) == siblings_per_parent(f"{HERE}:coins") == 1
    assert not SMCConfig(particles=4, resampling=coins).siblings
    for method in (fk, sweep, sadt):
        made = method(n_rollouts=64, resampling=coins, record_resampling=f"{HERE}:coins")
        assert made.smc.resampling is coins
        assert pickle.loads(pickle.dumps(made.smc)) == made.smc
        assert json.loads(json.dumps(settings_of(made)))["smc"]["resampling"] == f"{HERE}:coins"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resampling": f"{HERE}:none"}, "has no 'none'"),
        ({"record_resampling": "no_such_module:scheme"}, "cannot import 'no_such_module' for the scheme"),
        ({"resampling": 3}, "module:function, or a function, got 3"),
        ({"twist": f"{HERE}:none"}, "has no 'none'"),
        ({"twist": "best"}, "twist must be one of none, clean, debiased, flow, module:function, or a function"),
        ({"twist": None}, "got None"),
    ],
)
def test_what_does_not_exist_is_refused_where_it_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        SMCConfig(**settings)


def exact_twist(chain, scorer, num_positions, inv_temperature):
    """lambda V of every prefix: weights are then all alike."""
    assert inv_temperature == CHAIN.lam
    assert num_positions == 5
    return FunctionTwist(CHAIN.twist("exact").function)


def tempered_clean(chain, scorer, num_positions, inv_temperature):
    """r(x0_hat), believed the more the nearer x_0 is."""

    def log_twist(view):
        belief = view.position / (num_positions - 1)
        return belief * inv_temperature * torch.as_tensor(scorer(clean_of(view).numpy(), view.problem))

    return FunctionTwist(log_twist, reward_calls=1)


def rolled_out(twist, **smc):
    process, scorer = CHAIN.whole, CHAIN.scorer
    chain = process.bind(PROBLEMS)
    spec = RolloutSpec("none", SMCConfig(**{"particles": 8, "ess_threshold": 1.0, **smc, "twist": twist}), CHAIN.lam)
    return RolloutFactory(chain, scorer, process.num_levels, spec), tickets_at(chain, 0, 1_000)


@pytest.mark.parametrize("twist", [exact_twist, f"{HERE}:exact_twist"], ids=["function", "name"])
def test_a_twist_given_by_what_makes_it_is_the_one_that_particles_are_weighted_by(twist):
    factory, tickets = rolled_out(twist)
    results = factory.rollout_fn()(tickets)
    assert_unbiased(CHAIN.lam * results.value, CHAIN.log_z())
    known = sampler(CHAIN.whole, CHAIN.scorer, CHAIN.twist("exact"), CHAIN.lam, particles=8, ess_threshold=1.0)
    np.testing.assert_array_equal(results.value, known(tickets).value)


def test_a_twist_that_knows_nothing_of_some_rows_keeps_z():
    def sometimes(view):
        log_twist = torch.as_tensor(CHAIN.twist("noise").function(view))
        log_twist[::3], log_twist[1::5] = torch.nan, -torch.inf
        return log_twist

    factory, tickets = rolled_out(lambda *bound: FunctionTwist(sometimes))
    assert_unbiased(CHAIN.lam * factory.rollout_fn()(tickets).value, CHAIN.log_z())


def test_what_a_twist_costs_is_counted():
    factory, tickets = rolled_out(lambda *bound: FunctionTwist(CHAIN.twist("noise").function, reward_calls=2, nfe=0.5))
    results = factory.rollout_fn()(tickets)
    free = rolled_out(lambda *bound: FunctionTwist(CHAIN.twist("noise").function))[0].rollout_fn()(tickets)
    np.testing.assert_array_equal(results.value, free.value)
    looks = 3 * 8  # at three positions between the root and x_0
    np.testing.assert_array_equal(results.reward_calls - free.reward_calls, 2 * looks)
    np.testing.assert_array_equal(results.nfe - free.nfe, looks // 2)


def test_a_function_twist_is_a_twist_and_its_answers_are_finite():
    twist = FunctionTwist(lambda view: np.array([1.0, np.nan, -np.inf]))
    assert isinstance(twist, Twist)
    assert (twist.idle, twist.differentiable, twist.nfe, twist.reward_calls, twist.tilt) == (False, False, 0, 0, None)
    view = type("View", (), {"problem": np.zeros(3, int)})
    np.testing.assert_array_equal(twist(view), [1.0, LOWEST, LOWEST])
    with pytest.raises(ValueError, match=r"the twist .*<lambda> must return 3 numbers.* returned the shape \(3, 1\)"):
        FunctionTwist(lambda view: np.zeros((3, 1)))(view)


def no_twist_at_all(chain, scorer, num_positions, inv_temperature):
    return lambda view: view


@pytest.mark.parametrize("twist", [no_twist_at_all, f"{HERE}:no_twist_at_all"])
def test_what_is_not_a_twist_is_refused_with_what_it_lacks(twist):
    message = f"{HERE}:no_twist_at_all must return a twist.* function, which has no idle, differentiable"
    with pytest.raises(ValueError, match=message):
        rolled_out(twist)[0].rollout_fn()


def test_a_class_with_its_own_attributes_is_a_factory():
    class Mine(NoTwist):
        def __init__(self, chain, scorer, num_positions, inv_temperature):
            self.lam = inv_temperature

    assert rolled_out(Mine)[0].twist().lam == CHAIN.lam


def test_a_config_with_a_twist_of_ones_own_is_not_plain_and_its_leaves_are_the_priors():
    config = SMCConfig(twist=exact_twist)
    assert not config.plain
    assert not config.leaf_is_selected
    assert SMCConfig(twist=exact_twist, particles=2).leaf_is_selected
    assert SMCConfig(twist=exact_twist, guidance="possible").leaf_is_selected
    assert not SMCConfig(twist=exact_twist, guidance="always").plain
    assert sadt_tree(twist=f"{HERE}:exact_twist").smc.twist == f"{HERE}:exact_twist"


@pytest.mark.parametrize("method", [sweep, sadt, sadt_tree])
def test_a_search_of_the_mixture_under_a_twist_of_ones_own_finds_z(method):
    world = MixtureWorld()

    def soft_value(chain, scorer, num_positions, inv_temperature):
        return FunctionTwist(world.twist("half").function)

    made = method(n_rollouts=2_048, twist=soft_value)
    reward = FunctionReward(lambda samples, problem: world.scorer(samples, None))
    (found,) = sample(world.process, [Problem("mixture", np.zeros(0))], reward, made)
    assert abs(found.log_z) < 0.6  # Z = 1


def test_a_tempered_look_ahead_keeps_z():
    """The example of the how-to page; the mixture's walks have no x0_hat, so a Gaussian world is searched."""
    from smc_worlds import GaussianWorld, Quadratic

    world, reward, lam = GaussianWorld(), Quadratic(), 0.7
    chain = world.process.bind(PROBLEMS)
    spec = RolloutSpec("none", SMCConfig(particles=8, twist=tempered_clean, ess_threshold=1.0), lam)
    results = RolloutFactory(chain, reward, world.process.num_levels, spec).rollout_fn()(tickets_at(chain, 0, 2_000))
    assert_unbiased(lam * results.value, reward.tilted(*world.law(0), lam)[0])
