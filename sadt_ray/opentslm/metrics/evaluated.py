"""Scores of a stage through ``evaluate``: the numbers of ``score_stage``, from modules that others can load."""

from __future__ import annotations

from collections.abc import Sequence

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.metrics.evaluate_modules import load_metric
from sadt_ray.opentslm.metrics.stages import claimed_answers
from sadt_ray.opentslm.stage_spec import stage_spec


def evaluated(
    stage: int | str,
    predictions: Sequence[str],
    problems: Sequence[Problem],
    answers: Sequence[str | None] | None = None,
) -> dict[str, float]:
    """Scores by the modules in ``evaluate_modules``. Importing them takes seconds.

    Args:
        stage: number or name of the stage.
        predictions: generated texts, reasons included.
        problems: the questions.
        answers: the answer of each method, if it is not to be parsed from its text.

    Returns:
        ``accuracy, macro_f1, kappa`` of answers (no ``macro_f1`` for stage 5, whose templates differ); ``bleu`` and
        ``rouge_1, rouge_2, rouge_l`` of captions.
    """
    if stage_spec(stage).number == 2:
        names, said, meant = ["bleu", "rouge"], list(predictions), [problem.extras["answer"] for problem in problems]
    else:
        claims = claimed_answers(predictions, problems) if answers is None else answers
        names = ["accuracy", "kappa"] + ["macro_f1"] * (stage_spec(stage).number != 5)
        said, meant = [claim or "" for claim in claims], [problem.extras["label"] for problem in problems]
    figures: dict[str, float] = {}
    for name in names:
        figures |= load_metric(name).compute(predictions=said, references=meant)
    return figures
