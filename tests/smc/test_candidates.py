"""A look that fails, or says minus infinity, takes no candidate out of reach: Z-hat stays unbiased."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from smc_worlds import (
    PROBLEMS,
    GaussianWorld,
    GlancingDenoiser,
    KnownTwist,
    Quadratic,
    assert_unbiased,
    sampler,
    tickets_at,
)

from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.smc.twists import LOWEST

WORLD = GaussianWorld(GlancingDenoiser())
REWARD, LAM = Quadratic(), 0.8


def blind(view):
    """Knows nothing good of half of the states, those where most of the target is."""
    first = view.clean.detach().double().numpy().reshape(len(view.problem), -1)[:, 0]
    return np.where(first > 1.5, LOWEST, -0.3 * first)


class Leaning(KnownTwist):
    """The same, with a gradient beside it."""

    differentiable = True

    def __call__(self, view):
        known = super().__call__(view)
        return torch.where(known == LOWEST, known, known + 0.1 * view.clean.double().sum(1))


@pytest.mark.parametrize("twist", [KnownTwist(blind), Leaning(blind)], ids=["plain", "leaning"])
def test_what_is_not_known_of_a_candidate_does_not_rule_it_out(twist):
    sweeps = sampler(
        WORLD.process, REWARD, twist, LAM, guided=twist.differentiable, chooses=True, num_candidates=4, particles=8
    )
    results = sweeps(tickets_at(WORLD.chain, 0, 1_500))
    log_z, _, _ = REWARD.tilted(*WORLD.law(0), LAM)
    assert_unbiased(LAM * results.value, log_z)


def test_joint_candidates_are_not_ruled_out_either():
    problem = joint_problem("both", [PROBLEMS[0]] * 2)
    process = JointProcess(WORLD.process, 2)

    def scorer(samples, at):
        return REWARD(samples[:, 0], at)

    sweeps = sampler(
        process, scorer, KnownTwist(blind), LAM, chooses=True, problems=[problem], num_candidates=3, particles=8
    )
    states = np.repeat(process.bind([problem]).root_states(), 800, axis=0)
    results = sweeps(replace(tickets_at(WORLD.chain, 0, 800), state=states))
    log_z, _, _ = REWARD.tilted(*WORLD.law(0), LAM)
    assert_unbiased(LAM * results.value, log_z)
