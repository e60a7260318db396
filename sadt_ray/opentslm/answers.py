"""The answer of a method to each question: its probability, its reasons and its cost; and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.agreement import answer_marginal
from sadt_ray.opentslm.rewards.answers import UNPARSABLE, claimed_answers, prompt_of, source_of
from sadt_ray.opentslm.rewards.consensus import ConsensusReward
from sadt_ray.runs.answer_file import Answered
from sadt_ray.tree.samples import WeightedSamples

_MOST_COMPARED = 64  # captions


def answered(
    method: str, problem: Problem, drawn: WeightedSamples | None, rollouts: int, tokens: int, reward_calls: int
) -> Answered:
    """Read the answer off weighted texts: the marginal of the target over answers, and its mode.

    Args:
        drawn: the texts; None if none has any weight, and there is no answer.
        rollouts, tokens, reward_calls: the cost.
    """
    prompt = prompt_of(problem)
    label = problem.extras.get("label" if prompt.answers else "answer")
    answer, text, probabilities = None, "", dict.fromkeys(prompt.answers, 0.0)
    if drawn is not None and prompt.answers:
        probabilities = answer_marginal(drawn.samples, _log(drawn.weights), prompt)
        answer = _likeliest(probabilities, problem.name)
        claimed = claimed_answers(drawn.samples, np.zeros(len(drawn.samples), np.int64), [prompt])
        held = claimed == (UNPARSABLE if answer is None else prompt.answers.index(answer))
        text = str(drawn.samples[np.where(held, drawn.weights, -1.0).argmax()])
    elif drawn is not None:
        answer = text = most_agreed(problem, drawn)
    log_z, ess = (-np.inf, 0.0) if drawn is None else (drawn.log_z, drawn.ess)
    cost = (rollouts, tokens, reward_calls)
    return Answered(method, problem.name, source_of(problem), answer, probabilities, text, label, log_z, ess, *cost)


def _likeliest(probabilities: Mapping[str, float], name: str) -> str | None:
    """The most probable answer; None if all have probability 0. The question's name decides ties: if the first of the
    list always won, it would be right more or less often than its share."""
    most = max(probabilities.values())
    equals = [answer for answer, p in probabilities.items() if p >= most - 1e-12]
    return equals[crc32(name.encode()) % len(equals)] if most > 0 else None


def most_agreed(problem: Problem, drawn: WeightedSamples) -> str:
    """The text with the minimum Bayes risk under ROUGE-L, among the 64 texts with the largest weights."""
    heaviest = np.argsort(-drawn.weights, kind="stable")[:_MOST_COMPARED]
    texts = drawn.samples[heaviest]
    consensus = ConsensusReward({problem.name: (texts.tolist(), _log(drawn.weights[heaviest]).tolist())})
    agreement = consensus.bind([problem])(texts, np.zeros(len(texts), np.int64))
    return str(texts[int(agreement.argmax())])


def _log(weights: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(weights)
