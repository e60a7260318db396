"""Train a stand-in for OpenTSLM and say how good it is; without the real weights every stage runs end to end on it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from jobs.training_bars import TrainingBars
from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel
from sadt_ray.opentslm.rouge_bleu import rouge_l
from sadt_ray.opentslm.stand_in.ecg import real_ecg_problems
from sadt_ray.opentslm.stand_in.fit import FitStandInConfig, answer_loss, fit_stand_in
from sadt_ray.opentslm.stand_in.judge import judge, written
from sadt_ray.opentslm.stand_in.library import (
    WHAT,
    corpus_of,
    held_out_problems,
    save_stand_in,
    settings_of,
    stand_in_name,
)
from sadt_ray.opentslm.stand_in.tsqa import real_tsqa_problems

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
    """Of weights, batches, and of which sources are held out."""
    out: Path | None = None
    """The directory of the stand-in; runs/train/STAGE-seedN by default."""
    questions: int = 150
    """Held-out questions to judge it by at the end; 0 for none."""
    draws: int = 8
    """Answers drawn to each of them."""
    max_steps: int | None = None
    """At most so many steps a phase, for a quick trial."""
    compact: bool = False
    """Write float16: half the size."""
    threads: int = 1
    """CPU threads. On cores that others use too, two are many times slower than one."""


def train_tslm(config: TrainTslmConfig, console: Console) -> Path:
    """Fit, save, judge; returns the stand-in's directory."""
    torch.set_num_threads(config.threads)
    name, settings = stand_in_name(config.stage), _settings(config)
    out = config.out or Path("runs/train") / f"{name}-seed{config.seed}"
    console.print(f"{WHAT}\n{name}, seed {config.seed} -> {out}", highlight=False)
    start, started = time.perf_counter(), time.process_time()
    with TrainingBars(console) as bars:

        def show(phase: str, step: int, of: int, loss: float) -> None:
            bars.show(_PHASES[phase], step, of, f"loss {loss:.3f}")

        model = fit_stand_in(corpus_of(name, config.seed), settings, config.seed, show)
    minutes, of_core = (time.perf_counter() - start) / 60, (time.process_time() - started) / 60
    problems = held_out_problems(name, config.seed, config.questions) if config.questions else []
    scores: dict[str, object] = {"minutes": round(minutes, 2), "minutes_of_a_core": round(of_core, 2)}
    if problems:
        scores["held_out"] = held_out_scores(model, problems, config.draws)
    for title, real in _real_problems(name).items() if problems else ():
        scores[title] = held_out_scores(model, real, config.draws)
    save_stand_in(model, out, {"stage": name, "seed": config.seed, "scores": scores}, config.compact)
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    console.print(f"{minutes:.1f} minutes, {of_core:.1f} of a core, {size:.1f} MB")
    console.print_json(json.dumps(scores))
    return out


def held_out_scores(model: SoftPromptModel, problems: Sequence[Problem], draws: int) -> dict[str, object]:
    """Accuracy, calibration and cost where questions have an answer; for captions the loss and examples."""
    if problems[0].conditioning.answers:
        return {key: round(value, 4) for key, value in judge(model, problems, draws)._asdict().items()}
    with torch.no_grad():
        loss = answer_loss(model, problems[:32]).item()
    greedy, drawn = (written(model, problems[:32], 1, 160, greedy=wanted)[0] for wanted in (True, False))
    shared = [
        sum(rouge_l(some[0], problem.extras["answer"]) for some, problem in zip(texts, problems, strict=False))
        / len(texts)
        for texts in (greedy, drawn)
    ]
    scores = {"loss": loss, "rouge_l_greedy": shared[0], "rouge_l_sampled": shared[1]}
    return {key: round(value, 4) for key, value in scores.items()} | {"example": greedy[0][0]}


def _real_problems(name: str) -> dict[str, list[Problem]]:
    """Real questions beside the generated ones, where the data are at hand."""
    try:
        if name == "tsqa":
            return {"public rows, which never answer (a)": real_tsqa_problems()}
        if name == "ecg":
            return {"seven real records": real_ecg_problems()}
    except DataNotFound:
        pass
    return {}


def _settings(config: TrainTslmConfig) -> FitStandInConfig:
    settings = settings_of(config.stage)
    if config.max_steps is None:
        return settings
    phases = ("warm_up_steps", "text_steps", "joint_steps")
    return replace(settings, **{phase: min(config.max_steps, getattr(settings, phase)) for phase in phases})
