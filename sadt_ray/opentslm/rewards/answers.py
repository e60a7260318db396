"""Rewards that depend on a text's claimed answer alone: one number for every answer that the problem has."""

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
    """What the answers of one problem are worth."""

    values: Float[np.ndarray, " answers"]
    unparsable: float  # of a text that claims none of them


class AnswerScorer:
    """A table of rewards bound to problems: reads which answer a text claims and looks its number up."""

    def __init__(self, problems: Sequence[Problem], table: Sequence[AnswerValues]) -> None:
        self._prompts = [prompt_of(problem) for problem in problems]
        self._table = [np.append(values, unparsable) for values, unparsable in table]  # UNPARSABLE is the last

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]."""
        claimed = claimed_answers(samples, problem, self._prompts)
        return np.array([self._table[p][k] for p, k in zip(problem, claimed, strict=True)], dtype=float)

    def of_answers(self, problem: int) -> Float[np.ndarray, " answers"]:
        """The numbers of one problem's answers, in its prompt's order."""
        return self._table[problem][:-1].copy()


def prompt_of(problem: Problem) -> Prompt:
    """Raises ValueError for a problem that is no question to a language model."""
    if not isinstance(problem.conditioning, Prompt):
        raise ValueError(
            f"problem {problem.name!r} asks no question: its conditioning must be a Prompt, got "
            f"{type(problem.conditioning).__name__}"
        )
    return problem.conditioning


def answers_of(problem: Problem) -> tuple[str, ...]:
    """Every answer that there is; none for a caption. Raises ValueError for a problem without a prompt."""
    return prompt_of(problem).answers


def bind_answers(problems: Sequence[Problem], values: Callable[[Problem], AnswerValues], what: str) -> AnswerScorer:
    """A table from a function of the problem. Raises ValueError naming a problem that has no answers to choose from."""
    for problem in problems:
        if not answers_of(problem):
            raise ValueError(f"problem {problem.name!r} is answered in free text: {what} needs answers to choose from")
    return AnswerScorer(problems, [values(problem) for problem in problems])


def claimed_answers(
    samples: np.ndarray, problem: Int[np.ndarray, " B"], prompts: Sequence[Prompt]
) -> Int[np.ndarray, " B"]:
    """Which of its prompt's answers each text claims; UNPARSABLE for none."""
    found = []
    for text, p in zip(texts_of(samples), problem, strict=True):
        answers, marker = prompts[p].answers, prompts[p].marker or MARKER
        label = parse_answer(text, answers, marker)
        found.append(UNPARSABLE if label is None else answers.index(label))
    return np.array(found, dtype=np.int64)


def texts_of(samples: np.ndarray) -> list[str]:
    """Raises ValueError for samples that are no texts [B]."""
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind not in "UO":
        raise ValueError(f"texts [B] are scored here, got shape {samples.shape} of type {samples.dtype}")
    return [str(text) for text in samples]


def claim_of(problem: Problem, answer: str) -> str:
    """What an answer says, in words that mean the same in every problem.

    The option's text where the question lists options, ``"(b) an upward trend"``; the question with the answer where
    there is one, since *yes* means something else for every question; else the answer itself.
    """
    prompt = prompt_of(problem)
    options = dict(_OPTION.findall(f"{prompt.pre}\n{prompt.post}"))
    if answer in options:
        return options[answer].lower()
    question = str(problem.extras.get("question", "")).strip()
    return f"{question} {answer}".lower() if question else answer.lower()


def gold_label(problem: Problem) -> str:
    """For oracles and for fits on the training split. Raises ValueError for a problem without a label."""
    label = problem.extras.get("label")
    if label is None:
        raise ValueError(f"problem {problem.name!r} has no label in its extras")
    return str(label)


def source_of(problem: Problem) -> str:
    """The subject, recording or file that it is from: what splits and clusters are by; its own name if unknown."""
    return str(problem.extras.get("source") or problem.name)
