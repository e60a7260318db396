"""Tempering and its surrogate against closed forms of a linear-Gaussian chain."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from smc_worlds import PROBLEMS, ChainWorld, GaussianDenoiser, GaussianWorld, Quadratic, pooled, tickets_at

import sadt_ray
from sadt_ray.api import _method_of
from sadt_ray.config import settings_of
from sadt_ray.interfaces import Problem
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rollout.spec import RolloutFactory, RolloutSpec
from sadt_ray.smc.config import SMCConfig, Tempering
from sadt_ray.smc.tempering.run import Target

WORLD = GaussianWorld()
STEPS = WORLD.sampler.num_steps
CENTRED = Problem("centred", np.zeros(2))
DEPTHS = (-3.0, -10.0, -20.0)
SIZES = {-3.0: (500, 0.5), -10.0: (2_000, 1.0), -20.0: (4_000, 1.5)}  # particles, and the largest sd of log Z
DIRECTION = np.array([0.8, 0.3])


class Own:
    """A scorer that is its own reward."""

    oracle = False

    def bind(self, problems):
        return self


@dataclass
class Above(Own):
    """a.x >= bound, which must hold."""

    bound: float

    def margin(self, samples, problem):
        return samples @ DIRECTION - self.bound

    def __call__(self, samples, problem):
        return np.where(samples @ DIRECTION >= self.bound, 0.0, -np.inf)


class Unhelpful(Above):
    """The same, which does not say how far a sample is from it."""

    margin = None


class Never(Own):
    """Nothing satisfies it; the margin has a largest value."""

    def margin(self, samples, problem):
        return -1.0 - np.square(samples).sum(-1)

    def __call__(self, samples, problem):
        return np.full(len(samples), -np.inf)


class Counting(GaussianDenoiser):
    """Counts the rows it is evaluated on."""

    rows = 0

    def denoised(self, x, sigma, conditioning):
        type(self).rows += len(x)
        return super().denoised(x, sigma, conditioning)


class Unsure(GaussianDenoiser):
    clean_spread = None


def run(scorer, particles, problem=PROBLEMS[0], count=12, lam=1.0, process=WORLD.process, seed=0, **tempering):
    """Results of so many tickets of one problem, each a whole run."""
    chain = process.bind([problem])
    spec = RolloutSpec("none", SMCConfig(particles=particles, tempering=Tempering(**tempering)), lam)
    tickets = replace(tickets_at(chain, 0, count, seed), state=np.repeat(chain.root_states(), count, axis=0))
    return RolloutFactory(chain, scorer, 1, spec).rollout_fn()(tickets)


def law(problem):
    """Mean and sd of the decoded x_0."""
    return 2 * problem.context + 1, 2 * GaussianDenoiser.spread.double().numpy()


def assert_mean(found, truth, bias=0.0):
    """Within four standard errors of the mean of independent estimates, and a stated bias."""
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    np.testing.assert_array_less(np.abs(np.mean(found, axis=0) - truth), 4 * error + bias + 1e-6)


def means(results):
    """Weighted mean of the samples of every ticket."""
    ticket = np.repeat(np.arange(len(results)), np.diff(results.sample_splits))
    out = np.zeros((len(results), results.samples.shape[1]))
    np.add.at(out, ticket, np.exp(results.sample_log_weight)[:, None] * results.samples)
    return out


def above_at(depth, problem):
    """Bound, and conditional mean, of a condition of log-probability ``depth``."""
    (mean, sd), threshold = law(problem), norm.isf(np.exp(depth))
    spread = np.sqrt(np.square(DIRECTION * sd).sum())
    hazard = np.exp(norm.logpdf(threshold) - depth)
    return DIRECTION @ mean + threshold * spread, mean + sd**2 * DIRECTION / spread * hazard


def quadratic_at(depth, problem, lam):
    """A reward of log Z = ``depth``: the further its centre, the lower."""
    low, high = 0.0, 100.0
    for _ in range(60):
        shift = (low + high) / 2
        reward = Quadratic((0.0, 0.0), (0.1, 0.2), law(problem)[0] + shift)
        low, high = (shift, high) if reward.tilted(*law(problem), lam)[0] > depth else (low, shift)
    return reward


@pytest.mark.parametrize("depth", DEPTHS)
def test_tempering_finds_log_z_and_the_mean_of_a_quadratic_reward(depth):
    lam = 2.0
    reward, (particles, spread) = quadratic_at(depth, PROBLEMS[0], lam), SIZES[depth]
    log_z, mean, sd = reward.tilted(*law(PROBLEMS[0]), lam)
    results = run(reward, particles, lam=lam)
    assert log_z == pytest.approx(depth, abs=1e-6)
    assert_mean(lam * results.value, depth)
    assert_mean(means(results), mean, bias=0.05 * sd)
    assert (lam * results.value).std() < spread
    assert np.sqrt(np.average(np.square(results.samples - mean), axis=0, weights=pooled(results, lam).weights)) == (
        pytest.approx(sd, rel=0.25)
    )


@pytest.mark.parametrize("depth", DEPTHS)
def test_subset_simulation_finds_the_probability_and_the_mean_of_a_rare_event(depth):
    (bound, mean), (particles, spread) = above_at(depth, PROBLEMS[0]), SIZES[depth]
    results = run(Above(bound), particles, count=24 if depth == -10.0 else 12)
    assert_mean(results.value, depth)
    assert_mean(means(results), mean)
    assert results.value.std() < spread
    assert (results.samples @ DIRECTION >= bound).all()
    assert (results.rewards == 0).all()


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_surrogate_that_is_exact_finds_both_with_few_evaluations(depth):
    bound, mean = above_at(depth, CENTRED)
    results = run(Above(bound), 200, CENTRED, 8, surrogate=True, draft_calls=8_192)
    assert_mean(results.value, depth)
    assert_mean(means(results), mean)
    assert results.value.std() < 0.5
    assert (results.nfe == 200 * STEPS).all()
    reward = quadratic_at(depth, CENTRED, 2.0)
    results = run(reward, 200, CENTRED, 8, 2.0, surrogate=True, draft_calls=8_192)
    assert_mean(2.0 * results.value, depth)
    assert_mean(means(results), reward.tilted(*law(CENTRED), 2.0)[1])


def test_a_surrogate_that_is_off_is_weighted_and_its_condition_has_slack():
    near = Problem("near", np.array([0.15, -0.3]))  # the draft has mean 0
    reward = quadratic_at(-3.0, near, 2.0)
    results = run(reward, 1_000, near, lam=2.0, surrogate=True, draft_calls=4_096)
    assert_mean(2.0 * results.value, -3.0)
    assert_mean(means(results), reward.tilted(*law(near), 2.0)[1])
    low = Problem("low", np.array([0.1, 0.1]))  # the prior satisfies the condition more often than its draft
    bound, mean = above_at(-10.0, low)
    results = run(Above(bound), 1_000, low, surrogate=True, draft_calls=4_096)
    assert_mean(results.value, -10.0, bias=0.05)
    assert_mean(means(results), mean, bias=0.05)


@pytest.mark.parametrize("surrogate", [False, True])
def test_a_condition_and_a_reward_together(surrogate):
    """Linear: the prior tilted by exp(lambda c.x) is Gaussian with another mean, and the condition cuts that."""
    lam, slope = 2.0, np.array([0.2, -0.3])
    mean, sd = law(CENTRED)
    bound, _ = above_at(-6.0, CENTRED)
    log_z, shifted, _ = Quadratic(slope).tilted(mean, sd, lam)
    spread = np.sqrt(np.square(DIRECTION * sd).sum())
    truth = log_z + norm.logsf((bound - DIRECTION @ shifted) / spread)
    linear = Quadratic(slope)
    linear.bind, linear.oracle = (lambda problems: linear), False
    both = WeightedSum((1.0, linear), (1.0, Above(bound))).bind([CENTRED])
    results = run(both, 1_500 if not surrogate else 200, CENTRED, lam=lam, surrogate=surrogate)
    assert_mean(lam * results.value, truth)
    assert (results.samples @ DIRECTION >= bound).all()


def test_channels_of_a_joint_problem_move_together():
    """Independent channels and a sum of rewards: log Z is a sum too."""
    process, problem = JointProcess(WORLD.process, 2), joint_problem("both", [CENTRED, PROBLEMS[0]])
    reward = Quadratic((0.3, -0.2), (0.1, 0.3), (2.0, 1.0))
    truth = sum(reward.tilted(*law(part), 1.0)[0] for part in (CENTRED, PROBLEMS[0]))
    results = run(lambda samples, rows: reward(samples, rows).sum(1), 1_000, problem, process=process)
    assert results.samples.shape[1:] == (2, 2)
    assert results.path_state.shape[1:] == (2, 2)
    assert_mean(results.value, truth)
    assert np.all(np.abs(results.nfe - 1_000 * 2 * STEPS) < 0.5 * 1_000 * 2 * STEPS)


@pytest.mark.parametrize("surrogate", [False, True])
@pytest.mark.parametrize("scorer", [Never(), Unhelpful(1e3), lambda samples, problem: np.full(len(samples), -np.inf)])
def test_what_nothing_satisfies_has_no_weight(scorer, surrogate):
    results = run(scorer, 60, count=3, surrogate=surrogate)
    assert (results.value == -np.inf).all()
    assert len(results.samples) == len(results.rewards) == 0
    assert (results.nfe <= 1.5 * 60 * STEPS + 16 * STEPS).all()


def test_a_search_that_finds_nothing_has_no_samples_and_log_z_minus_infinity():
    found = sadt_ray.search(WORLD.process, [CENTRED, PROBLEMS[0]], Never(), sadt_ray.tempered(n_rollouts=50))
    assert len(found.with_samples()) == 0
    assert (found.tree.columns.value[:2] == -np.inf).all()


def test_a_black_box_of_which_some_samples_are_allowed_is_weighted_by_their_share():
    bound, mean = above_at(np.log(0.1), PROBLEMS[0])
    results = run(Unhelpful(bound), 1_000)
    assert_mean(results.value, np.log(0.1))
    assert_mean(means(results), mean)


def test_a_margin_that_contradicts_the_reward_gives_way():
    class Sloppy(Above):
        def margin(self, samples, problem):
            return np.where(samples[:, 0] > 0, 1.0, -1.0)

    bound, _ = above_at(np.log(0.3), PROBLEMS[0])
    assert_mean(run(Sloppy(bound), 500).value, np.log(0.3))


@pytest.mark.parametrize("surrogate", [False, True])
def test_a_ticket_does_not_depend_on_its_batch(surrogate):
    reward = quadratic_at(-10.0, CENTRED, 1.0)
    chain = WORLD.process.bind([CENTRED, PROBLEMS[0]])
    spec = RolloutSpec("none", SMCConfig(particles=80, tempering=Tempering(surrogate, draft_calls=500)), 1.0)
    roll = RolloutFactory(chain, reward, 1, spec).rollout_fn()
    tickets = replace(tickets_at(chain, 0, 6), problem=np.array([0, 1, 0, 1, 1, 0]))
    together, order = roll(tickets), np.array([4, 0, 5])
    apart = RolloutFactory(chain, reward, 1, spec).rollout_fn()(tickets.take(order))
    for name in ("id", "value", "nfe", "reward_calls", "path_state"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(together, name)[order])
    rows = np.concatenate([np.arange(*together.sample_splits[b : b + 2]) for b in order])
    np.testing.assert_array_equal(apart.samples, together.samples[rows])
    assert len(set(together.value)) == 6


@pytest.mark.parametrize("surrogate", [False, True])
def test_what_is_charged_is_what_was_evaluated_and_near_the_budget(surrogate):
    process = DiffusionProcess(Counting(), WORLD.sampler, "none")
    for reward in (Above(above_at(-8.0, CENTRED)[0]), quadratic_at(-1.0, CENTRED, 1.0), quadratic_at(-8.0, CENTRED, 1)):
        for particles in (100, 400):
            Counting.rows = 0
            results = run(
                reward, particles, CENTRED, 2, process=process, surrogate=surrogate, blocks=3, draft_calls=500
            )
            assert results.nfe.sum() == Counting.rows
            assert np.all(np.abs(results.nfe / (particles * STEPS) - 1) < (1e-9 if surrogate else 0.3))


def test_a_prior_that_is_no_function_of_noises_or_has_no_draft_is_refused():
    world, method = ChainWorld(), sadt_ray.tempered(n_rollouts=20)
    with pytest.raises(ValueError, match=r"not a function of Gaussian noises.*smc-debiased"):
        sadt_ray.search(world.process, PROBLEMS, Above(0.0), method)
    unsure = DiffusionProcess(Unsure(), WORLD.sampler)
    with pytest.raises(ValueError, match=r"Unsure has no clean_spread.*tempered"):
        sadt_ray.search(unsure, PROBLEMS, Above(0.0), sadt_ray.surrogate(n_rollouts=20))


def test_a_reward_that_raises_fails_the_ticket_and_its_cost_is_known():
    def broken(samples, problem):
        raise RuntimeError("no reward today")

    for surrogate in (False, True):
        results = run(broken, 50, count=2, surrogate=surrogate)
        assert len(results) == 0
        assert [failure.ticket for failure in results.failures] == [0, 1]
        assert all("no reward today" in failure.message for failure in results.failures)
        assert all((failure.nfe == 0) == surrogate for failure in results.failures)


@pytest.mark.parametrize("method", [sadt_ray.tempered, sadt_ray.surrogate])
def test_as_a_method_its_runs_are_pooled_by_z_and_seeded(method):
    problems, reward = [CENTRED, PROBLEMS[0]], Above(above_at(-4.0, CENTRED)[0])
    settings = {"n_rollouts": 400, "particles": 100, "seed": 3}
    found = sadt_ray.search(WORLD.process, problems, reward, method(**settings))
    assert found.told.tolist() == [4, 4]
    again = sadt_ray.search(WORLD.process, problems, reward, method(**settings), batch_size=1)
    other = sadt_ray.search(WORLD.process, problems, reward, method(**settings | {"seed": 4}))
    value = found.tree.column("value")
    np.testing.assert_array_equal(value[:2], again.tree.column("value")[:2])
    assert (value[:2] != other.tree.column("value")[:2]).all()
    leaves = value[found.tree.column("parent") == 0]
    assert np.exp(value[0]) == pytest.approx(np.exp(leaves).mean())
    (first, _) = found.samples()
    assert first.weights.sum() == pytest.approx(1)
    assert (first.samples @ DIRECTION >= reward.bound).all()


def test_a_budget_of_evaluations_is_kept_and_settings_come_back_from_a_file():
    method = sadt_ray.tempered(max_nfe=2_000, moves=5)
    found = sadt_ray.search(WORLD.process, [CENTRED], Above(above_at(-4.0, CENTRED)[0]), method)
    assert 0.7 * 2_000 < found.nfe[0] < 1.5 * 2_000
    sized = sadt_ray.surrogate(n_rollouts=300, moves=5, draft_calls=99)
    kept = json.loads(json.dumps({"name": "surrogate", **settings_of(sized)}, default=str))
    assert _method_of({**kept, "search": {**kept["search"], "widen_c": "inf"}}).smc == sized.smc
    with pytest.raises(TypeError, match="no parameter 'move'; did you mean 'moves'"):
        sadt_ray.tempered(move=3)
    with pytest.raises(ValueError, match="level_share must be between 0 and 1, got 2"):
        sadt_ray.tempered(level_share=2)


def test_a_target_rules_out_what_is_below_its_floor_and_stands_in_for_missing_rewards():
    rewards, margins = torch.tensor([[1.0, -np.inf, -np.inf], [0.5, -0.1, -2.0]], dtype=torch.float64)
    runs = type("Runs", (), {"rewards": rewards, "margins": margins})
    np.testing.assert_array_equal(Target(-1.0, 2.0, 0.3).log_density(runs), [2.0, 0.6, -np.inf])
    np.testing.assert_array_equal(Target(0.0, 2.0).log_density(runs), [2.0, -np.inf, -np.inf])
    np.testing.assert_array_equal(Target().log_density(runs), [0.0, 0.0, 0.0])
