"""Joint forecasts of all channels of a window: what they are made of, and how good they are together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from benchmarks.posterior.columns import distance, mean_distance_of_pairs
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.interfaces import Problem
from sadt_ray.metrics import crps, energy_score
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.processes.sampling import sample_prior
from sadt_ray.rewards.copula import EXTRA, with_prior_samples
from sadt_ray.rewards.coupling import Coupling, fit_coupling, scores_from
from sadt_ray.tree.samples import WeightedSamples

MOMENT_STEPS = 4
"""Denoising steps of the draws that moments are taken from: this prior's are the same as of sixteen steps."""


class JointScores(NamedTuple):
    """One window. Lower is better for CRPS and energy score, in standardised units."""

    reward: float  # weighted mean, nats
    log_z: float
    ess: float
    ed: float  # energy distance to the target, in standardised units
    crps: float  # of the channels, averaged
    differences: float  # CRPS of x_i - x_j over all pairs of channels
    sums: float
    first_pair: float  # of the two channels that go together most: HUFL - MUFL
    energy: float  # energy score of all channels and hours together


class JointTarget:
    """A window, and draws of the copula's target as it would be for a Gaussian prior. Its truth must be known."""

    def __init__(self, problem: Problem, coupling: Coupling) -> None:
        assert problem.truth is not None
        self.truth = np.asarray(problem.truth, float)
        known = problem.extras[EXTRA]
        self.draws = coupled_draws(problem, coupling, known).reshape(len(known), -1)
        self.spread = mean_distance_of_pairs(self.draws)


def judge(found: WeightedSamples, target: JointTarget, pair: tuple[int, int]) -> JointScores:
    """Scores of weighted joint samples [n, C, horizon]."""
    truth = target.truth
    whole = np.asarray(found.samples, float).reshape(len(found.samples), -1)
    samples, weights = np.asarray(found.samples, float).swapaxes(0, 1), found.weights
    i, j = np.array(list(combinations(range(len(truth)), 2))).T

    def mean_crps(x: np.ndarray, y: np.ndarray) -> float:
        return float(crps(x, y, np.broadcast_to(weights, x.shape[:-1])).mean())

    first, second = pair
    return JointScores(
        reward=found.mean_reward(),
        log_z=found.log_z,
        ess=found.ess,
        ed=distance(whole, found.weights, target.draws, target.spread),
        crps=mean_crps(samples, truth),
        differences=mean_crps(samples[i] - samples[j], truth[i] - truth[j]),
        sums=mean_crps(samples[i] + samples[j], truth[i] + truth[j]),
        first_pair=mean_crps(samples[first] - samples[second], truth[first] - truth[second]),
        energy=float(energy_score(whole, truth.ravel(), weights)),
    )


def joint_problems(data: SeriesDataset, split: str, windows: Sequence[int], stride: int = 48) -> list[Problem]:
    """All channels of each window as one problem."""
    return [
        joint_problem(
            f"{data.name}/{split}/{window:04d}",
            [data.problem(split, window, channel, stride) for channel in data.columns],
        )
        for window in windows
    ]


def with_moments(process: DiffusionProcess, problems: list[Problem], draws: int, seed: int) -> list[Problem]:
    """The joint problems with samples of the prior, by which the copula reward knows its marginals."""
    quick = JointProcess(process.with_sampler("none", num_steps=MOMENT_STEPS), len(problems[0].extras["parts"]))
    return with_prior_samples(problems, list(sample_prior(quick, problems, draws, seed)))


def training_coupling(process: DiffusionProcess, data: SeriesDataset, stride: int, draws: int, rank: int) -> Coupling:
    """The correlation of forecast errors across channels, learned on the training part alone."""
    windows = range(len(data.window_starts("train", stride)))
    problems = with_moments(process, joint_problems(data, "train", windows, stride), draws, seed=1)
    truths = np.stack([problem.truth for problem in problems if problem.truth is not None])
    return fit_coupling(np.stack([problem.extras[EXTRA] for problem in problems]), truths, rank)


def coupled_draws(problem: Problem, coupling: Coupling, samples: Float[np.ndarray, "n C horizon"]) -> np.ndarray:
    """Prior samples, coupled: scores u become S^1/2 u, and x moves by its regression on u.

    For a Gaussian prior these are exact draws of the copula's target: the best that a search can reach.
    """
    known = np.asarray(problem.extras[EXTRA], float)
    scores = scores_from(known[None], coupling.basis)
    centred, u = known - known.mean(0), scores(known[None])[0]
    owed = np.einsum("nct,nck->ctk", centred, u) / (len(known) - 1)
    variances, axes = np.linalg.eigh(coupling.correlation)
    root = np.einsum("kcm,km,kdm->kcd", axes, np.sqrt(variances), axes)
    before = scores(np.asarray(samples, float)[None])[0]
    return samples + np.einsum("ctk,nck->nct", owed, np.einsum("kcd,ndk->nck", root, before) - before)
