"""The summary of a run: one row per method, with the quality and the cost of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method
from sadt_ray.metrics import coverage, crps, log_spectral_distance, spec_w1
from sadt_ray.runs.directory import is_text
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search

QUALITY = (
    "reward", "best_reward", "log_z", "log_z_se", "ess", "root_ess", "crps", "crps_se", "crps_vs_prior",
    "crps_vs_prior_se", "coverage90", "spec_w1", "log_spectral_distance",
)  # fmt: skip
"""Columns of ``quality``."""
_SEGMENT = 48  # shortest sample that has a spectrum, in time steps


class Scores(NamedTuple):
    """Scores of one problem's weighted samples; None without a truth or a spectrum for comparison."""

    crps: float | None
    coverage90: float | None
    spec_w1: float | None
    log_spectral_distance: float | None


NOT_SCORED = Scores(None, None, None, None)
"""Of samples that have no scores: texts, or samples without any weight."""


def score_problem(problem: Problem, drawn: WeightedSamples) -> Scores:
    """Fair CRPS and coverage against the truth, spectral distances of the samples' mean PSD against the context's.

    Samples of several channels, [n, C, T], are scored against a truth [C, T], averaged over channels.
    """
    if is_text(drawn.samples) or is_weightless(drawn):
        return NOT_SCORED
    samples, weights = np.asarray(drawn.samples, float), drawn.weights
    truth = None if problem.truth is None else np.asarray(problem.truth, float).reshape(-1)
    context = np.asarray(problem.context, float)
    spectral = context.ndim == 1 and samples.ndim == 2 and min(samples.shape[1], len(context)) >= _SEGMENT
    flat = samples.reshape(len(samples), -1)
    return Scores(
        crps=None if truth is None else float(crps(flat, truth, weights)),
        coverage90=None if truth is None else float(coverage(flat, truth, 0.9, weights)),
        spec_w1=_spec_w1(samples, context, weights) if spectral else None,
        log_spectral_distance=float(log_spectral_distance(samples, context, weights)) if spectral else None,
    )


def _spec_w1(samples: np.ndarray, context: np.ndarray, weights: np.ndarray) -> float | None:
    """None where context or samples do not vary: a constant series has no spectrum to normalise."""
    try:
        return float(spec_w1(samples, context, weights))
    except ValueError:
        return None


def mean_and_se(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean of the known values, and its standard error over problems; None if it is not defined."""
    known = np.array([value for value in values if value is not None])
    if len(known) == 0:
        return None, None
    return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else None


def summary_row(
    method: Method,
    search: Search,
    drawn: Sequence[WeightedSamples],
    scores: Sequence[Scores],
    prior_scores: Sequence[Scores] | None,
    seconds: float,
) -> dict[str, object]:
    """Means of cost and quality over problems. A ``_se`` column is the standard error over problems.

    ``nfe``, ``reward_calls`` and ``rollouts`` are averages per problem; each particle counts as a rollout.
    ``seconds_per_context`` is the wall-clock time divided by the number of problems, which are searched together.
    ``reward`` is the mean under the weights. ``log_z_se`` is the average of the problems' own standard errors; None if
    a problem has too few independent starts. ``crps_vs_prior`` is the paired difference to the prior's samples in the
    same run; None without them.
    """
    cost = {
        "rollouts": float(search.told.mean()) * method.smc.particles,
        "nfe": float(search.nfe.mean()),
        "reward_calls": float(search.reward_calls.mean()),
        "seconds_per_context": seconds / len(drawn),
    }
    return {"method": method.name, "budget": budget_of(method), **cost, **quality(drawn, scores, prior_scores)}


def budget_of(method: Method) -> str:
    """The budgets of one problem in words, such as ``24 rollouts``."""
    config = method.search
    n_rollouts = None if config.n_rollouts is None else config.n_rollouts * method.smc.particles
    budgets = ((n_rollouts, "rollouts"), (config.max_nfe, "NFE"))
    return ", ".join(f"{budget:,} {unit}" for budget, unit in budgets if budget is not None)


def quality(
    drawn: Sequence[WeightedSamples], scores: Sequence[Scores], prior_scores: Sequence[Scores] | None = None
) -> dict[str, object]:
    """The columns of ``summary_row`` that say what the samples are worth. At least one problem.

    Problems of which no sample has any weight count in ``log_z``, which is then -inf, and, with 0, in ``ess`` and
    ``root_ess``; all other columns leave them out, and ``without_weight``, a column that is there only then, says how
    many they are.
    """
    weighed = [place for place, samples in enumerate(drawn) if not is_weightless(samples)]
    row = dict.fromkeys(QUALITY) if not weighed else _quality_of_weighed(drawn, scores, prior_scores, weighed)
    if len(weighed) < len(drawn):
        row |= {name: float(np.mean([getattr(each, name) for each in drawn])) for name in ("log_z", "ess", "root_ess")}
        row |= {"log_z_se": None, "without_weight": len(drawn) - len(weighed)}
    return row


def is_weightless(samples: WeightedSamples) -> bool:
    """Whether no sample has any weight: there is none, or every one is impossible under the reward."""
    return bool(getattr(samples, "weightless", not samples.weights.sum() > 0))


def _quality_of_weighed(
    drawn: Sequence[WeightedSamples],
    scores: Sequence[Scores],
    prior_scores: Sequence[Scores] | None,
    weighed: Sequence[int],
) -> dict[str, object]:
    drawn, scores = [drawn[place] for place in weighed], [scores[place] for place in weighed]
    prior_scores = None if prior_scores is None else [prior_scores[place] for place in weighed]
    crps_mean, crps_se = mean_and_se([score.crps for score in scores])
    gain, gain_se = mean_and_se(_differences(scores, prior_scores))
    return {
        "reward": float(np.mean([samples.mean_reward() for samples in drawn])),
        "best_reward": float(np.mean([samples.rewards.max() for samples in drawn])),
        "log_z": float(np.mean([samples.log_z for samples in drawn])),
        "log_z_se": _finite_mean([samples.log_z_se for samples in drawn]),
        "ess": float(np.mean([samples.ess for samples in drawn])),
        "root_ess": float(np.mean([samples.root_ess for samples in drawn])),
        "crps": crps_mean,
        "crps_se": crps_se,
        "crps_vs_prior": gain,
        "crps_vs_prior_se": gain_se,
        "coverage90": mean_and_se([score.coverage90 for score in scores])[0],
        "spec_w1": mean_and_se([score.spec_w1 for score in scores])[0],
        "log_spectral_distance": mean_and_se([score.log_spectral_distance for score in scores])[0],
    }


def _finite_mean(errors: Sequence[float]) -> float | None:
    """Mean of standard errors; None unless every problem has one."""
    return float(np.mean(errors)) if np.isfinite(errors).all() else None


def _differences(scores: Sequence[Scores], prior_scores: Sequence[Scores] | None) -> list[float | None]:
    """CRPS minus the prior's CRPS, for each problem."""
    if prior_scores is None:
        return []
    pairs = [(mine.crps, theirs.crps) for mine, theirs in zip(scores, prior_scores, strict=True)]
    return [None if mine is None or theirs is None else mine - theirs for mine, theirs in pairs]
