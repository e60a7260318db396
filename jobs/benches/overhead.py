"""What does searching cost beside the model's own work?"""

from __future__ import annotations

import time

import numpy as np
import torch

from jobs.benches import BenchResult
from sadt_ray.api import start_search
from sadt_ray.data.etth1 import DataNotFound, load_etth1
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.executor import run_search
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method, dts, dts_late, snis
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward

QUESTION = "What share of the bare process's denoiser evaluations a second does a search reach, at the same batch size?"
_WINDOWS = 10  # of 7 channels: 70 contexts, which jobs.search would run in batches of 140
_BATCH = 140


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    try:
        data = load_etth1()
    except DataNotFound:
        data = synthetic_hourly()
    problems = [data.problem("test", window, channel) for window in range(_WINDOWS) for channel in data.columns]
    process = load_pretrained("diff-k", "ETTh1")
    rounds, rollouts = (3, 8) if quick else (9, 40)
    rows = []
    for method in (snis(n_rollouts=rollouts), dts(n_rollouts=rollouts), dts_late(n_rollouts=rollouts)):
        _search_rate(process, problems, method)  # compile, warm up
        pairs = [
            (_bare_rate(process, problems, rollouts), _search_rate(process, problems, method)) for _ in range(rounds)
        ]
        bare, searched = np.median(np.array(pairs), axis=0)
        rows.append(
            {
                "method": method.name,
                "NFE/s in the search": searched,
                "NFE/s bare": bare,
                "ratio, median of pairs": float(np.median([s / b for b, s in pairs])),
            }
        )
    figures = {f"nfe_ratio_{row['method'].replace('-', '_')}": row["ratio, median of pairs"] for row in rows}
    notes = (
        f"{len(problems)} contexts of {data.name}, batches of {_BATCH}, one thread, spectral reward. Bare: the process "
        "alone runs full batches from x_T to decoded samples; no tree, no reward, nothing kept. Runs alternate.",
    )
    return BenchResult(rows, {"nfe_ratio": figures["nfe_ratio_dts"], **figures}, notes)


def _bare_rate(process: DiffusionProcess, problems: list[Problem], rollouts: int) -> float:
    """Evaluations a second of the chain alone, on full batches."""
    chain = process.with_branch_steps("none").bind(problems)
    roots = chain.root_states()
    batches = len(problems) * rollouts // _BATCH
    nfe, started = 0, time.perf_counter()
    for batch in range(batches):
        problem = (np.arange(_BATCH) + batch * _BATCH) % len(problems)
        seeds = np.arange(_BATCH, dtype=np.uint64) + np.uint64(batch * _BATCH)
        path = chain.run_down(roots[problem], np.zeros(_BATCH, np.int64), problem, seeds)
        chain.decode(path.states, problem)
        nfe += int(path.nfe.sum())
    return nfe / (time.perf_counter() - started)


def _search_rate(process: DiffusionProcess, problems: list[Problem], method: Method) -> float:
    """Evaluations a second of a whole search: selection, chain, reward, backup, samples kept."""
    search, executor = start_search(process, problems, SpectralReward(), method, _BATCH)
    started = time.perf_counter()
    run_search(search, executor)
    return int(search.nfe.sum()) / (time.perf_counter() - started)
