"""Agreement of an answer with the answers of other rationales.

A pilot (a flat vote, or an earlier tree) gives texts with weights. Their *answer marginal*, with the last step
enumerated, is the vote that self-consistency approximates by counting; its logarithm is a label-free reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import (
    UNPARSABLE,
    AnswerScorer,
    AnswerValues,
    answers_of,
    bind_answers,
    claimed_answers,
)
from sadt_ray.processes.language.prompt import Prompt

Marginal = Mapping[str, float]


def answer_marginal(texts: np.ndarray, log_weights: Float[np.ndarray, " M"], prompt: Prompt) -> dict[str, float]:
    """Probability of each answer among weighted texts: P(a) = sum_m w_m 1[text m claims a] / sum_m w_m.

    The rest, up to 1, is the share of texts that claim no answer. For texts whose last step was enumerated
    (``Completes``), with weights 1/n times their probabilities, it is the exact-answer vote of n rationales.

    Raises ValueError if there is not one weight per text, or all weights are 0.
    """
    log_weights = np.asarray(log_weights, dtype=float)
    if log_weights.shape != (len(texts),):
        raise ValueError(f"{len(texts)} texts need as many weights, got shape {log_weights.shape}")
    if not np.isfinite(log_weights.max(initial=-np.inf)):
        raise ValueError("the texts have no weight at all (every log-weight is -inf, or there is no text)")
    weights = np.exp(log_weights - log_weights.max())
    claimed = claimed_answers(texts, np.zeros(len(texts), np.int64), [prompt])
    total = np.bincount(claimed[claimed != UNPARSABLE], weights[claimed != UNPARSABLE], minlength=len(prompt.answers))
    return dict(zip(prompt.answers, (total / weights.sum()).tolist(), strict=True))


@dataclass(frozen=True)
class AgreementReward:
    """r(text) = log max(P(claimed answer), floor), nats; log floor for a text that claims no answer.

    At inverse temperature lambda the answers of a search follow P^(1 + lambda), a sharpened vote.

    Attributes:
        marginals: answer marginals by problem name, see ``answer_marginal``.
        floor: probability of an answer that the pilot never gave; about 1 / (number of its texts).

    Raises:
        ValueError: for a floor that is no probability above 0.
    """

    marginals: Mapping[str, Marginal] = field(repr=False)
    floor: float = 1e-3

    oracle = False

    def __post_init__(self) -> None:
        if not 0 < self.floor < 1:
            raise ValueError(f"the floor must be a probability above 0 and below 1, got {self.floor}")

    def bind(self, problems: Sequence[Problem]) -> AnswerScorer:
        """Raises ValueError naming a problem that has no marginal."""
        return bind_answers(problems, self._values, "agreement (captions: consensus)")

    def _values(self, problem: Problem) -> AnswerValues:
        if problem.name not in self.marginals:
            raise ValueError(f"problem {problem.name!r} has no answer marginal: run a pilot (answer-vote) on it first")
        marginal = self.marginals[problem.name]
        shares = np.array([marginal.get(answer, 0.0) for answer in answers_of(problem)])
        return AnswerValues(np.log(np.maximum(shares, self.floor)), float(np.log(self.floor)))
