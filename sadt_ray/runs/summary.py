"""One row a method: what its samples are worth, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method
from sadt_ray.metrics import coverage, crps, log_spectral_distance, spec_w1
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search


def summary_row(
    method: Method,
    search: Search,
    problems: Sequence[Problem],
    drawn: Sequence[WeightedSamples],
    seconds: float,
) -> dict[str, object]:
    """Means over problems of cost and quality.

    Columns: ``nfe``, ``reward_calls`` and ``rollouts`` are a problem's average; ``s/context`` is wall-clock divided by
    the number of problems, which are searched together; ``reward`` is the mean under the weights; ``crps``
    (units of the samples) and ``coverage90`` need the truth, the spectral columns a context; they are None without.
    """
    scores = [_scores(problem, samples) for problem, samples in zip(problems, drawn, strict=True)]
    config = method.search
    budget = f"{config.n_rollouts:,} rollouts" if config.max_nfe is None else f"{config.max_nfe:,} NFE"
    return {
        "method": method.name,
        "budget": budget,
        "rollouts": float(search.told.mean()),
        "nfe": float(search.nfe.mean()),
        "reward_calls": float(search.reward_calls.mean()),
        "s/context": seconds / len(problems),
        "reward": float(np.mean([samples.mean_reward() for samples in drawn])),
        "best_reward": float(np.mean([samples.rewards.max() for samples in drawn])),
        "log_z": float(np.mean([samples.log_z for samples in drawn])),
        "ess": float(np.mean([samples.ess for samples in drawn])),
        "root_ess": float(np.mean([samples.root_ess for samples in drawn])),
        **{column: _mean([score[column] for score in scores]) for column in scores[0]},
    }


def _scores(problem: Problem, drawn: WeightedSamples) -> dict[str, float | None]:
    """Scores of one problem's weighted samples, None where they are not defined."""
    samples, weights = np.asarray(drawn.samples, float), drawn.weights
    truth = None if problem.truth is None else np.asarray(problem.truth, float)
    context = np.asarray(problem.context, float)
    spectral = context.ndim == 1 and samples.ndim == 2 and samples.shape[1] >= 48
    return {
        "crps": None if truth is None else float(crps(samples, truth, weights)),
        "coverage90": None if truth is None else float(coverage(samples, truth, 0.9, weights)),
        "spec_w1": float(spec_w1(samples, context, weights)) if spectral else None,
        "log_spectral_distance": float(log_spectral_distance(samples, context, weights)) if spectral else None,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
