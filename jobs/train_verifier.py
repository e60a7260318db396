"""Train a stage's verifier: how far the vote, the spectrum and the claim can be trusted, from labelled questions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from jobs.tables import format_cell
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.train_verifier import train_stage_verifier


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
    """Number of questions, spread over all."""
    n_rollouts: int = 8
    """Rationales per question: as many as the pilot of a search will draw."""
    folds: int = 4
    """Folds of sources, for the cross-fit."""
    max_tokens: int | None = None
    """Longest text in tokens; by default what the stage's answers need."""
    seed: int = 0
    """Seed of the rationales and the folds, and the choice of the stand-in."""
    out: Path | None = None
    """Directory of the verifier; runs/train/verifier-STAGE by default."""


def train_verifier(config: TrainVerifierConfig, console: Console) -> Path:
    """Train and print what was found; returns the directory."""
    settings = StageSettings(
        stage=config.stage,
        checkpoint=config.checkpoint,
        data_file=config.data_file,
        split=None if config.data_file is not None else "validation",
        num_examples=config.num_examples,
        n_rollouts=config.n_rollouts,
        max_tokens=config.max_tokens,
        seed=config.seed,
    )
    out = config.out or Path("runs/train") / f"verifier-{settings.spec.name}"
    verifier = train_stage_verifier(settings, out, config.folds, lambda line: console.print(line, markup=False))
    said = ", ".join(f"{name} {format_cell(value)}" for name, value in verifier.facts.items())
    console.print(f"{out}: {said}", highlight=False, soft_wrap=True)
    return out
