"""Sweeps over a joint process under a copula: the target is a Gaussian that is known, Z = 1, marginals stay."""

import numpy as np
import pytest
from smc_worlds import PROBLEMS, GaussianWorld, GlancingDenoiser, KnownTwist, assert_unbiased, pooled

from sadt_ray import method_named, sample, sample_prior
from sadt_ray.interfaces import Tickets
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.rewards.copula import CopulaReward, CopulaScorer, with_prior_samples
from sadt_ray.rewards.coupling import Coupling, Scores
from sadt_ray.smc.config import SMCConfig
from sadt_ray.smc.sampler import ParticleSampler
from sadt_ray.smc.twists import NoTwist, debiased_twist

JOINT = joint_problem("all", [*PROBLEMS, PROBLEMS[0]])
MEAN = np.stack([GaussianWorld().law(problem)[0] for problem in (0, 1, 0)])
SD = GaussianWorld().law(0)[1]
CORRELATION = np.array(
    [[[1, 0.7, 0.0], [0.7, 1, 0.3], [0.0, 0.3, 1]], [[1, -0.6, 0.2], [-0.6, 1, 0.1], [0.2, 0.1, 1.0]]]
)
COUPLING = Coupling(np.eye(2), CORRELATION)
SCORER = CopulaScorer(COUPLING, Scores(MEAN[None], np.tile(np.diag(1 / SD), (1, 3, 1, 1))))
PROCESS = JointProcess(GaussianWorld(GlancingDenoiser()).process, 3)
SWEEPS = {
    "reweighted": {},
    "r~": {"twist": "debiased"},
    "r~, candidates": {"twist": "debiased", "chooses": True, "num_candidates": 4},
    "r~, leaning": {"twist": "debiased", "guided": True},
    "r~, leaning, candidates": {"twist": "debiased", "guided": True, "chooses": True, "num_candidates": 4},
    "a wrong twist, candidates": {"twist": "wrong", "chooses": True, "num_candidates": 3},
}


def swept(count, particles, twist="none", guided=False, chooses=False, **config):
    chain = PROCESS.bind([JOINT])
    bound = {
        "none": NoTwist,
        "debiased": lambda: debiased_twist(chain, SCORER, 7, 1.0),
        "wrong": lambda: KnownTwist(lambda view: 0.5 * np.sin(3 * view.clean.numpy()[:, 0, 0])),
    }[twist]()
    sweep = SMCConfig(particles=particles, **config)
    rows = np.zeros(count, np.int64)
    tickets = Tickets(
        np.arange(count), rows, rows, rows, chain.root_states()[rows], derive_seeds(5, 2, np.arange(count))
    )
    return ParticleSampler(chain, SCORER, 1, sweep, bound, 1.0, guided, chooses)(tickets)


@pytest.mark.parametrize("settings", SWEEPS.values(), ids=SWEEPS)
def test_z_is_estimated_without_bias(settings):
    assert_unbiased(swept(300, 8, **settings).value, 0.0)


@pytest.mark.parametrize("settings", SWEEPS.values(), ids=SWEEPS)
def test_marginals_stay_those_of_the_prior_and_channels_are_coupled(settings):
    results = swept(5, 500, **settings)
    found = pooled(results, 1.0)
    u = ((results.samples - MEAN) / SD).reshape(-1, 6)
    weights, tolerance = found.weights, 5 / np.sqrt(min(found.ess, 1_000))
    np.testing.assert_allclose(weights @ u, 0, atol=tolerance)
    covariance = (weights[:, None] * u).T @ u
    truth = np.zeros((3, 2, 3, 2))
    truth[:, range(2), :, range(2)] = CORRELATION
    np.testing.assert_allclose(covariance, truth.reshape(6, 6), atol=1.5 * tolerance)


def test_guided_sweeps_lose_a_fraction_of_what_reweighting_loses():
    """log Z-hat of 30 particles varies by so much."""
    compared = ("reweighted", "r~, leaning", "r~, leaning, candidates")
    spread = {name: swept(60, 30, **SWEEPS[name]).value.std() for name in compared}
    assert spread["r~, leaning"] < 0.6 * spread["reweighted"]
    assert spread["r~, leaning, candidates"] < 0.4 * spread["reweighted"]


@pytest.mark.parametrize("name", ["dts", "smc-debiased", "sadt"])
def test_methods_search_joint_problems_as_they_search_any(name):
    problems = with_prior_samples([JOINT], sample_prior(PROCESS, [JOINT], 3_000))
    method = method_named(name, n_rollouts=600, inv_temperature=1.0)
    (found,) = sample(PROCESS, problems, CopulaReward(COUPLING), method)
    assert found.samples.shape[1:] == (3, 2)
    assert abs(found.log_z) < 0.7
    u = (found.samples - MEAN) / SD
    assert found.weights @ (u[:, 0, 0] * u[:, 1, 0]) == pytest.approx(0.7, abs=0.35)
