"""Walks through the exact mixture: the same law as its leaps, candidates that weights make up for, costs."""

import numpy as np
import pytest
import torch

from sadt_ray.interfaces import Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.gaussian_mixture import DensityRatioReward, grid_prior, nine_mode_posterior
from sadt_ray.processes.mixture_walk import WalkedMixtureProcess
from sadt_ray.processes.walk import Choice

STEPS = (40, 41, 42, 60, 61, 100)
PROCESS = WalkedMixtureProcess(grid_prior(), branch_steps=(60, 100), walk_steps=STEPS)
REWARD = DensityRatioReward(grid_prior(), nine_mode_posterior())


def walk(rows, position=0, states=None):
    chain = PROCESS.bind([Problem("one", np.zeros(0))])
    problem = np.zeros(rows, int)
    return chain.walk(chain.root_states()[problem] if states is None else states, position, problem)


def seeds(rows, stream=0):
    return derive_seeds(7, stream, np.arange(rows))


def test_levels_stand_at_their_steps_and_leaps_are_charged_step_by_step():
    chain = PROCESS.bind([Problem("one", np.zeros(0))])
    assert chain.level_positions.tolist() == [0, 4, 6]
    one, spent = walk(3), []
    for _ in STEPS:
        one.step(seeds(3))
        spent.append(one.take_nfe().tolist())
    assert spent == [[40] * 3, [1] * 3, [1] * 3, [18] * 3, [1] * 3, [39] * 3]
    assert PROCESS.with_branch_steps("none").bind([]).level_positions.tolist() == [0, 6]


def test_without_a_choice_it_ends_in_the_prior():
    one = walk(20_000)
    while one.position < len(STEPS):
        assert one.step(seeds(20_000)) is None
    counts = np.bincount(grid_prior().nearest_mode(one.states()), minlength=25) / 20_000
    assert np.abs(counts - 1 / 25).max() < 5 * np.sqrt(0.04 * 0.96 / 20_000)
    centred = one.states() - grid_prior().means[grid_prior().nearest_mode(one.states())]
    assert centred.std() == pytest.approx(np.sqrt(0.3), rel=0.03)


@pytest.mark.parametrize("exact", [True, False])
def test_weights_make_up_for_what_a_choice_prefers(exact):
    """E[w f(x)] over candidates is E[f(x)] under the prior, whatever psi they are chosen by."""
    rows, position = 40_000, 5
    start = np.tile([[0.5, -1.5]], (rows, 1))
    assert STEPS[position - 2 : position] == (60, 61)

    def log_twist(view):
        states = view.features()[:, :2].double()
        if exact:
            return torch.as_tensor(REWARD.soft_value(states.numpy(), float(PROCESS.sigmas[61])))
        return 3.0 * states[:, 0]

    plain, chosen = walk(rows, position - 1, start), walk(rows, position - 1, start)
    assert plain.step(seeds(rows)) is None
    log_ratio = chosen.step(seeds(rows, 1), choice=Choice(4, log_twist))
    weights = np.exp(log_ratio)
    assert weights.mean() == pytest.approx(1, abs=0.03)
    weighted = (weights[:, None] * chosen.states()).mean(0)
    np.testing.assert_allclose(weighted, plain.states().mean(0), atol=0.03)
    assert np.abs(chosen.states().mean(0) - plain.states().mean(0)).max() > 0.03, "the choice changes something"
    assert chosen.take_nfe().tolist() == [1] * rows, "candidates share an evaluation"


def test_a_leap_is_drawn_from_the_prior_and_there_are_no_gradients():
    one = walk(4)
    assert one.step(seeds(4), choice=Choice(8, lambda view: torch.zeros(len(view.problem)))) is None
    with pytest.raises(ValueError, match="gradients"):
        one.gradient(torch.zeros(4))
    one.take(np.array([1, 1]))
    assert len(one.states()) == len(one.take_nfe()) == 2
