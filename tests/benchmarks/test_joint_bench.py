"""Bench joint: samples that are coupled in closed form are, scores see it, a small run prints every row."""

import json
import sys

import numpy as np
import pytest

from benchmarks import joint
from benchmarks.posterior.joint_forecasts import JointTarget, coupled_draws, joint_problems, judge
from jobs import bench
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.interfaces import Problem
from sadt_ray.rewards.copula import CopulaReward, with_prior_samples
from sadt_ray.rewards.coupling import Coupling
from sadt_ray.tree.samples import WeightedSamples

DATA = synthetic_hourly(rows=6000, channels=2)
C, K, T, N = 2, 2, 5, 4_000
BASIS = np.eye(T)[[1, 3]]
COUPLING = Coupling(BASIS, np.tile([[1, 0.9], [0.9, 1.0]], (K, 1, 1)))
FACTOR = np.random.default_rng(0).standard_normal((C, T, T))


def drawn(seed):
    """Gaussian, channel by channel, hours correlated."""
    return 3 + np.einsum("cti,nci->nct", FACTOR, np.random.default_rng(seed).standard_normal((N, C, T)))


def problem():
    one = Problem("one", np.zeros((C, 8)), truth=drawn(5)[0])
    return with_prior_samples([one], [drawn(1)])[0]


def test_samples_that_are_coupled_keep_their_marginals_and_have_the_rewards_mean():
    samples = drawn(2)
    coupled = coupled_draws(problem(), COUPLING, samples)
    for part in range(C):
        np.testing.assert_allclose(np.cov(coupled[:, part].T), np.cov(samples[:, part].T), atol=0.6)
    np.testing.assert_allclose(coupled.mean(0), samples.mean(0), atol=0.2)
    rewards = CopulaReward(COUPLING).bind([problem()])(coupled, np.zeros(N, int))
    assert rewards.mean() == pytest.approx(COUPLING.information, abs=0.1)
    across = [np.corrcoef(coupled[:, 0, hour], coupled[:, 1, hour])[0, 1] for hour in (1, 3)]
    apart = [np.corrcoef(samples[:, 0, hour], samples[:, 1, hour])[0, 1] for hour in (1, 3)]
    assert np.ptp(apart) < 0.1
    assert max(np.abs(across)) > 0.5


def test_scores_tell_coupled_samples_from_others():
    target, equal = JointTarget(problem(), COUPLING), np.full(500, 1 / 500)

    def judged(samples):
        return judge(WeightedSamples(samples, equal, np.zeros(500), np.zeros(500, int), 0.0, 500.0), target, (0, 1))

    before, after = judged(drawn(2)[:500]), judged(coupled_draws(problem(), COUPLING, drawn(2)[:500]))
    assert after.ed < 0.5 * before.ed
    assert after.crps == pytest.approx(before.crps, abs=0.1)
    assert after.differences == after.first_pair  # of two channels there is one pair
    assert after.ess == pytest.approx(500)


def test_joint_problems_hold_all_channels_of_a_window():
    first, second = joint_problems(DATA, "test", [0, 3])
    assert first.name.endswith("/test/0000")
    assert second.truth.shape == (2, 96)
    np.testing.assert_array_equal(second.truth[1], DATA.problem("test", 3, 1).truth)


def test_a_small_run_prints_every_row(monkeypatch, tmp_path, capsys):
    small = joint.Scale(windows=2, rollouts=12, draws=20, stride=480, training_draws=12, rank=2)
    monkeypatch.setattr(joint, "load_etth1", lambda: DATA)
    monkeypatch.setattr(joint, "QUICK", small)
    monkeypatch.setattr(sys, "argv", ["jobs.bench", "joint", "--quick", "--out", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "200")
    bench.main()
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert {
        "ed_sadt_lean",
        "log_z_rms_snis",
        "information",
        "ed_diff_sadt_lean_snis",
        "ed_diff_smc_snis_wins_weak",
    } <= set(figures)
    assert all(np.isfinite(value) for value in figures.values())
    assert figures["nfe_snis"] == 12 * 16 * 2
    printed = capsys.readouterr().out
    assert "SNIS (reweighting)" in printed
    assert "prior samples coupled (no search)" in printed
