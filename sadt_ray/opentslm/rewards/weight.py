"""Choose the weight of a label-free reward relative to the vote, on labelled validation problems.

    P_w(answer) = P(answer) exp(w r(answer)) / sum_k P(k) exp(w r(k))

P is the answer marginal of a flat search under the prior with enumerated answers, so tilting it costs no tokens; w
stands for lambda times the weight in the sum. The score is the log-probability of the gold answer under P_w^(1/tau) at
the best tau. It is less noisy than accuracy. tau corrects an overconfident model and changes no answer. The chosen
weight is the smallest one that is within a standard error of the best, so a reward that does not help gets weight 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.opentslm.rewards.agreement import Marginal
from sadt_ray.opentslm.rewards.answers import AnswerScorer, answers_of, source_of
from sadt_ray.opentslm.rewards.oracle import is_gold

WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)
_MIXED = 1e-6  # share of the marginal that is spread over all answers, so that none is impossible


@dataclass(frozen=True)
class ChosenWeight:
    """The chosen weight, and the scores of all candidates.

    Attributes:
        weight: the chosen weight.
        temperature: tau at this weight, which calibrates the probabilities; above 1 if the model is overconfident.
        weights: the candidates.
        log_probs: mean log-probability of the gold answer in nats for each candidate, at its own tau.
        accuracies: accuracy of the most probable answer for each candidate.
        problems: number of problems.
    """

    weight: float
    temperature: float
    weights: tuple[float, ...]
    log_probs: tuple[float, ...]
    accuracies: tuple[float, ...]
    problems: int


def _log_shares(marginal: Marginal, answers: Sequence[str]) -> Float[np.ndarray, " answers"]:
    shares = np.array([marginal.get(answer, 0.0) for answer in answers])
    return np.log((1 - _MIXED) * shares / max(shares.sum(), 1e-300) + _MIXED / len(answers))


def choose_weight(
    problems: Sequence[Problem], marginals: Mapping[str, Marginal], reward: Reward, weights: Sequence[float] = WEIGHTS
) -> ChosenWeight:
    """Choose the weight of a reward that depends on the answer alone.

    Standard errors are clustered by source.

    Args:
        problems: labelled validation problems.
        marginals: answer marginals of a pilot, by problem name.
        reward: the reward; a table of answers.
        weights: the candidates.

    Raises ValueError for no problems, a problem without a label or a marginal, or a reward that is not a table.
    """
    if not problems or not len(weights):
        raise ValueError("a weight is chosen from labelled validation problems and candidates; got none")
    scorer, candidates = reward.bind(problems), tuple(sorted(weights))
    if not isinstance(scorer, AnswerScorer):
        raise ValueError(f"the weight of {reward!r} cannot be chosen here: it depends on more than the answer")
    tilted = _tilted(problems, marginals, [scorer.of_answers(p) for p in range(len(problems))], candidates)
    gold = np.array([is_gold(problem).argmax() for problem in problems])
    taus = [_temperature(table, gold) for table in tilted]
    log_probs = np.array([_gold_log_probs(table, gold, tau) for table, tau in zip(tilted, taus, strict=True)])
    behind = log_probs[int(log_probs.mean(1).argmax())] - log_probs
    errors = np.array([_clustered_error(row, problems) for row in behind])
    chosen = int(np.flatnonzero(behind.mean(1) <= errors)[0])
    accuracies = (tilted.argmax(2) == gold).mean(1)
    means = tuple(log_probs.mean(1).tolist()), tuple(accuracies.tolist())
    return ChosenWeight(candidates[chosen], taus[chosen], candidates, *means, len(problems))


def _tilted(
    problems: Sequence[Problem],
    marginals: Mapping[str, Marginal],
    rewards: Sequence[Float[np.ndarray, " answers"]],
    weights: Sequence[float],
) -> Float[np.ndarray, "weights n answers"]:
    """log P_w up to a constant, padded with -inf for problems with fewer answers."""
    tilted = np.full((len(weights), len(problems), max(len(row) for row in rewards)), -np.inf)
    for p, (problem, row) in enumerate(zip(problems, rewards, strict=True)):
        if problem.name not in marginals:
            raise ValueError(f"problem {problem.name!r} has no answer marginal: run a pilot (answer-vote) on it first")
        log_shares = _log_shares(marginals[problem.name], answers_of(problem))
        tilted[:, p, : len(row)] = log_shares + np.outer(weights, row)
    return tilted


def _gold_log_probs(
    tilted: Float[np.ndarray, "n answers"], gold: Int[np.ndarray, " n"], temperature: float
) -> Float[np.ndarray, " n"]:
    cooled = tilted / temperature
    return cooled[np.arange(len(gold)), gold] - logsumexp(cooled, axis=1)


def _temperature(tilted: Float[np.ndarray, "n answers"], gold: Int[np.ndarray, " n"]) -> float:
    """The tau with the highest likelihood, in [1/20, 100]."""

    def loss(log_tau: float) -> float:
        return -float(_gold_log_probs(tilted, gold, float(np.exp(log_tau))).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(math.log(0.05), math.log(100.0)), method="bounded").x))


def _clustered_error(values: Float[np.ndarray, " n"], problems: Sequence[Problem]) -> float:
    """Standard error of a mean, clustered by source."""
    _, source = np.unique([source_of(problem) for problem in problems], return_inverse=True)
    sums = np.bincount(source, values - values.mean())
    groups = len(sums)
    return float(np.sqrt((sums**2).sum() * groups / max(groups - 1, 1)) / len(values))
