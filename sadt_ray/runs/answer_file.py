"""``answers.parquet`` and ``answers.jsonl``: what each method answered to each question, written and read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


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
