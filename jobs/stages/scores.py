"""One row a method: how often it was right, how sure it was, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.answers import Answered
from sadt_ray.opentslm.metrics.stages import score_stage
from sadt_ray.opentslm.stage_spec import StageSpec

_SCORES = (
    "accuracy", "accuracy_se", "macro_f1", "macro_f1_se", "kappa", "kappa_se", "rouge_1", "rouge_2", "rouge_l",
    "rouge_l_se", "bleu", "ece", "brier", "accuracy_upstream", "macro_f1_upstream",
)  # fmt: skip


@dataclass(frozen=True)
class StageScores:
    """Of a run.

    Attributes:
        rows: a method each, the same columns in all; None for what is not defined, or has no gold answer.
        calibration: bins by method.
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
    """Of every method that has answered all problems.

    Args:
        seconds: a question took, by method.
        oracles: methods whose reward read the gold answers.
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
    """Nothing where a question has no gold answer: it can be answered, not scored."""
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
