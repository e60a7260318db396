"""What share of the machine's denoising does a search through Ray reach?"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import BenchResult
from benchmarks.apparatus.bare_process import BareProcess
from sadt_ray.engine.loop import SearchResult
from sadt_ray.engine.plan import SearchPlan, plan_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.forecasting import load_series
from sadt_ray.interfaces import Problem
from sadt_ray.methods import dts
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward
from sadt_ray.runs.recording import Recording, run_recorded

QUESTION = "What share of the bare denoiser's evaluations per second does a search with two Ray workers reach?"
_WORKERS, _CONTEXTS, _BATCH = 2, 70, 140
_ROUNDS, _ROLLOUTS, _BARE_SECONDS = 5, 300, 5.0


def run(quick: bool) -> BenchResult:
    from actors.cluster import connect, disconnect

    torch.set_num_threads(1)
    data = load_series(tell=print)
    windows = range(_CONTEXTS // len(data.columns))
    problems = [data.problem("test", window, channel) for window in windows for channel in data.columns]
    process = load_pretrained("diff-k", "ETTh1")
    rollouts, seconds, count = (_ROLLOUTS // 6, _BARE_SECONDS / 5, 1) if quick else (_ROLLOUTS, _BARE_SECONDS, _ROUNDS)
    resources = connect(None, num_cpus=_WORKERS)
    try:
        rounds = [
            _round(process, problems, resources, rollouts, seconds, seed) for seed in range(1 if quick else _ROUNDS)
        ]
    finally:
        disconnect()
    rates = {name: np.array([each[name] for each in rounds]) for name in rounds[0]}
    figures = {
        "nfe_ratio": float(np.median(rates["ray"] / rates["bare"])),
        "speedup_vs_serial": float(np.median(rates["ray"] / rates["serial"])),
        "nfe_ratio_two_threads": float(np.median(rates["ray"] / rates["bare threads"])),
        "bare_speedup": float(np.median(rates["bare"] / rates["bare one"])),
        "serial_ratio": float(np.median(rates["serial"] / rates["bare one"])),
    }
    labels = {
        "bare one": "bare, one process",
        "bare threads": f"bare, one process, {_WORKERS} threads",
        "bare": f"bare, {_WORKERS} processes",
        "serial": "serial search",
        "ray": f"search, {_WORKERS} Ray workers",
    }
    rows = [
        {
            "what": label,
            "NFE/s, median": float(np.median(rates[name])),
            "lowest": float(rates[name].min()),
            "highest": float(rates[name].max()),
            "of bare, paired": float(np.median(rates[name] / rates["bare"])),
        }
        for name, label in labels.items()
    ]
    notes = (
        f"diff-k, DTS, {_CONTEXTS} contexts of {data.name}, {rollouts} rollouts each, batches of {_BATCH}, one thread "
        f"a process but where it says so; medians of {count} rounds in which every row runs once. The searches record "
        "trajectories and checkpoints as jobs.search does; their rates are from the first to the last line of "
        "metrics.jsonl at which all workers take part.",
        f"Ray against serial {figures['speedup_vs_serial']:.2f}x, where two bare processes are "
        f"{figures['bare_speedup']:.2f}x one: what the machine gives.",
    )
    return BenchResult(rows, figures, notes)


def _round(
    process: DiffusionProcess, problems: list[Problem], resources: Any, rollouts: int, seconds: float, seed: int
) -> dict[str, float]:
    """Evaluations per second of every row, one after the other."""
    plan = plan_search(process, problems, dts(inv_temperature=50, n_rollouts=rollouts, seed=seed))
    return {
        "bare one": _bare(problems, 1, seconds),
        "serial": _recorded(lambda recording: _serial(process, problems, plan, recording)),
        "bare threads": _bare(problems, 1, seconds, threads=_WORKERS),
        "bare": _bare(problems, _WORKERS, seconds),
        "ray": _recorded(lambda recording: _on_ray(process, problems, plan, recording, resources)),
    }


def _serial(process: DiffusionProcess, problems: list[Problem], plan: SearchPlan, recording: Recording) -> SearchResult:
    executor = SerialExecutor(process.with_branch_steps(plan.branch_steps), SpectralReward(), problems, _BATCH)
    return run_recorded(plan, executor, recording)


def _on_ray(
    process: DiffusionProcess, problems: list[Problem], plan: SearchPlan, recording: Recording, resources: Any
) -> SearchResult:
    from actors.session import RaySession, WorkerSpec
    from actors.tree_owner import BatchPolicy

    batch_policy = BatchPolicy(_BATCH, fixed=True)
    with RaySession(
        process, SpectralReward(), problems, WorkerSpec(_WORKERS), recording, batch_policy, resources
    ) as session:
        session.wait_for_workers()
        return session.search(plan)


def _recorded(search: Callable[[Recording], SearchResult]) -> float:
    """Evaluations per second of a search while all its workers take part, by its own records."""
    with tempfile.TemporaryDirectory() as directory:
        ended = search(Recording(Path(directory), directory + "/checkpoints"))
        if ended.error is not None:
            raise ended.error
        lines = [json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()]
    full = [line for line in lines if line.get("workers", _WORKERS) == _WORKERS]
    return (full[-1]["nfe"] - full[0]["nfe"]) / (full[-1]["seconds"] - full[0]["seconds"])


def _bare(problems: list[Problem], processes: int, seconds: float, threads: int = 1) -> float:
    """Evaluations per second of the chain alone, in ``processes`` processes at once."""
    context = multiprocessing.get_context("spawn")
    barrier, rates = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=_bare_process, args=(problems, seconds, threads, barrier, rates))
        for _ in range(processes)
    ]
    for each in started:
        each.start()
    total = sum(rates.get(timeout=300) for _ in started)
    for each in started:
        each.join()
    return total


def _bare_process(problems: Sequence[Problem], seconds: float, threads: int, barrier: Any, rates: Any) -> None:
    torch.set_num_threads(threads)
    bare = BareProcess(load_pretrained("diff-k", "ETTh1"), problems, _BATCH)
    bare.run(batches=2)  # warm up
    barrier.wait()
    nfe, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        nfe += bare.run(batches=1)
    rates.put(nfe / (time.perf_counter() - began))
