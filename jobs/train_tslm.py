"""Train a stand-in for OpenTSLM and say how good it is; without the real weights every stage runs end to end on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from jobs.training_bars import TrainingBars
from sadt_ray.opentslm.stand_in.library import WHAT, stand_in_name
from sadt_ray.opentslm.stand_in.train import train_and_judge_stand_in

_PHASES = {"encoder": "encoder alone", "texts": "texts alone", "joint": "together"}


@dataclass(frozen=True)
class TrainTslmConfig:
    """Train a tiny OpenTSLM-SP, in the published file format, as a stand-in for the real one, which cannot travel.

    A few minutes on two cores. It learns from small public data and generators, with synthetic rationales: it shows
    that the search works, and says nothing about OpenTSLM.
    """

    stage: str
    """1 to 5, or tsqa, m4, har, sleep, ecg; or early-claims, a synthetic prior for deep search."""
    seed: int = 0
    """Seed of weights and batches, and of which sources are held out."""
    out: Path | None = None
    """The directory of the stand-in; runs/train/STAGE-seedN by default."""
    questions: int = 150
    """Held-out questions to judge it by at the end; 0 for none."""
    draws: int = 8
    """Answers drawn per question."""
    max_steps: int | None = None
    """Most steps per phase, for a quick trial."""
    compact: bool = False
    """Write float16: half the size."""
    threads: int = 1
    """CPU threads. On cores that other processes use too, two are many times slower than one."""


def train_tslm(config: TrainTslmConfig, console: Console) -> Path:
    """Train a stand-in and print how good it is; returns its directory."""
    torch.set_num_threads(config.threads)
    name = stand_in_name(config.stage)
    out = config.out or Path("runs/train") / f"{name}-seed{config.seed}"
    console.print(f"{WHAT}\n{name}, seed {config.seed} -> {out}", highlight=False)
    with TrainingBars(console) as bars:

        def show(phase: str, step: int, of: int, loss: float) -> None:
            bars.show(_PHASES[phase], step, of, f"loss {loss:.3f}")

        made = train_and_judge_stand_in(
            name,
            out,
            seed=config.seed,
            questions=config.questions,
            draws=config.draws,
            max_steps=config.max_steps,
            compact=config.compact,
            report=show,
        )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    console.print(f"{made.minutes:.1f} minutes, {made.cpu_minutes:.1f} of a core, {size:.1f} MB")
    console.print_json(json.dumps(made.scores))
    return out
