"""Rewards that depend on the claimed answer of a text alone: one number per answer of the problem."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.parse import MARKER, parse_answer
from sadt_ray.processes.language.prompt import Prompt

UNPARSABLE = -1
_OPTION = re.compile(r"^\s*(\(\w\))\s*(.+?)[\s.]*$", re.MULTILINE)


class AnswerValues(NamedTuple):
    """Rewards of the answers of one problem."""

    values: Float[np.ndarray, " answers"]
    unparsable: float  # reward of a text that claims none of them


class AnswerScorer:
    """A table of rewards bound to problems. It looks up the reward of the answer that a text claims."""

    def __init__(self, problems: Sequence[Problem], table: Sequence[AnswerValues]) -> None:
        self._prompts = [prompt_of(problem) for problem in problems]
        self._table = [np.append(values, unparsable) for values, unparsable in table]  # UNPARSABLE is -1

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]."""
        claimed = claimed_answers(samples, problem, self._prompts)
        return np.array([self._table[p][k] for p, k in zip(problem, claimed, strict=True)], dtype=float)

    def of_answers(self, problem: int) -> Float[np.ndarray, " answers"]:
        """Rewards of the answers of one problem, in the order of its prompt."""
        return self._table[problem][:-1].copy()


def prompt_of(problem: Problem) -> Prompt:
    """The prompt of a problem. Raises ValueError if it is not conditioned on a prompt."""
    if not isinstance(problem.conditioning, Prompt):
        raise ValueError(
            f"problem {problem.name!r} is not a question: its conditioning must be a Prompt, got "
            f"{type(problem.conditioning).__name__}"
        )
    return problem.conditioning


def answers_of(problem: Problem) -> tuple[str, ...]:
    """The possible answers; empty for a caption. Raises ValueError for a problem without a prompt."""
    return prompt_of(problem).answers


def bind_answers(problems: Sequence[Problem], values: Callable[[Problem], AnswerValues], what: str) -> AnswerScorer:
    """Make a table by a function of the problem. Raises ValueError naming a problem without answers to choose from."""
    for problem in problems:
        if not answers_of(problem):
            raise ValueError(f"problem {problem.name!r} is answered in free text: {what} needs answers to choose from")
    return AnswerScorer(problems, [values(problem) for problem in problems])


def claimed_answers(
    samples: np.ndarray, problem: Int[np.ndarray, " B"], prompts: Sequence[Prompt]
) -> Int[np.ndarray, " B"]:
    """The number of the answer that each text claims; UNPARSABLE for none."""
    found = []
    for text, p in zip(texts_of(samples), problem, strict=True):
        answers, marker = prompts[p].answers, prompts[p].marker or MARKER
        label = parse_answer(text, answers, marker)
        found.append(UNPARSABLE if label is None else answers.index(label))
    return np.array(found, dtype=np.int64)


def texts_of(samples: np.ndarray) -> list[str]:
    """Samples as a list of strings. Raises ValueError for samples that are not texts [B]."""
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind not in "UO":
        raise ValueError(f"texts [B] are scored here, got shape {samples.shape} of type {samples.dtype}")
    return [str(text) for text in samples]


def claim_of(problem: Problem, answer: str) -> str:
    """An answer in words that mean the same in all problems.

    If the question lists options, such as ``"(b) an upward trend"``, the text of the option. If the problem has a
    question, that question with the answer, because *yes* means something else for each question. Otherwise the answer.
    """
    prompt = prompt_of(problem)
    options = dict(_OPTION.findall(f"{prompt.pre}\n{prompt.post}"))
    if answer in options:
        return options[answer].lower()
    question = str(problem.extras.get("question", "")).strip()
    return f"{question} {answer}".lower() if question else answer.lower()


def gold_label(problem: Problem) -> str:
    """The gold label, for oracles and for fits on the training split. Raises ValueError if there is none."""
    label = problem.extras.get("label")
    if label is None:
        raise ValueError(f"problem {problem.name!r} has no label in its extras")
    return str(label)


def source_of(problem: Problem) -> str:
    """Subject, recording or file of a problem, for splits and clustered errors; its own name if unknown."""
    return str(problem.extras.get("source") or problem.name)
