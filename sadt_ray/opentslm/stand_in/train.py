"""Train a stand-in and judge it on questions that it has not seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel
from sadt_ray.opentslm.rouge_bleu import rouge_l
from sadt_ray.opentslm.stand_in.ecg import real_ecg_problems
from sadt_ray.opentslm.stand_in.fit import FitStandInConfig, Report, answer_loss, fit_stand_in
from sadt_ray.opentslm.stand_in.judge import judge, written
from sadt_ray.opentslm.stand_in.library import (
    corpus_of,
    held_out_problems,
    save_stand_in,
    settings_of,
    silent,
    stand_in_name,
)
from sadt_ray.opentslm.stand_in.tsqa import real_tsqa_problems

_PHASES = ("warm_up_steps", "text_steps", "joint_steps")
_CAPTIONS, _CAPTION_TOKENS = 32, 160  # questions of stage 2 that are judged; longest caption


@dataclass(frozen=True)
class JudgedStandIn:
    """A trained stand-in and its scores.

    Attributes:
        directory: its directory.
        minutes, cpu_minutes: wall-clock and CPU time of the training.
        scores: scores by name of the questions, ``held_out`` and real ones if there are any; and the minutes.
    """

    directory: Path
    minutes: float
    cpu_minutes: float
    scores: dict[str, object]


def train_and_judge_stand_in(
    stage: int | str,
    out: Path,
    *,
    seed: int = 0,
    questions: int = 150,
    draws: int = 8,
    max_steps: int | None = None,
    compact: bool = False,
    report: Report = silent,
) -> JudgedStandIn:
    """Train the stand-in of a stage, judge it, and write it to a directory.

    Args:
        stage: number or name, or ``early-claims``.
        out: the directory; replaced if it exists.
        seed: seed of weights and batches, and of the split of the sources.
        questions: held-out questions to judge it by; 0 for none.
        draws: answers drawn per question.
        max_steps: most steps per phase, for a quick trial.
        compact: write float16, half the size.
        report: called with ``(phase, step, of, loss)`` after each step.

    Raises ValueError for an unknown stage, DataNotFound if its data cannot be found.
    """
    name, settings = stand_in_name(stage), _settings(stage, max_steps)
    start, started = time.perf_counter(), time.process_time()
    model = fit_stand_in(corpus_of(name, seed), settings, seed, report)
    minutes, cpu_minutes = (time.perf_counter() - start) / 60, (time.process_time() - started) / 60
    scores: dict[str, object] = {"minutes": round(minutes, 2), "minutes_of_a_core": round(cpu_minutes, 2)}
    problems = held_out_problems(name, seed, questions) if questions else []
    if problems:
        scores["held_out"] = held_out_scores(model, problems, draws)
        scores |= {title: held_out_scores(model, real, draws) for title, real in _real_problems(name).items()}
    save_stand_in(model, out, {"stage": name, "seed": seed, "scores": scores}, compact)
    return JudgedStandIn(out, minutes, cpu_minutes, scores)


def held_out_scores(model: SoftPromptModel, problems: Sequence[Problem], draws: int) -> dict[str, object]:
    """Accuracy, calibration and cost of questions with answers; loss, ROUGE-L and an example of captions."""
    if problems[0].conditioning.answers:
        return {key: round(value, 4) for key, value in judge(model, problems, draws)._asdict().items()}
    some = problems[:_CAPTIONS]
    with torch.no_grad():
        loss = answer_loss(model, some).item()
    greedy, drawn = (written(model, some, 1, _CAPTION_TOKENS, greedy=wanted)[0] for wanted in (True, False))
    shared = [
        sum(rouge_l(texts[0], problem.extras["answer"]) for texts, problem in zip(captions, some, strict=True))
        / len(captions)
        for captions in (greedy, drawn)
    ]
    scores = {"loss": loss, "rouge_l_greedy": shared[0], "rouge_l_sampled": shared[1]}
    return {key: round(value, 4) for key, value in scores.items()} | {"example": greedy[0][0]}


def _real_problems(name: str) -> dict[str, list[Problem]]:
    """Real questions, if the stage has generated ones and the data are on this machine."""
    try:
        if name == "tsqa":
            return {"public rows, which never answer (a)": real_tsqa_problems()}
        if name == "ecg":
            return {"seven real records": real_ecg_problems()}
    except DataNotFound:
        pass
    return {}


def _settings(stage: int | str, max_steps: int | None) -> FitStandInConfig:
    settings = settings_of(stage)
    if max_steps is None:
        return settings
    return replace(settings, **{phase: min(max_steps, getattr(settings, phase)) for phase in _PHASES})
