"""Joint chains: parts are the chain's own, each with its noise, stepped, charged and looked at together."""

import numpy as np
import pytest
import torch
from smc_worlds import PROBLEMS, ChainWorld, GaussianDenoiser, GaussianWorld, GlancingDenoiser, MixtureWorld

from sadt_ray.interfaces import GenerativeProcess, Problem, Scale, TimeAxis
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.processes.joint_walk import Parts
from sadt_ray.processes.sampling import sample_prior
from sadt_ray.processes.walk import Choice, KnowsResiduals, Walk, Walks, walk_from

JOINT = [joint_problem("all", [*PROBLEMS, PROBLEMS[0]]), joint_problem("again", [PROBLEMS[1]] * 3)]
WORLDS = {
    "chain": lambda: ChainWorld().process,
    "diffusion": lambda: GaussianWorld(branch_steps="every").process,
    "glancing diffusion": lambda: GaussianWorld(GlancingDenoiser(), "every").process,
}


def bound(denoiser=None):
    return JointProcess(GaussianWorld(denoiser or GlancingDenoiser()).process, 3).bind(JOINT)


def walked(chain, position, count, problem=0):
    walk = chain.walk(chain.root_states()[[problem] * count], 0, np.full(count, problem))
    while walk.position < position:
        walk.step(derive_seeds(0, 4, np.arange(count)))
    walk.take_nfe()
    return walk


@pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)
def test_every_part_is_a_row_of_its_own_under_a_seed_of_its_own(make):
    process = make()
    joint = JointProcess(process, 3)
    assert isinstance(joint, GenerativeProcess)
    assert joint.state_shape == (3, *process.state_shape)
    chain, parts = joint.bind(JOINT), process.bind([part for one in JOINT for part in one.extras["parts"]])
    problem, seeds = np.array([1, 0, 1]), derive_seeds(0, 4, np.arange(3))
    states, rows = chain.root_states()[problem], Parts(3).of_problem(problem)
    assert rows.tolist() == [3, 4, 5, 0, 1, 2, 3, 4, 5]
    alone = parts.root_states()[rows]
    for level in range(joint.num_levels):
        step = chain.advance(states, np.full(3, level), problem, seeds)
        apart = parts.advance(alone, np.full(9, level), rows, Parts(3).seeds(seeds))
        np.testing.assert_array_equal(step.states.reshape(apart.states.shape), apart.states)
        np.testing.assert_array_equal(step.nfe, 3 * apart.nfe[:3])
        states, alone = step.states, apart.states
    np.testing.assert_array_equal(chain.decode(states, problem).reshape(9, -1), parts.decode(alone, rows))
    levels = np.full(3, joint.num_levels)
    features = parts.features(alone, levels.repeat(3), rows)
    np.testing.assert_array_equal(chain.features(states, levels, problem), features.reshape(3, -1))


@pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)
def test_a_joint_walk_by_the_prior_is_advance_bit_for_bit(make):
    joint = JointProcess(make(), 3)
    chain = joint.bind(JOINT)
    problem, seeds = np.arange(10) % 2, derive_seeds(0, 4, np.arange(10))
    states = chain.root_states()[problem]
    walk = walk_from(chain, states, 0, problem)
    assert isinstance(walk, Walk)
    assert isinstance(chain, Walks)
    for level in range(joint.num_levels):
        step = chain.advance(states, np.full(10, level), problem, seeds)
        assert walk.step(seeds) is None
        np.testing.assert_array_equal(walk.states(), step.states)
        np.testing.assert_array_equal(walk.take_nfe(), step.nfe)
        states = step.states


def test_parts_are_independent_even_where_they_are_alike():
    alike = joint_problem("alike", [PROBLEMS[0]] * 3)
    samples = sample_prior(JointProcess(GaussianWorld().process, 3), [alike], 4_000)[0]
    assert samples.shape == (4_000, 3, 2)
    correlation = np.corrcoef(samples.reshape(4_000, 6).T) - np.eye(6)
    assert np.abs(correlation).max() < 0.06
    chain = JointProcess(GaussianWorld().process, 3).bind([alike])
    assert isinstance(chain, KnowsResiduals)
    residuals = chain.residuals(2, 2_000)
    assert residuals.shape == (1, 2_000, 3, 2)
    assert np.abs(np.corrcoef(residuals.reshape(2_000, 6).T) - np.eye(6)).max() < 0.09


def test_log_ratios_of_parts_that_lean_add_up():
    chain, along = bound(), torch.tensor([[0.3, 0.0], [0.0, 0.0], [0.0, 0.9]])
    walk = walked(chain, 2, 5)
    states = walk.states().reshape(15, 2)
    inner = chain.chain.walk(states, 2, Parts(3).of_problem(np.zeros(5, int)))
    seeds = derive_seeds(1, 4, np.arange(5))
    log_ratio = walk.step(seeds, along.expand(5, 3, 2))
    apart = inner.step(Parts(3).seeds(seeds), along.expand(5, 3, 2).flatten(0, 1))
    np.testing.assert_allclose(log_ratio, apart.reshape(5, 3).sum(1))
    np.testing.assert_array_equal(walk.states().reshape(15, 2), inner.states())


@pytest.mark.parametrize("guided", [False, True])
def test_a_choice_among_joint_candidates_is_weighed_exactly(guided):
    """E[p/q f(x')] is E_p[f(x')], whatever candidates are chosen by."""
    chain, count = bound(), 30_000
    walk, plain = (walked(chain, 3, 1) for _ in range(2))
    for each in (walk, plain):
        each.evaluate()
        each.take_nfe()
        each.take(np.zeros(count, int))
    along = torch.tensor([[0.3, 0.0], [0.0, 0.2], [0.0, -0.4]]).expand(count, 3, 2) if guided else None
    seeds = derive_seeds(2, 4, np.arange(count))
    log_ratio = walk.step(seeds, along, Choice(4, lambda view: 0.8 * (view.clean[:, 0, 0] - view.clean[:, 2, 1])))
    plain.step(seeds)
    assert walk.position == 4
    chosen, drawn = walk.states().reshape(count, 6), plain.states().reshape(count, 6)
    assert chosen[:, 0].mean() > drawn[:, 0].mean() + 0.1
    weights = np.exp(log_ratio)
    error = np.sqrt((weights**2).mean() * drawn.var(0) / count) + drawn.std(0) / np.sqrt(count)
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(count)
    assert np.all(np.abs((weights[:, None] * (chosen - drawn.mean(0))).mean(0)) < 4 * error)


def test_candidates_share_what_one_evaluation_of_every_part_costs():
    for denoiser, dearest in ((GlancingDenoiser(), 0), (GaussianDenoiser(), 4)):
        walk = walked(bound(denoiser), 2, 5)
        walk.step(derive_seeds(1, 4, np.arange(5)), None, Choice(4, lambda view: view.clean.sum((1, 2))))
        np.testing.assert_array_equal(walk.take_nfe(), 3 * (1 + dearest))
        walk.evaluate()
        np.testing.assert_array_equal(walk.take_nfe(), 3 if dearest == 0 else 0)


def test_looks_are_stacks_and_gradients_come_back_to_each_part():
    walk = walked(bound(), 3, 4)
    view = walk.look(gradient=True)
    assert view.clean.shape == (4, 3, 2)
    assert view.features().shape == (4, 9)
    gradient = walk.gradient((view.clean * torch.arange(6.0).reshape(3, 2)).sum((1, 2)))
    np.testing.assert_allclose(gradient[0], 2 * np.arange(6.0).reshape(3, 2))  # decoding doubles
    clean = bound().predict_clean(walk.states()[:, :, :], np.ones(4, int), np.zeros(4, int))
    assert clean.shape == (4, 3, 2)


def test_what_does_not_fit_is_named():
    joint = JointProcess(GaussianWorld().process, 3)
    with pytest.raises(ValueError, match="'near' has 0 parts, but the process takes 3"):
        joint.bind(PROBLEMS)
    with pytest.raises(ValueError, match="at least one"):
        JointProcess(GaussianWorld().process, 0)
    with pytest.raises(ValueError, match="contexts of one shape"):
        joint_problem("odd", [PROBLEMS[0], Problem("long", np.zeros(5))])
    assert joint_problem("known", [Problem("a", np.zeros(2), truth=np.ones(3))]).truth.shape == (1, 3)
    assert joint_problem("unknown", PROBLEMS).truth is None
    mixture = JointProcess(MixtureWorld().process, 3)
    assert not mixture.bind(JOINT).supports_guidance
    with pytest.raises(ValueError, match="does not know the distribution of x_0"):
        mixture.bind(JOINT).residuals(1, 5)
    with pytest.raises(ValueError, match="cannot move"):
        mixture.with_device("cpu")


def test_a_joint_problem_has_the_channels_of_all_parts_and_their_dates_if_they_agree():
    january, june = TimeAxis("2026-01-01T00:00", "h"), TimeAxis("2026-06-01T00:00", "h")
    parts = [
        Problem("a", np.zeros(3), time=january, scale=Scale((1.0,), (2.0,), ("load",), "MW")),
        Problem("b", np.zeros(3), time=january, scale=Scale((3.0,), (4.0,), ("wind",), "MW")),
    ]
    joint = joint_problem("both", parts)
    assert joint.time == january
    assert joint.scale == Scale((1.0, 3.0), (2.0, 4.0), ("load", "wind"), "MW")
    other = joint_problem("both", [parts[0], Problem("c", np.zeros(3), time=june)])
    assert (other.time, other.scale.unit) == (None, "")
