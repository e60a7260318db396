"""How many rollout workers does one tree owner keep busy through Ray, and what would thousands need?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from benchmarks import BenchResult
from benchmarks.owner_simulation import Setting, TreeOwner, simulate_owner
from jobs.tables import print_table
from sadt_ray.engine.loop import SearchStats, StatsTo
from sadt_ray.engine.plan import plan_search
from sadt_ray.interfaces import Path as ChainPath
from sadt_ray.interfaces import Problem, States
from sadt_ray.methods import dts
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recording import Recording, run_recorded
from sadt_ray.tree.warm_up import compile_kernels

QUESTION = "How many workers does one tree owner keep busy through Ray, and where does it saturate?"
_LEVELS, _STATE_SIZE, _PROBLEMS = 5, 96, 512
_BATCH, _SECONDS = 64, 0.5  # tickets per call, and seconds per call
_WORKERS = (1, 2, 4, 8, 16, 32, 64)
_BATCHES_PER_WORKER = 16
_FREE_WORKERS = 2  # for the owner's own speed, with rollouts that cost nothing
_FREE_BATCHES = (_BATCH, 256)


class Sleeping:
    """A process and its chain at once: rollouts of a fixed time and no CPU, with states of a real one's size."""

    num_levels, state_shape, state_dtype = _LEVELS, (_STATE_SIZE,), np.dtype(np.float32)

    def __init__(self, seconds: float) -> None:
        self._seconds, self._num_problems = seconds, 0

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> Any:
        return self

    def bind(self, problems: Sequence[Problem]) -> Any:
        bound = Sleeping(self._seconds)
        bound._num_problems = len(problems)
        return bound

    def root_states(self) -> States:
        return np.zeros((self._num_problems, _STATE_SIZE), np.float32)

    def run_down(self, states: States, levels: np.ndarray, problem: np.ndarray, seeds: np.ndarray) -> ChainPath:
        time.sleep(self._seconds)
        lengths = _LEVELS - levels
        rows = np.repeat(np.arange(len(levels)), lengths)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        below = np.arange(len(rows)) - starts + levels[rows] + 1
        drawn = np.random.default_rng(seeds[0]).random((len(rows), _STATE_SIZE), np.float32)
        return ChainPath(rows, below, drawn, lengths)

    def decode(self, states: States, problem: np.ndarray) -> np.ndarray:
        return states


def first_value(samples: np.ndarray, problem: Problem) -> np.ndarray:
    return samples[:, 0].astype(float)


class Speed(NamedTuple):
    """Simulations of one search, per second from its first call to its last reply and per second of the owner's CPU."""

    wall: float
    owner: float


def run(quick: bool) -> BenchResult:
    from actors.cluster import connect, disconnect

    compile_kernels()
    counts = (1, 4) if quick else _WORKERS
    connect(None, num_cpus=max(counts))
    from actors.rollout_worker import start_workers

    try:
        problems = [Problem(str(number), np.zeros(0)) for number in range(_PROBLEMS)]
        reward = FunctionReward(first_value)
        sleepers = start_workers(max(counts), Sleeping(_SECONDS), reward, problems, num_cpus=1)
        _speed(sleepers[:1], problems, _BATCH, 8)  # warm up: one rollout per problem
        speeds = [_speed(sleepers[:count], problems, _BATCH, _BATCHES_PER_WORKER) for count in counts]
        for worker in sleepers:
            worker.end()
        free = start_workers(_FREE_WORKERS, Sleeping(0.0), reward, problems, num_cpus=1)
        owner = {batch: _speed(free, problems, batch, 40 if quick else 200).owner for batch in _FREE_BATCHES}
    finally:
        disconnect()
    rows = [_row(count, speed, count * _BATCH / _SECONDS) for count, speed in zip(counts, speeds, strict=True)]
    figures = {f"efficiency_{row['workers']}": row["efficiency"] for row in rows}
    figures |= {f"owner_simulations_per_second_batch{batch}": rate for batch, rate in owner.items()}
    figures["owner_simulations_per_second"] = owner[_BATCH]
    beside = _BATCH / owner[_BATCH] - _tree_seconds()
    thousands = simulate_owner([(_BATCH, _SECONDS)], max(beside, 0.0), timed=200 if quick else 1_000)
    print_table(Console(), thousands.rows)
    notes = (
        f"Above: simulated workers with the measured costs of the owner. Below: workers that sleep {_SECONDS:g} s per "
        f"batch of {_BATCH}, through Ray, on this machine; states of {_STATE_SIZE} float32, {_LEVELS} levels, "
        "trajectories written, from the first call to the last reply. The workers' own processes share the cores.",
        "The owner's thread: simulations per second of its CPU time, with all that jobs.search does: calls, "
        "reading results, ask, tell, records. With rollouts that cost nothing: "
        + ", ".join(f"{rate:,.0f}/s at batches of {batch}" for batch, rate in owner.items())
        + f". A batch of {_BATCH} costs it {1e3 * _BATCH / owner[_BATCH]:.2f} ms, {1e3 * beside:.2f} beside the tree.",
        *thousands.notes,
    )
    return BenchResult(rows, {**figures, **thousands.figures}, notes)


def _tree_seconds() -> float:
    """Seconds that ask and tell of one batch take in this process."""
    setting = Setting(_BATCH, _SECONDS, 0.0, 0.0, 200, 0, time.thread_time)
    owner = TreeOwner(_PROBLEMS, 2 * _FREE_WORKERS, 200, setting, np.random.default_rng(0))
    for turn in range(200):
        owner(turn % (2 * _FREE_WORKERS))
    return float(np.mean(owner.seconds[100:]))


def _speed(workers: Sequence[Any], problems: list[Problem], batch_size: int, batches_per_worker: int) -> Speed:
    """One search over the workers, recorded as any other; its owner is this process."""
    from actors.executor import RayExecutor
    from actors.pacing import BatchSize

    simulations = len(workers) * batch_size * batches_per_worker
    plan = plan_search(Sleeping(0.0), problems, dts(n_rollouts=max(1, simulations // len(problems))))
    executor = RayExecutor(workers, plan.rollout_spec, BatchSize(batch_size, batch_size))
    while executor.num_ready < len(workers):
        executor.collect()
    readings = [(time.perf_counter(), time.thread_time(), 0)]

    def watch(stats: SearchStats) -> None:
        readings.append((time.perf_counter(), time.thread_time(), stats.simulations))

    with tempfile.TemporaryDirectory() as directory:
        ended = run_recorded(plan, executor, Recording(Path(directory)), [StatsTo(watch)])
    if ended.error is not None:
        raise ended.error
    wall, thread, done = np.array(readings)[-1] - np.array(readings)[0]
    return Speed(float(done / wall), float(done / thread))


def _row(workers: int, speed: Speed, ideal: float) -> dict[str, Any]:
    return {
        "workers": workers,
        "simulations/s": speed.wall,
        "of workers that never wait": ideal,
        "efficiency": speed.wall / ideal,
        "owner's thread, simulations/s": speed.owner,
    }
