"""The answer of a method to each question: its probability, its reasons and its cost; and the files that hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.agreement import answer_marginal
from sadt_ray.opentslm.rewards.answers import UNPARSABLE, claimed_answers, prompt_of, source_of
from sadt_ray.opentslm.rewards.consensus import ConsensusReward
from sadt_ray.tree.samples import WeightedSamples

_MOST_COMPARED = 64  # captions


@dataclass(frozen=True)
class Answered:
    """The answer of one method to one question.

    Attributes:
        method: name of the method.
        problem: name of the question.
        source: subject, recording or file of the question.
        answer: the most probable answer under the samples' weights; None if no text claims any. For a question without
            answers to choose from, the text itself.
        probabilities: probability of each answer; the rest, up to 1, claims no answer.
        text: the text with the largest weight among those with that answer: the reasons.
        label: the gold answer, if known; for a question without answers to choose from, the gold text.
        log_z: log of the normalising constant of the target; -inf if no text has any weight.
        ess: effective sample size of the texts.
        rollouts: number of rationales.
        tokens: number of tokens evaluated after the prompt, generated or scored.
        reward_calls: number of texts scored by the reward.
    """

    method: str
    problem: str
    source: str
    answer: str | None
    probabilities: dict[str, float]
    text: str
    label: str | None
    log_z: float
    ess: float
    rollouts: int
    tokens: int
    reward_calls: int


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


def write_answers(run: Path, rows: Sequence[Answered]) -> None:
    """Write ``answers.parquet`` and ``answers.jsonl``, one row per question and method."""
    plain = [_written_row(row) for row in rows]
    unfinished = run / "answers.jsonl.writing"
    unfinished.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in plain), encoding="utf-8")
    os.replace(unfinished, run / "answers.jsonl")
    table = pa.Table.from_pylist([{**row, "probabilities": json.dumps(row["probabilities"])} for row in plain])
    pq.write_table(table, run / "answers.parquet.writing")
    os.replace(run / "answers.parquet.writing", run / "answers.parquet")


def read_answers(run: Path) -> list[Answered]:
    """Read what ``write_answers`` wrote; an empty list if there are no files."""
    path = run / "answers.jsonl"
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Answered(**_read_row(row)) for row in rows]


def _written_row(row: Answered) -> dict[str, Any]:
    """The row as JSON can hold it, with -inf as null, and whether it is correct."""
    return {**asdict(row), "log_z": row.log_z if isfinite(row.log_z) else None, "correct": is_correct(row)}


def _read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    read = {key: value for key, value in row.items() if key != "correct"}
    return read | {"log_z": -np.inf if row["log_z"] is None else row["log_z"]}


def is_correct(row: Answered) -> bool | None:
    """Whether the answer is the gold one; None if there is no gold answer, or there are no answers to choose from."""
    return None if row.label is None or not row.probabilities else row.answer == row.label
