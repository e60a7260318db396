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
    """One question, one method.

    Attributes:
        answer: of the prompt's answers the likeliest under the samples' weights; None where no text claims any. The
            text itself where there are none to choose from.
        probabilities: of every answer; what is missing to one claims none of them.
        text: the heaviest text with that answer: the reasons for it.
        label: the gold answer, if known; the gold text where there are no answers to choose from.
        tokens: evaluated beyond the prompt, generated or scored.
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
    """``answers.parquet`` and ``answers.jsonl``, one row a question and method; probabilities as a JSON object."""
    plain = [_written_row(row) for row in rows]
    unfinished = run / "answers.jsonl.writing"
    unfinished.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in plain), encoding="utf-8")
    os.replace(unfinished, run / "answers.jsonl")
    table = pa.Table.from_pylist([{**row, "probabilities": json.dumps(row["probabilities"])} for row in plain])
    pq.write_table(table, run / "answers.parquet.writing")
    os.replace(run / "answers.parquet.writing", run / "answers.parquet")


def read_answers(run: Path) -> list[Answered]:
    """What ``write_answers`` wrote; nothing if it did not yet."""
    path = run / "answers.jsonl"
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Answered(**_read_row(row)) for row in rows]


def _written_row(row: Answered) -> dict[str, Any]:
    """JSON has no word for the logarithm of nothing: null."""
    return {**asdict(row), "log_z": row.log_z if isfinite(row.log_z) else None, "correct": is_correct(row)}


def _read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    read = {key: value for key, value in row.items() if key != "correct"}
    return read | {"log_z": -np.inf if row["log_z"] is None else row["log_z"]}


def is_correct(row: Answered) -> bool | None:
    """Whether the answer is the gold one; None where there is no gold answer to choose."""
    return None if row.label is None or not row.probabilities else row.answer == row.label
