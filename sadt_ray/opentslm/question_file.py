"""``questions.jsonl``: the questions of a run, for its report and for later readers of the answers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import claim_of
from sadt_ray.opentslm.rewards.templates import LabelTemplates, log_spectra
from sadt_ray.processes.language.prompt import Prompt

QUESTIONS = "questions.jsonl"


def write_questions(run: Path, problems: Sequence[Problem], templates: LabelTemplates | None = None) -> None:
    """Write one line per question: series, text, answers, and the gold answer if it is known.

    Args:
        templates: if given, the spectrum of the series and the templates of the answers are written too.
    """
    unfinished = run / f"{QUESTIONS}.writing"
    with unfinished.open("w", encoding="utf-8") as file:
        for problem in problems:
            file.write(json.dumps(_question(problem, templates), ensure_ascii=False) + "\n")
    os.replace(unfinished, run / QUESTIONS)


def _question(problem: Problem, templates: LabelTemplates | None) -> dict[str, Any]:
    prompt = problem.conditioning
    assert isinstance(prompt, Prompt), "problems of stages are conditioned on prompts"
    series = np.atleast_2d(np.asarray(problem.context, float).T)
    extras = problem.extras
    return {
        "problem": problem.name,
        "source": extras.get("source"),
        "label": extras.get("label"),
        "answer": extras.get("answer"),
        "series": series.tolist(),
        "sampling_rate": extras.get("sampling_rate"),
        "series_names": list(prompt.texts),
        "question": f"{prompt.pre}\n{prompt.post}",
        "answers": list(prompt.answers),
        **(_spectra(problem, prompt, templates) if templates else {}),
    }


def _spectra(problem: Problem, prompt: Prompt, templates: LabelTemplates) -> dict[str, Any]:
    """Spectral densities against frequency in cycles per sample; geometric means over channels."""
    spectrum = np.exp(log_spectra(problem, templates.config).mean(0))
    row = {claim: k for k, claim in enumerate(templates.claims)}
    claims = {answer: row.get(claim_of(problem, answer)) for answer in prompt.answers}
    return {
        "spectrum": spectrum.tolist(),
        "frequencies": np.linspace(0, 0.5, len(spectrum)).tolist(),
        "template_spectra": {
            answer: np.exp(templates.log_psd[k].mean(0)).tolist() for answer, k in claims.items() if k is not None
        },
    }
