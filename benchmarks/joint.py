"""All channels of a window as one problem, under a copula: does search beat reweighting?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks import BenchResult
from benchmarks.posterior.columns import Paired, paired
from benchmarks.posterior.comparison import Entrant
from benchmarks.posterior.joint_comparison import JointEntry, JointTask, compare_jointly
from benchmarks.posterior.joint_forecasts import joint_problems, training_coupling, with_moments
from sadt_ray.budget import fit_to_budget
from sadt_ray.data.etth1 import load_etth1
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.methods import Method, best_of_n, dts, fk, prior, sadt, smc_debiased, snis
from sadt_ray.processes.joint import JointProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.copula import CopulaReward
from sadt_ray.rewards.coupling import Coupling

QUESTION = "Does search beat reweighting when seven channels are one sample under a copula? (ETTh1)"
LAM = 1.0  # the copula is a density ratio
WEAK = 0.3
_COLUMNS = ("ed", "crps", "differences", "sums", "first_pair", "energy")


@dataclass(frozen=True)
class Scale:
    """The size of the benchmark: number of test windows (None: all), ``stride`` of training windows in rows."""

    windows: int | None = None
    rollouts: int = 200
    draws: int = 400  # samples of the prior per window, which give its marginals
    stride: int = 48
    training_draws: int = 200
    rank: int = 16
    together: int = 12  # windows searched at a time, to limit memory


FULL = Scale()
QUICK = Scale(windows=4, rollouts=100, draws=100, stride=336, training_draws=50, rank=8)


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    return measure(QUICK if quick else FULL, load_etth1(), Console(stderr=True))


def measure(scale: Scale, data: SeriesDataset, console: Console) -> BenchResult:
    """Learn the coupling, search the windows under it and under a weak one, compare."""
    process, channels = load_pretrained(), len(data.columns)
    available = len(data.window_starts("test", 48))
    windows = np.linspace(0, available - 1, scale.windows or available).round().astype(int).tolist()
    with console.status("") as status:
        status.update("coupling: forecasts of the training part")
        coupling = training_coupling(process, data, scale.stride, scale.training_draws, scale.rank)
        status.update("moments of the prior")
        problems = with_moments(process, joint_problems(data, "test", windows), scale.draws, seed=2)
        pair = _closest(coupling)
        joint = JointProcess(process, channels)
        strong = JointTask(joint, problems, coupling, pair, scale.together)
        weak = JointTask(joint, problems, coupling.weakened(WEAK), pair, scale.together)
        max_nfe = scale.rollouts * process.sampler.num_steps * channels
        entries = {
            "": compare_jointly(strong, _entrants(strong, max_nfe), status.update),
            "_weak": compare_jointly(weak, _few(_entrants(weak, max_nfe)), status.update),
        }
    figures = {"windows": float(len(windows)), "information": coupling.information}
    figures |= {"information_weak": weak.coupling.information}
    for suffix, found in entries.items():
        figures |= {f"{name}{suffix}": value for name, value in _figures(found).items()}
    rows = [
        _row(task, one, found) for task, found in zip((strong, weak), entries.values(), strict=True) for one in found
    ]
    return BenchResult(rows, figures, _notes(scale, strong, weak, entries, data.columns))


def _closest(coupling: Coupling) -> tuple[int, int]:
    """The two channels with the largest correlation, averaged over directions."""
    mean = np.triu(coupling.correlation.mean(0), 1)
    first, second = np.unravel_index(mean.argmax(), mean.shape)
    return int(first), int(second)


def _entrants(task: JointTask, max_nfe: int) -> list[Entrant]:
    """All methods with the same number of evaluations of one channel; look-aheads count."""
    settings: dict[str, Any] = {"inv_temperature": LAM}
    spends = settings | {"n_rollouts": None, "max_nfe": max_nfe}

    def sized(make: Callable[..., Method], **more: Any) -> Method:
        return fit_to_budget(lambda count: make(n_rollouts=count, **settings, **more), max_nfe, task.process,
                          task.problems[0], CopulaReward(task.coupling))  # fmt: skip

    return [
        Entrant("prior", "prior", prior(**spends)),
        Entrant("best_of_n", "best-of-n", best_of_n(**spends)),
        Entrant("snis", "SNIS (reweighting)", snis(**spends)),
        Entrant("dts", "DTS", dts(**spends)),
        Entrant("fk", "FK", sized(fk)),
        Entrant("smc", "SMC, r~", sized(smc_debiased)),
        Entrant("sadt", "S-ADT, r~", sized(sadt)),
        Entrant("sadt_lean", "S-ADT, r~, guidance scale 1", sized(sadt, guidance_scale=1.0)),
    ]


def _few(entrants: Sequence[Entrant]) -> list[Entrant]:
    """The methods that show whether reweighting is enough."""
    return [one for one in entrants if one.key in ("prior", "snis", "smc", "sadt_lean")]


def _row(task: JointTask, one: JointEntry, found: Sequence[JointEntry]) -> dict[str, object]:
    base = found[0]
    log_z = one.column("log_z")
    return {
        "method": one.label,
        "coupling": f"{task.coupling.information:.1f} nats",
        "rollouts": round(one.rollouts),
        "NFE": round(one.nfe),
        "E[r]": float(one.column("reward").mean()),
        "log Z rms": None if np.isnan(log_z).any() else float(np.sqrt(np.square(log_z).mean())),
        "ESS": float(one.column("ess").mean()),
        "ED": float(one.column("ed").mean()),
        "CRPS": float(one.column("crps").mean()),
        "of differences": float(one.column("differences").mean()),
        "of sums": float(one.column("sums").mean()),
        "closest pair": float(one.column("first_pair").mean()),
        "energy score": float(one.column("energy").mean()),
        "minus prior: differences": "" if one is base else _shown(_against(one, base, "differences")),
        "minus prior: energy": "" if one is base else _shown(_against(one, base, "energy")),
    }


def _against(one: JointEntry, other: JointEntry, column: str) -> Paired:
    return paired(one.column(column), other.column(column))


def _shown(result: Paired) -> str:
    return f"{result.mean:+.4f} +- {result.se:.4f} ({result.wins})"


def _figures(found: Sequence[JointEntry]) -> dict[str, float]:
    by_key = {one.key: one for one in found}
    figures: dict[str, float] = {}
    for one in found:
        log_z = one.column("log_z")
        figures |= {f"{name}_{one.key}": float(one.column(name).mean()) for name in ("reward", "ess", *_COLUMNS)}
        figures |= {f"nfe_{one.key}": one.nfe}
        if not np.isnan(log_z).any():
            figures[f"log_z_rms_{one.key}"] = float(np.sqrt(np.square(log_z).mean()))
        for other in ("prior", "snis"):
            if one.key in ("prior", other):
                continue
            for column in _COLUMNS:
                result, name = _against(one, by_key[other], column), f"{column}_diff_{one.key}_{other}"
                figures |= {name: result.mean, f"{name}_se": result.se, f"{name}_wins": float(result.wins)}
    return figures


def _notes(
    scale: Scale, strong: JointTask, weak: JointTask, entries: dict[str, list[JointEntry]], columns: Sequence[str]
) -> list[str]:
    first, second = (columns[at] for at in strong.pair)
    eigenvalue = np.linalg.eigvalsh(strong.coupling.correlation).max()
    notes = [
        f"{len(strong.problems)} test windows, {strong.process.num_parts} channels each; +- over windows (wins). "
        f"Budget: the {entries[''][0].nfe:,.0f} evaluations of one channel that {scale.rollouts} rollouts cost, "
        "look-aheads included. ED: energy distance to the "
        "target, by the prior's samples coupled in closed form. CRPS fair, standardised units; of differences and "
        f"sums: over all pairs of channels; closest pair: {first} - {second}.",
        f"Reward: log-density of a Gaussian copula in {scale.rank} directions, learned from forecasts of the "
        "training part. For a Gaussian prior, known exactly, log Z = 0 and E[r] = its information, "
        f"{strong.coupling.information:.1f} nats; weak, with {WEAK:g} of the correlations, "
        f"{weak.coupling.information:.2f}. Largest eigenvalue {eigenvalue:.2f}: from 2 on the weights of reweighting "
        "have no variance.",
        f"Marginals of a window: {scale.draws} prior samples of 4 steps, the same for every method and not "
        "counted. Prior samples coupled: no search, but only for a reward whose target has a closed form.",
    ]
    for about, suffix in (("", ""), ("weak coupling: ", "_weak")):
        by_key = {one.key: one for one in entries[suffix]}
        for key in ("smc", "sadt_lean"):
            parts = [f"{column} {_shown(_against(by_key[key], by_key['snis'], column))}" for column in _COLUMNS]
            notes.append(f"{about}{by_key[key].label} - SNIS: {', '.join(parts)}.")
    return notes
