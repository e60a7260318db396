"""Evaluate a stand-in on held-out questions: greedy, sampled and voted accuracy, and the calibration of the vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from sadt_ray.interfaces import Problem
from sadt_ray.metrics.calibration import calibration_error, reliability
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.opentslm.parse import MARKER, parse_answer
from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.process import CausalLMProcess

_STREAM = 17
_ROWS = 128  # texts that are generated at once


class Judgement(NamedTuple):
    """Scores of a stand-in, without standard errors.

    Attributes:
        questions: number of questions.
        majority: accuracy of the most frequent label of these questions.
        greedy: accuracy with the most probable token at each step.
        sampled: mean accuracy of single draws.
        voted: accuracy of the most frequent answer among the draws of a question.
        ece: expected calibration error of the vote's share, with ten bins.
        readable: share of draws that give one of the answers.
        tokens: mean number of tokens per draw.
        distinct: share of different texts among the draws of a question.
    """

    questions: int
    majority: float
    greedy: float
    sampled: float
    voted: float
    ece: float
    readable: float
    tokens: float
    distinct: float


def judge(
    model: LanguageModel, problems: Sequence[Problem], draws: int = 8, max_tokens: int = 120, seed: int = 0
) -> Judgement:
    """Answer each question greedily and ``draws`` times at sampling temperature 1."""
    greedy, _ = written(model, problems, 1, max_tokens, greedy=True)
    drawn, tokens = written(model, problems, draws, max_tokens, seed=seed)
    gold = [problem.extras["label"] for problem in problems]
    first = [answer_in(texts[0], problem) for texts, problem in zip(greedy, problems, strict=True)]
    answers = [[answer_in(text, problem) for text in texts] for texts, problem in zip(drawn, problems, strict=True)]
    votes = [Counter(a for a in some if a is not None) or Counter({"": 0}) for some in answers]
    voted, ballots = zip(*(vote.most_common(1)[0] for vote in votes), strict=True)
    correct = [vote == label for vote, label in zip(voted, gold, strict=True)]
    flat = [(a, label) for some, label in zip(answers, gold, strict=True) for a in some]
    return Judgement(
        questions=len(problems),
        majority=Counter(gold).most_common(1)[0][1] / len(gold),
        greedy=float(np.mean([a == label for a, label in zip(first, gold, strict=True)])),
        sampled=float(np.mean([a == label for a, label in flat])),
        voted=float(np.mean(correct)),
        ece=calibration_error(reliability([count / draws for count in ballots], correct)),
        readable=float(np.mean([a is not None for a, _ in flat])),
        tokens=float(tokens.mean()),
        distinct=float(np.mean([len(set(texts)) / len(texts) for texts in drawn])),
    )


def written(
    model: LanguageModel, problems: Sequence[Problem], count: int, max_tokens: int, greedy: bool = False, seed: int = 0
) -> tuple[list[list[str]], Int[np.ndarray, "P count"]]:
    """``count`` whole texts per problem, and the number of tokens of each after the forced ones."""
    temperature = 0.0 if greedy else 1.0
    process = CausalLMProcess(
        model, max_tokens=max_tokens, answers="sampled", branch_steps="none", sampling_temperature=temperature
    )
    texts: list[list[str]] = []
    tokens: list[np.ndarray] = []
    size = max(_ROWS // count, 1)
    for start in range(0, len(problems), size):
        some = problems[start : start + size]
        chain, of = process.bind(some), np.repeat(np.arange(len(some)), count)
        seeds = derive_seeds(seed, _STREAM, start * count + np.arange(len(of)))
        path = chain.run_down(chain.root_states()[of], np.zeros(len(of), np.int64), of, seeds)
        states = path.states[np.argsort(path.rows, kind="stable")]  # one state per row: x_0
        said = chain.decode(states, of).tolist()
        texts += [said[p * count : (p + 1) * count] for p in range(len(some))]
        tokens.append(path.nfe.reshape(-1, count))
    return texts, np.concatenate(tokens)


def answer_in(text: str, problem: Problem) -> str | None:
    """The answer that a text claims; ``None`` if it is none of the prompt's answers."""
    prompt = problem.conditioning
    return parse_answer(text, prompt.answers, prompt.marker or MARKER)
