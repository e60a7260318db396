"""Scores of a stage: metrics with standard errors, calibration, and upstream's own figures for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.metrics.calibration import brier_score, calibration_error, reliability
from sadt_ray.metrics.clustered import Estimate, clustered_mean, clustered_statistic
from sadt_ray.opentslm.metrics.labels import coded, confusion_f1, confusion_kappa, correct
from sadt_ray.opentslm.metrics.text import bleu_counts, bleu_of_counts, rouge_scores
from sadt_ray.opentslm.metrics.upstream import upstream_scores
from sadt_ray.opentslm.parse import parse_answer
from sadt_ray.opentslm.stage_spec import stage_spec

Probabilities = Sequence[Mapping[str, float]]


def score_stage(
    stage: int | str,
    predictions: Sequence[str],
    problems: Sequence[Problem],
    probabilities: Probabilities | None = None,
    answers: Sequence[str | None] | None = None,
) -> dict[str, Any]:
    """Score the texts of a method on n problems of a stage.

    Args:
        stage: number or name of the stage.
        predictions: generated texts, reasons included.
        problems: the questions, with gold answers.
        probabilities: probability of each answer of each problem, for calibration; the rest, up to 1, is no answer.
        answers: the answer to each problem, if a method does not take it from one text (a vote); parsed by default.

    Returns:
        ``metric``, the main metric, and its ``score``; ``n`` and ``sources``. For answers ``accuracy, macro_f1, kappa``
        and the share ``answered``, for captions ``rouge_1, rouge_2, rouge_l, bleu``; each with ``_se``, the standard
        error clustered by source. With probabilities ``ece, brier`` and ``reliability``. Finally ``accuracy_upstream``
        and ``macro_f1_upstream``. The macro-F1 of stage 5 is the mean over templates, weighted by their size.

    Raises:
        ValueError: naming a problem without a gold answer, or if there is not one prediction per problem.
    """
    spec = stage_spec(stage)
    for what, given in (("predictions", predictions), ("probabilities", probabilities), ("answers", answers)):
        if given is not None and len(given) != len(problems):
            raise ValueError(f"{len(given)} {what} for {len(problems)} problems; give one for each")
    if not problems:
        raise ValueError("there are no problems to score")
    sources = [str(problem.extras.get("source") or problem.name) for problem in problems]
    golds = [_gold(problem, "answer") for problem in problems]
    if spec.number == 2:
        figures = _caption_figures(predictions, golds, sources)
    else:
        claims = list(answers) if answers is not None else claimed_answers(predictions, problems)
        figures = _answer_figures(claims, problems, sources)
        if probabilities is not None:
            figures |= calibration_figures(claims, problems, probabilities)
        known = [problem.conditioning.answers for problem in problems]
        figures |= upstream_scores(spec.number, predictions, golds, known, _groups(problems))
    counted = {"stage": spec.number, "n": len(problems), "sources": len(set(sources))}
    return {**counted, "metric": spec.metric, "score": figures[spec.metric], **figures}


def claimed_answers(predictions: Sequence[str], problems: Sequence[Problem]) -> list[str | None]:
    """The answer that each text claims; ``None`` if it claims none."""
    prompts = [problem.conditioning for problem in problems]
    return [
        parse_answer(text, prompt.answers, prompt.marker or "Answer:")
        for text, prompt in zip(predictions, prompts, strict=True)
    ]


def calibration_figures(
    claims: Sequence[str | None], problems: Sequence[Problem], probabilities: Probabilities
) -> dict[str, Any]:
    """``ece``, ``brier`` and the ``reliability`` bins as lists. Confidence: probability of the claimed answer."""
    truths = [_gold(problem, "label") for problem in problems]
    confidence = [0.0 if c is None else min(p.get(c, 0.0), 1.0) for c, p in zip(claims, probabilities, strict=True)]
    bins = reliability(confidence, correct(truths, claims))
    shown = {name: np.asarray(values).tolist() for name, values in bins._asdict().items()}
    return {"ece": calibration_error(bins), "brier": brier_score(probabilities, truths), "reliability": shown}


def _answer_figures(claims: list[str | None], problems: Sequence[Problem], sources: list[str]) -> dict[str, float]:
    labels = coded([_gold(problem, "label") for problem in problems], claims, _groups(problems))
    figures = {
        "accuracy": clustered_mean(labels.truths == labels.claims, sources),
        "macro_f1": clustered_statistic(lambda rows: confusion_f1(labels.confusion(rows)), sources),
        "kappa": clustered_statistic(lambda rows: confusion_kappa(labels.confusion(rows)), sources),
        "answered": clustered_mean(labels.claims < len(labels.classes), sources),
    }
    return _with_errors(figures)


def _caption_figures(predictions: Sequence[str], golds: list[str], sources: list[str]) -> dict[str, float]:
    figures = {name: clustered_mean(values, sources) for name, values in rouge_scores(predictions, golds).items()}
    counts = bleu_counts(predictions, golds)
    figures["bleu"] = clustered_statistic(lambda rows: bleu_of_counts(counts[rows]), sources)
    return _with_errors(figures)


def _with_errors(figures: Mapping[str, Estimate]) -> dict[str, float]:
    values = {name: estimate.value for name, estimate in figures.items()}
    return values | {f"{name}_se": estimate.standard_error for name, estimate in figures.items()}


def _groups(problems: Sequence[Problem]) -> list[str]:
    """The template of each question of stage 5; the same answer has another meaning in another template."""
    return [str(problem.extras.get("template_id", "")) for problem in problems]


def _gold(problem: Problem, name: str) -> str:
    value = problem.extras.get(name)
    if value is None:
        raise ValueError(f"problem {problem.name!r} has no {name} to compare with; it can be answered but not scored")
    return str(value)
