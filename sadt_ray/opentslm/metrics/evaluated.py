"""A stage's figures through ``evaluate``: the same numbers as ``score_stage``'s, from modules that others can load."""

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
    """``accuracy, macro_f1, kappa`` of answers (``macro_f1`` not of stage 5, whose templates differ), ``bleu`` and
    ``rouge_1, rouge_2, rouge_l`` of captions, by the modules in ``evaluate_modules``. Takes seconds to import.
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
