"""How much a label-free reward may say beside the vote: its weight, from labelled validation problems.

    P_w(answer) = P(answer) exp(w r(answer)) / sum_k P(k) exp(w r(k))

P the answer marginal of a flat search under the prior, its last step enumerated; so the tilt needs no tokens, and w
stands for lambda times the weight in the sum. The score is the log-probability of the gold answer, which is steadier
than accuracy; of the weights that are no worse than the best by more than a standard error the smallest is taken, so
that a reward that does not help gets none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.rewards.stages.agreement import Marginal
from sadt_ray.rewards.stages.answers import AnswerScorer, answers_of, source_of
from sadt_ray.rewards.stages.oracle import is_gold

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
_MIXED = 1e-3  # of the marginal is spread over all answers, so that none is impossible


@dataclass(frozen=True)
class ChosenWeight:
    """The weight, and what each candidate was worth.

    Attributes:
        log_probs: mean log-probability of the gold answer by candidate, nats.
        accuracies: of the likeliest answer by candidate.
    """

    weight: float
    weights: tuple[float, ...]
    log_probs: tuple[float, ...]
    accuracies: tuple[float, ...]
    problems: int


def tilted_log_probs(
    marginal: Marginal, rewards: Float[np.ndarray, " answers"], answers: Sequence[str], weight: float
) -> Float[np.ndarray, " answers"]:
    """log P_w of every answer."""
    shares = np.array([marginal.get(answer, 0.0) for answer in answers])
    mixed = (1 - _MIXED) * shares / max(shares.sum(), 1e-300) + _MIXED / len(answers)
    tilted = np.log(mixed) + weight * rewards
    return tilted - logsumexp(tilted)


def choose_weight(
    problems: Sequence[Problem], marginals: Mapping[str, Marginal], reward: Reward, weights: Sequence[float] = WEIGHTS
) -> ChosenWeight:
    """The weight of a reward that depends on the answer alone, from problems with labels.

    Standard errors are clustered by source. Raises ValueError for no problems, one without a label or a marginal, or a
    reward that is no table of answers.
    """
    if not problems or not len(weights):
        raise ValueError("a weight is chosen from labelled validation problems and candidates; got none")
    scorer, candidates = reward.bind(problems), tuple(sorted(weights))
    if not isinstance(scorer, AnswerScorer):
        raise ValueError(f"the weight of {reward!r} cannot be chosen here: it depends on more than the answer")
    log_probs, right = np.empty((2, len(problems), len(candidates)))
    for p, problem in enumerate(problems):
        if problem.name not in marginals:
            raise ValueError(f"problem {problem.name!r} has no answer marginal: run a pilot (answer-vote) on it first")
        gold, rewards = int(is_gold(problem).argmax()), scorer.of_answers(p)
        for k, weight in enumerate(candidates):
            tilted = tilted_log_probs(marginals[problem.name], rewards, answers_of(problem), weight)
            log_probs[p, k], right[p, k] = tilted[gold], tilted.argmax() == gold
    best = int(log_probs.mean(0).argmax())
    behind = log_probs[:, best, None] - log_probs
    errors = np.array([_clustered_error(column, problems) for column in behind.T])
    chosen = int(np.flatnonzero(behind.mean(0) <= errors)[0])
    means = tuple(log_probs.mean(0).tolist()), tuple(right.mean(0).tolist())
    return ChosenWeight(candidates[chosen], candidates, *means, len(problems))


def _clustered_error(values: Float[np.ndarray, " n"], problems: Sequence[Problem]) -> float:
    """Standard error of a mean whose values belong to sources."""
    _, source = np.unique([source_of(problem) for problem in problems], return_inverse=True)
    sums = np.bincount(source, values - values.mean())
    groups = len(sums)
    return float(np.sqrt((sums**2).sum() * groups / max(groups - 1, 1)) / len(values))
