"""The prompts of the five stages, from the templates in ``prompts.json``.

The templates equal OpenTSLM's to the character, indentation included (source, commit and licence are in the file),
because a model gives worse answers to prompts that differ from those of its training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np

from sadt_ray.opentslm.data.normalise import Normalised
from sadt_ray.processes.language.prompt import Prompt


def fill_prompt(
    stage: int, fields: Mapping[str, str], normalised: Normalised, answers: tuple[str, ...], marker: str, ends: bool
) -> Prompt:
    """Fill the templates of a stage with the fields of a question and the mean and deviation of each series.

    Args:
        stage: number of the stage.
        fields: the fields in braces in the template: ``Question`` and ``Task`` (1), ``question``,
            ``clinical_context`` and ``answers`` (5).
        normalised: the series with their means and deviations.
        answers, marker, ends: see ``Prompt``.

    Raises:
        ValueError: if the number of series is not that of the template.
    """
    pre, texts, post = _templates(stage)
    series, means, stds = normalised
    if len(series) != len(texts):
        raise ValueError(f"stage {stage} describes {len(texts)} series, got {len(series)}")
    described = tuple(
        text.format(mean=mean, std=std) for text, mean, std in zip(texts, means.tolist(), stds.tolist(), strict=True)
    )
    rows = tuple(np.ascontiguousarray(row, np.float32) for row in series)
    return Prompt(
        pre.format_map(fields).strip(), described, rows, post.format_map(fields).strip(), answers, marker, ends
    )


@cache
def _templates(stage: int) -> tuple[str, tuple[str, ...], str]:
    published = json.loads(files("sadt_ray.opentslm.data").joinpath("prompts.json").read_text(encoding="utf-8"))
    parts = published["stages"][str(stage)]
    return "\n".join(parts["pre"]), tuple(parts["texts"]), "\n".join(parts["post"])
