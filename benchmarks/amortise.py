"""Does a flow learned once save nine tenths of every later search?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks import BenchResult
from benchmarks.posterior.columns import Target, self_check
from benchmarks.posterior.comparison import Entrant, Entry, compare, mean_and_se
from benchmarks.posterior.contexts import NUM_TEST, test_contexts, training_contexts
from benchmarks.posterior.gold import GoldConfig, pooled
from benchmarks.posterior.gold_cache import INV_TEMPERATURES, Replicates, gold_for
from benchmarks.posterior.pairs import RIVALS, SUFFIX, break_even_contexts, pair_names, pair_note, pairs
from sadt_ray.budget import fit_to_budget
from sadt_ray.data.etth1 import load_etth1
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.interfaces import Problem
from sadt_ray.methods import (
    Method,
    best_of_n,
    dps,
    dts,
    dts_late,
    dts_star,
    fk,
    prior,
    sadt,
    sadt_tree,
    smc_debiased,
    snis,
    sweep,
    tds,
)
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward
from sadt_ray.training.fit import FlowFit, learn_flow

QUESTION = "Does S-ADT with a tenth of the evaluations come nearer to the target than other methods? (ETTh1)"


@dataclass(frozen=True)
class Scale:
    """The size of the benchmark. ``rollouts`` is the budget of S-ADT's rivals; S-ADT has a tenth of it.

    ``seeds`` counts the seeds at lambda = 50; at 10, where all methods are near the target, there are half as many.
    """

    contexts: int = NUM_TEST
    seeds: int = 2
    rollouts: int = 2_000
    windows: int = 40  # training windows, two channels each
    particles: int = 128  # per particle system of the training searches
    steps: int = TrainingConfig.steps
    gold: GoldConfig | None = None  # None: the cached one
    replicates: int = 2


FULL = Scale()
QUICK = Scale(contexts=3, seeds=1, rollouts=500, windows=12, particles=64, steps=600)
_TRAINING_RESAMPLING = "siblings-8"
_MAIN = 50.0


@dataclass(frozen=True)
class Task:
    """What is searched."""

    process: DiffusionProcess
    reward: SpectralReward
    problems: Sequence[Problem]

    def fit_to_budget(self, make: Callable[[int], Method], max_nfe: int, flow: Flow | None = None) -> Method:
        """See ``fit_to_budget``."""
        return fit_to_budget(make, max_nfe, self.process, self.problems[0], self.reward, flow)


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    scale, data = QUICK if quick else FULL, load_etth1()
    return measure(scale, data, test_contexts(data)[: scale.contexts], Console(stderr=True))


def measure(scale: Scale, data: SeriesDataset, problems: Sequence[Problem], console: Console) -> BenchResult:
    """Learn on training windows of ``data``, search ``problems``, judge."""
    task = Task(load_pretrained(), SpectralReward(), problems)
    with console.status("") as status:
        golds = gold_for(
            task.problems,
            progress=lambda done, total: status.update(f"gold: run {done} of {total}"),
            process=task.process,
            reward=task.reward,
            config=scale.gold,
            replicates=scale.replicates,
        )
        learned = learn(task, training_contexts(data, scale.windows), scale, status.update)
        tables = {lam: _compared(task, golds, lam, learned, scale, status.update) for lam in INV_TEMPERATURES[::-1]}
    rows = [row for lam, entries in tables.items() for row in _rows(lam, entries, task.problems, golds)]
    figures = {"contexts": float(len(task.problems)), "seeds": float(scale.seeds)}
    for lam, entries in tables.items():
        figures |= {f"{key}{SUFFIX[lam]}": value for key, value in pairs(entries).items()}
        figures |= {f"{key}{SUFFIX[lam]}": value for key, value in _means(entries).items()}
    figures |= _price(learned, tables[_MAIN])
    return BenchResult(rows, figures, _notes(task, scale, learned, figures))


def learn(task: Task, problems: Sequence[Problem], scale: Scale, progress: Callable[[str], None]) -> FlowFit:
    """Learn F_phi from nothing: SMC under r~ on training windows, mostly at lambda = 50, then training."""
    searches = [
        smc_debiased(
            inv_temperature=lam,
            n_rollouts=systems * scale.particles,
            particles=scale.particles,
            resampling=_TRAINING_RESAMPLING,
        )
        for lam, systems in ((50.0, 2), (10.0, 1))
    ]
    config = TrainingConfig(steps=scale.steps)
    return learn_flow(
        task.process, problems, task.reward, searches, config, progress=lambda message: progress(f"flow: {message}")
    )


def entrants(task: Task, lam: float, flow: Flow, rollouts: int) -> list[Entrant]:
    """All methods at one inverse temperature. Budgets are in evaluations; look-aheads count."""
    full = rollouts * task.process.sampler.num_steps
    settings: dict[str, Any] = {"inv_temperature": lam}
    rolls, spends = settings | {"n_rollouts": rollouts}, settings | {"n_rollouts": None}

    def sized(make: Callable[..., Method], max_nfe: int, flow: Flow | None = None, **more: Any) -> Method:
        return task.fit_to_budget(lambda count: make(n_rollouts=count, **settings, **more), max_nfe, flow)

    def one_system(make: Callable[..., Method], max_nfe: int) -> Method:  # their best setting
        return task.fit_to_budget(lambda count: make(n_rollouts=count, particles=count, **settings), max_nfe)

    tenth, twentieth = full // 10, full // 20
    return [
        Entrant("prior", "prior", prior(**rolls)),
        Entrant("best_of_n", "best-of-n", best_of_n(**rolls)),
        Entrant("snis", "snis", snis(**rolls)),
        Entrant("dts", "dts", dts(max_nfe=full, **spends)),
        Entrant("dts_late", "dts-late", dts_late(max_nfe=full, **spends)),
        Entrant("dts_star", "dts-star", dts_star(max_nfe=full, **spends)),
        Entrant("fk", "fk", one_system(fk, full)),
        Entrant("tds", "tds", one_system(tds, full)),
        Entrant("dps", "dps (biased)", one_system(dps, full)),
        Entrant("smc", "smc-debiased", one_system(smc_debiased, full)),
        Entrant("smc_10x", "smc-debiased, 1/10", one_system(smc_debiased, tenth)),
        Entrant("sadt_tree_10x", "sadt-tree, 1/10", sadt_tree(max_nfe=tenth, **spends), flow),
        Entrant("sweep_10x_no_flow", "sweep without F, 1/10", sized(sweep, tenth)),
        Entrant(
            "sweep_10x_no_candidates", "sweep, no candidates, 1/10", sized(sweep, tenth, flow, num_candidates=1), flow
        ),
        Entrant("sadt_10x", "sadt, 1/10", sized(sadt, tenth, flow), flow),
        Entrant("sadt_20x", "sadt, 1/20", sized(sadt, twentieth, flow), flow),
    ]


def _compared(
    task: Task, golds: Sequence[Replicates], lam: float, learned: FlowFit, scale: Scale, tell: Callable[[str], None]
) -> dict[str, Entry]:
    targets = [Target(problem, pooled(gold[lam])) for problem, gold in zip(task.problems, golds, strict=True)]
    who = entrants(task, lam, learned.flow, scale.rollouts)
    progress = partial(_say, tell, f"lambda {lam:g}: ")
    seeds = scale.seeds if lam == _MAIN else max(scale.seeds // 2, 1)
    return compare(task.process, task.reward, targets, who, seeds, progress)


def _say(tell: Callable[[str], None], prefix: str, message: str) -> None:
    tell(prefix + message)


def _rows(
    lam: float, entries: Mapping[str, Entry], problems: Sequence[Problem], golds: Sequence[Replicates]
) -> list[dict[str, object]]:
    forecast = entries["prior"].signed("crps")
    rows = [_row(lam, entry, forecast) for entry in entries.values()]
    checks = [
        self_check(problem, gold[lam]) for problem, gold in zip(problems, golds, strict=True) if len(gold[lam]) > 1
    ]
    if len(checks) > 1:
        floor = Entry(replace(entries["prior"].entrant, label="(two runs of the gold)"), [checks])
        floor.nfe = float(np.mean([gold[lam][0].nfe for gold in golds]))
        rows.append(_row(lam, floor, forecast))
    return rows


def _row(lam: float, entry: Entry, forecast: np.ndarray) -> dict[str, object]:
    """One method at one lambda. The columns of forecast quality do not use the gold."""
    method = entry.entrant.method
    log_z = entry.signed("log_z_error")
    errors = np.array([[quality.log_z_error for quality in row] for row in entry.qualities])
    return {
        "method": entry.entrant.label,
        "lambda": lam,
        "gradients": "yes" if _guided(method) else "no",
        "learned": "yes" if entry.entrant.flow is not None else "no",
        "rollouts": round(entry.rollouts),
        "NFE": round(entry.nfe),
        "reward calls": round(entry.reward_calls),
        "s/context": entry.seconds,
        "bias": _with_error(entry.signed("reward_bias")),
        "|bias|": _with_error(entry.size("reward_bias")),
        "log Z error": float(log_z.mean()),
        "its sd": float(errors.std(ddof=1)),
        "ED": _with_error(entry.signed("ed")),
        "edp": _with_error(entry.signed("edp")),
        "ESS": float(entry.signed("ess").mean()),
        "root ESS": float(entry.signed("root_ess").mean()),
        "CRPS": _with_error(entry.signed("crps")),
        "dCRPS": _with_error(entry.signed("crps") - forecast),
        "Spec-W1": float(entry.signed("spec_w1").mean()),
        "log-spectral": float(entry.signed("log_spectral_distance").mean()),
    }


def _guided(method: Method) -> bool:
    return method.smc.guidance != "never"


def _with_error(values: np.ndarray) -> str:
    mean, error = mean_and_se(values)
    return f"{mean:.4f} +- {error:.4f}"


def _means(entries: Mapping[str, Entry]) -> dict[str, float]:
    """Means over problems, for every entrant."""
    columns = {"bias": "reward_bias", "abs_log_z_error": "log_z_error", "edp": "edp", "ed": "ed", "crps": "crps"}
    figures: dict[str, float] = {}
    for key, entry in entries.items():
        figures |= {f"{short}_{key}": float(entry.size(column).mean()) for short, column in columns.items()}
        figures |= {f"nfe_{key}": entry.nfe, f"seconds_{key}": entry.seconds}
    return figures


def _price(learned: FlowFit, entries: Mapping[str, Entry]) -> dict[str, float]:
    without = max(entries[key].nfe for key in RIVALS.values())
    return {
        "training_nfe": learned.nfe,
        "harvest_nfe": float(learned.search_nfe),
        "training_seconds": learned.seconds,
        "break_even_contexts": break_even_contexts(learned.nfe, without, entries["sadt_10x"].nfe),
    }


def _notes(task: Task, scale: Scale, learned: FlowFit, figures: Mapping[str, float]) -> list[str]:
    full = scale.rollouts * task.process.sampler.num_steps
    return [
        f"{len(task.problems)} test windows, one channel each, on which no setting was chosen; {scale.seeds} seeds, "
        f"half as many at lambda 10; +- over windows. Whole budget: {scale.rollouts:,} rollouts, {full:,} evaluations. "
        "1/10 and 1/20 are shares of these evaluations; candidates, gradients and F itself are charged by their "
        "multiply-adds.",
        learned.about(),
        f"Paid for after {figures['break_even_contexts']:.0f} contexts: {figures['training_nfe']:,.0f} / "
        f"({max(figures[f'nfe_{key}'] for key in RIVALS.values()):,.0f} - {figures['nfe_sadt_10x']:,.0f}).",
        "bias: of E[r]. ED: energy distance to the gold; edp: the same in log-PSD. dCRPS: minus the prior's, paired. "
        "Methods that differ in the draw alone share a search and its seconds. dps has no weights: its log Z means "
        "nothing. With so few rollouts sadt is one or two particle systems, the same as sweep.",
        *(pair_note(name, figures) for name in pair_names()),
    ]
