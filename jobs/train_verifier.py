"""Train a stage's verifier: how far the vote, the spectrum and the claim can be trusted, from labelled questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from jobs.stages.job import StageJob
from jobs.stages.pilot import run_pilot
from jobs.stages.questions import training_questions
from jobs.stages.task import TEMPLATES, VERIFIER, build_task, fit_templates
from jobs.tables import format_cell
from sadt_ray.opentslm.rewards.answer_verifier import fit_answer_verifier
from sadt_ray.opentslm.rewards.templates import save_templates
from sadt_ray.opentslm.rewards.verifier_file import save_verifier


@dataclass(frozen=True)
class TrainVerifierConfig:
    """Train the verifier of a stage on questions that the model has not seen, cross-fitted by source.

    For `python -m jobs.search --stage N --verifier DIR --reward "verifier + -1*agreement"`.
    """

    stage: str
    """1, 3, 4 or 5, or tsqa, har, sleep, ecg: a stage whose questions have answers."""
    checkpoint: str | None = None
    """OpenTSLM: a hub id, a directory or a file; by default the stage's stand-in."""
    data_file: Path | None = None
    """Labelled questions of your own, of sources that the model was not trained on; by default the validation part."""
    num_examples: int = 150
    """How many of them, spread over all."""
    n_rollouts: int = 8
    """Rationales a question: as many as the pilot of a search will have."""
    folds: int = 4
    """Of sources, for the cross-fit."""
    max_tokens: int | None = None
    """Of a text; by default what the stage's answers need."""
    seed: int = 0
    """Of rationales, of folds, and which stand-in."""
    out: Path | None = None
    """Its directory; runs/train/verifier-STAGE by default."""


def train_verifier(config: TrainVerifierConfig, console: Console) -> Path:
    """Ask, fit, save; returns the directory."""
    job = StageJob(
        stage=config.stage,
        checkpoint=config.checkpoint,
        data_file=config.data_file,
        split=None if config.data_file is not None else "validation",
        num_examples=config.num_examples,
        max_tokens=config.max_tokens,
        reward="format",
        seed=config.seed,
    )
    out = config.out or Path("runs/train") / f"verifier-{job.spec.name}"
    task = build_task(job, console)
    templates = fit_templates(job.spec.number, training_questions(job), task.problems)
    with console.status(f"{config.n_rollouts} rationales of {len(task.problems)} questions"):
        pilot = run_pilot(task.process, task.problems, config.n_rollouts, config.seed)
    facts = {"stage": job.spec.number, "rationales": config.n_rollouts, "checkpoint": str(config.checkpoint)}
    verifier = fit_answer_verifier(
        task.problems, pilot.marginals, templates, config.folds, seed=config.seed, facts=facts
    )
    out.mkdir(parents=True, exist_ok=True)
    save_templates(templates, out / TEMPLATES)
    save_verifier(verifier, out / VERIFIER)
    said = ", ".join(f"{name} {format_cell(value)}" for name, value in verifier.facts.items())
    console.print(f"{out}: {said}", highlight=False, soft_wrap=True)
    return out
