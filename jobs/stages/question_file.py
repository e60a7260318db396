"""``questions.jsonl``: what was asked, for the report and for whoever reads the answers later."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jobs.stages.task import StageTask
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import claim_of
from sadt_ray.opentslm.rewards.templates import LabelTemplates, log_spectra
from sadt_ray.processes.language.prompt import Prompt


def write_questions(run: Path, task: StageTask) -> None:
    """One line a question: series, text, gold answer if known, spectrum and the templates of its answers."""
    unfinished = run / "questions.jsonl.writing"
    with unfinished.open("w", encoding="utf-8") as file:
        for problem in task.problems:
            file.write(json.dumps(_question(problem, task), ensure_ascii=False) + "\n")
    os.replace(unfinished, run / "questions.jsonl")


def _question(problem: Problem, task: StageTask) -> dict[str, Any]:
    prompt = problem.conditioning
    assert isinstance(prompt, Prompt), "stages ask prompts"
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
        **(_spectra(problem, prompt, task.templates) if task.templates else {}),
    }


def _spectra(problem: Problem, prompt: Prompt, templates: LabelTemplates) -> dict[str, Any]:
    """Densities by frequency in cycles a sample, means over channels of their logarithms."""
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
