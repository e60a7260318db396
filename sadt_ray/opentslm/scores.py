"""Scores of a stage run: one row per method with accuracy, calibration and cost, and one per question and method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.metrics.stages import score_stage
from sadt_ray.opentslm.rouge_bleu import rouge_l
from sadt_ray.opentslm.stage_spec import StageSpec
from sadt_ray.runs.answer_file import Answered, is_correct
from sadt_ray.runs.scores import ProblemScores

_SCORES = (
    "accuracy", "accuracy_se", "macro_f1", "macro_f1_se", "kappa", "kappa_se", "rouge_1", "rouge_2", "rouge_l",
    "rouge_l_se", "bleu", "ece", "brier", "accuracy_upstream", "macro_f1_upstream",
)  # fmt: skip


@dataclass(frozen=True)
class StageScores:
    """Scores of a run.

    Attributes:
        rows: one per method, all with the same columns; None for a score that is undefined or needs a gold answer.
        calibration: calibration bins by method.
    """

    rows: list[dict[str, Any]]
    calibration: dict[str, list[dict[str, float]]]


def score_methods(
    spec: StageSpec,
    problems: Sequence[Problem],
    answers: Sequence[Answered],
    seconds: Mapping[str, float],
    oracles: Sequence[str],
) -> StageScores:
    """Score every method. Each method must have answered all problems.

    Args:
        seconds: time per question, by method.
        oracles: names of the methods whose reward reads the gold answers.
    """
    rows, calibration = [], {}
    for method in dict.fromkeys(row.method for row in answers):
        mine = {row.problem: row for row in answers if row.method == method}
        ordered = [mine[problem.name] for problem in problems]
        figures = _figures(spec, problems, ordered)
        rows.append({**_cost(method, ordered, seconds), **{name: figures.get(name) for name in _SCORES}})
        rows[-1]["oracle"] = method in oracles
        if "reliability" in figures:
            calibration[method] = _bins(figures["reliability"])
    return StageScores(rows, calibration)


def _cost(method: str, rows: Sequence[Answered], seconds: Mapping[str, float]) -> dict[str, Any]:
    return {
        "method": method,
        "rationales": float(np.mean([row.rollouts for row in rows])),
        "tokens": float(np.mean([row.tokens for row in rows])),
        "reward_calls": float(np.mean([row.reward_calls for row in rows])),
        "seconds_per_example": seconds.get(method),
        "unparsable": float(np.mean([row.answer is None for row in rows])),
    }


def _figures(spec: StageSpec, problems: Sequence[Problem], rows: Sequence[Answered]) -> dict[str, Any]:
    """Scores of the answers; none if a question has no gold answer."""
    wanted = "answer" if spec.metric == "rouge_l" else "label"
    if any(problem.extras.get(wanted) is None for problem in problems):
        return {}
    texts, probabilities = [row.text for row in rows], [row.probabilities for row in rows]
    if spec.metric == "rouge_l":
        return score_stage(spec.number, texts, problems)
    return score_stage(spec.number, texts, problems, probabilities, [row.answer for row in rows])


def _bins(reliability: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    columns = (reliability["confidence"], reliability["accuracy"], reliability["counts"])
    return [{"confidence": c, "accuracy": a, "count": n} for c, a, n in zip(*columns, strict=True) if n]


def answer_scores(rows: Iterable[Answered], captions: bool) -> list[ProblemScores]:
    """Scores per question and method, for ``scores.parquet``.

    ``correct`` (0 or 1) and the ``probability`` of the gold answer, or ``rouge_l`` for captions; and ``tokens``.
    """
    return [ProblemScores(row.method, row.problem, row.source, _answer_figures(row, captions)) for row in rows]


def _answer_figures(row: Answered, captions: bool) -> dict[str, float]:
    figures, right = {"tokens": float(row.tokens)}, is_correct(row)
    if captions and row.label is not None:
        figures["rouge_l"] = rouge_l(row.text, row.label)
    elif right is not None and row.label is not None:
        figures |= {"correct": float(right), "probability": row.probabilities.get(row.label, 0.0)}
    return figures
