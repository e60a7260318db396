"""What does searching cost beside the model's own work?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks import BenchResult
from benchmarks.apparatus.bare_process import BareProcess
from sadt_ray.data.etth1 import DataNotFound, load_etth1
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.engine.executor import Executor
from sadt_ray.engine.serial import start_search
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method, dts, dts_late, snis
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward
from sadt_ray.tree.search import Search

QUESTION = "What share of the bare process's evaluations per second does a search reach, at the same batch size?"
_LARGE, _LARGE_BATCH = 70, 140  # contexts: ten windows of seven channels; the batch jobs.search would run them in
_SMALL, _SMALL_BATCH = 28, 56  # the same of its default, four windows
_GROWN, _ROLLOUTS = 200, 240  # simulations per context when the clock starts, and at the end
_FORESTS, _BATCHES_PER_PAIR = 3, 4


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    try:
        data = load_etth1()
    except DataNotFound:
        data = synthetic_hourly()
    contexts = _SMALL if quick else _LARGE
    windows = range(-(-contexts // len(data.columns)))
    problems = [data.problem("test", window, channel) for window in windows for channel in data.columns][:contexts]
    process = load_pretrained("diff-k", "ETTh1")
    cases = {
        "snis": (snis, contexts, _LARGE_BATCH),
        "dts": (dts, contexts, _LARGE_BATCH),
        "dts_late": (dts_late, contexts, _LARGE_BATCH),
        "dts_batch56": (dts, _SMALL, _SMALL_BATCH),
    }
    rows, figures = [], {}
    for key, (method, count, batch) in cases.items():
        pairs = np.array(
            [
                pair
                for seed in range(_FORESTS)
                for pair in _paired_rates(process, problems[:count], method(n_rollouts=_ROLLOUTS, seed=seed), batch)
            ]
        )
        ratio = figures[f"nfe_ratio_{key}"] = float(np.median(pairs[:, 0] / pairs[:, 1]))
        rows.append(
            {
                "method": method().name,
                "contexts": count,
                "batch": batch,
                "NFE/s in the search": float(np.median(pairs[:, 0])),
                "NFE/s bare": float(np.median(pairs[:, 1])),
                "ratio, median of pairs": ratio,
                "pairs": len(pairs),
            }
        )
    notes = (
        f"Contexts of {data.name}, one thread, spectral reward. {_FORESTS} forests per row, grown untimed to about "
        f"{_GROWN} simulations per context, then timed up to {_ROLLOUTS}: ask, chain, reward, tell, samples kept.",
        f"A pair: {_BATCHES_PER_PAIR} batches of the search, then as many of the process alone, all full. Alone it "
        "runs from x_T to decoded samples, without a tree or a reward, and keeps nothing.",
    )
    return BenchResult(rows, {"nfe_ratio": figures["nfe_ratio_dts"], **figures}, notes)


def _paired_rates(
    process: DiffusionProcess, problems: Sequence[Problem], method: Method, batch_size: int
) -> Iterator[tuple[float, float]]:
    """Evaluations per second of a grown search and of the chain alone, in turns, as long as batches are full."""
    search, executor = start_search(process, problems, SpectralReward(), method, batch_size)
    while search.told.mean() < _GROWN:
        _advance(search, executor, batches=1)
    bare = BareProcess(process, problems, batch_size)
    bare.run(batches=1)  # warm up
    while True:
        nfe, started = int(search.nfe.sum()), time.perf_counter()
        if not _advance(search, executor, _BATCHES_PER_PAIR):
            return
        rate = (int(search.nfe.sum()) - nfe) / (time.perf_counter() - started)
        yield rate, _rate(bare, _BATCHES_PER_PAIR)


def _advance(search: Search, executor: Executor, batches: int) -> bool:
    """Ask, run and tell some batches. False after a batch that is not full, which is run and told as well."""
    for _ in range(batches):
        tickets = search.ask(executor.batch_size)
        if len(tickets):
            executor.submit(tickets)
            for finished in executor.collect():
                assert finished.results is not None
                search.tell(finished.results)
        if len(tickets) < executor.batch_size:
            return False
    return True


def _rate(bare: BareProcess, batches: int) -> float:
    """Evaluations per second."""
    started = time.perf_counter()
    return bare.run(batches) / (time.perf_counter() - started)
