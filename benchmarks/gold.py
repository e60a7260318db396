"""How well is the ground truth known by which samplers are judged?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks import BenchResult
from benchmarks.posterior.columns import PosteriorQuality, self_check
from benchmarks.posterior.contexts import test_contexts, validation_contexts
from benchmarks.posterior.gold import direct, pooled
from benchmarks.posterior.gold_cache import INV_TEMPERATURES, Replicates, gold_for
from sadt_ray.data.etth1 import load_etth1
from sadt_ray.interfaces import Problem

QUESTION = "How far apart are two runs of the gold standard, and two different samplers? (ETTh1)"
_DIRECT = 3  # validation contexts that the direct sampler, 1.1 M evaluations each, is run on


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    data = load_etth1()
    parts = {"test": test_contexts(data), "validation": validation_contexts(data)}
    if quick:
        parts = {part: problems[:2] for part, problems in parts.items()}
    golds = {part: _with_progress(part, problems) for part, problems in parts.items()}
    rows = [
        _row(problem, lam, replicates[lam])
        for part, problems in parts.items()
        for problem, replicates in zip(problems, golds[part], strict=True)
        for lam in INV_TEMPERATURES
    ]
    figures = {
        f"{name}_{part}_{lam:g}": value
        for part, problems in parts.items()
        for lam in INV_TEMPERATURES
        for name, value in _floor([(p, g[lam]) for p, g in zip(problems, golds[part], strict=True)]).items()
    }
    known = list(zip(parts["validation"], golds["validation"], strict=True))[: 1 if quick else _DIRECT]
    notes = (
        "Two runs by surrogate each, lambda = 10 on the way to 50. ED and edp: the first run's 1,024 samples judged by "
        "the second's: the noise floor of these columns. NFE: of one run up to this lambda. Even weights: "
        "effective share of the surrogate's states after weighting.",
        *(_floor_note(part, lam, figures) for part in parts for lam in INV_TEMPERATURES),
        *_against_direct(known),
    )
    return BenchResult(rows, figures, notes)


def _with_progress(part: str, problems: Sequence[Problem]) -> list[Replicates]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"gold, {part}")
        return gold_for(problems, progress=lambda done, total: bar.update(task, completed=done, total=total))


def _row(problem: Problem, lam: float, replicates: Sequence) -> dict[str, object]:
    floor = self_check(problem, replicates)
    return {
        "problem": problem.name,
        "lambda": lam,
        "log Z": " / ".join(f"{gold.log_z:.3f}" for gold in replicates),
        "E[r]": " / ".join(f"{gold.mean_reward:.4f}" for gold in replicates),
        "ED": floor.ed,
        "edp": floor.edp,
        "even weights": " / ".join(f"{gold.diagnostics['correction']:.2f}" for gold in replicates),
        "NFE": replicates[0].nfe,
    }


def _floor(pairs: Sequence[tuple[Problem, Sequence]]) -> dict[str, float]:
    """Means over problems: magnitudes of differences between two runs, and what distances remain."""
    floors = PosteriorQuality(*np.abs([self_check(problem, golds) for problem, golds in pairs]).mean(0))
    return {"reward": floors.reward_bias, "log_z": floors.log_z_error, "ed": floors.ed, "edp": floors.edp}


def _floor_note(part: str, lam: float, figures: Mapping[str, float]) -> str:
    values = {name: figures[f"{name}_{part}_{lam:g}"] for name in ("reward", "log_z", "ed", "edp")}
    return (
        f"{part}, lambda {lam:g}, means over contexts: E[r] differs by {values['reward']:.4f}, log Z by "
        f"{values['log_z']:.3f}; ED {values['ed']:.4f}, edp {values['edp']:.4f}."
    )


def _against_direct(known: Sequence[tuple[Problem, Replicates]]) -> list[str]:
    """The other sampler, which knows no surrogate."""
    notes = []
    found = gold_for([problem for problem, _ in known], config=direct(), replicates=1)
    for (problem, surrogate), one in zip(known, found, strict=True):
        for lam in INV_TEMPERATURES:
            ours, other = pooled(surrogate[lam]), one[lam][0]
            notes.append(
                f"{problem.name}, lambda {lam:g}: direct - by surrogate is {other.log_z - ours.log_z:+.3f} in log Z, "
                f"{other.mean_reward - ours.mean_reward:+.4f} in E[r]."
            )
    return notes
