"""Is a search with a learner beside it better at the same wall-clock, with a flow from nothing?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from actors.cluster import connect, disconnect
from benchmarks import BenchResult
from benchmarks.posterior.columns import PosteriorQuality, Target, judge, paired
from benchmarks.posterior.contexts import test_contexts
from benchmarks.posterior.gold import pooled
from benchmarks.posterior.gold_cache import gold_for
from sadt_ray.data.etth1 import load_etth1
from sadt_ray.data.windows import SeriesDataset
from sadt_ray.engine.loop import SearchResult, SearchStats
from sadt_ray.engine.plan import plan_search
from sadt_ray.flow.learner import LearnerConfig, LearnerSpec
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method, sadt
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward
from sadt_ray.runs.recording import Recording

QUESTION = "Does a learner beside the search, starting from nothing, give better samples in the same time?"
LAM, _WORKERS, _PARTICLES = 50.0, 2, 64
_COLUMNS = ("reward_bias", "log_z_error", "ed", "edp")


@dataclass(frozen=True)
class Searched:
    """One search, its cost and its quality."""

    seconds: float
    nfe: float
    rollouts: float
    weights_version: int
    qualities: list[PosteriorQuality]


class TimeIsUp(Exception):
    """Raised when this search has taken as long as the other one."""


def run(quick: bool) -> BenchResult:
    torch.set_num_threads(1)
    data = load_etth1()
    judged = test_contexts(data)[:: 7 if quick else 1]
    forest = [*judged, *_others(data, judged, 24 if quick else 140)]
    process, reward = load_pretrained(), SpectralReward()
    golds = gold_for(judged, (10.0, LAM), lambda *_: None, process=process, reward=reward)
    targets = [Target(problem, pooled(gold[LAM])) for problem, gold in zip(judged, golds, strict=True)]
    rollouts = 500 if quick else 2000
    resources = connect(None)
    try:
        learned = _searched(process, reward, forest, targets, resources, _method(rollouts, learns=True), None)
        alone = _searched(process, reward, forest, targets, resources, _method(20 * rollouts), learned.seconds)
    finally:
        disconnect()
    rows = [_row("with a learner", learned), _row("without", alone)]
    return BenchResult(rows, _figures(learned, alone), (_note(judged, forest, rollouts),))


def _method(rollouts: int, learns: bool = False) -> Method:
    """The method as ``jobs.search --learn`` sets it up."""
    method = sadt(inv_temperature=LAM, n_rollouts=rollouts, particles=_PARTICLES)
    if not learns:
        return method
    recorded = replace(method.smc, record_particles=True, record_resampling="siblings-8", record_share=0.25)
    return replace(method, smc=recorded)


def _searched(
    process: DiffusionProcess,
    reward: SpectralReward,
    forest: Sequence[Problem],
    targets: Sequence[Target],
    resources: Any,
    method: Method,
    seconds: float | None,
) -> Searched:
    """Search to the end of the budget with a learner, or for ``seconds`` without one."""
    from actors.session import RaySession, WorkerSpec
    from actors.tree_owner import BatchPolicy

    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        settings = TrainingConfig(schedule="constant", validate_every=100)
        learning = LearnerSpec(home, [home / "trajectories"], LearnerConfig(settings)) if seconds is None else None
        recording = Recording(home, directory + "/checkpoints")
        session = RaySession(
            process,
            reward,
            list(forest),
            WorkerSpec(_WORKERS),
            recording,
            BatchPolicy(8, fixed=True),
            resources,
            learning=learning,
        )
        with session as running:
            running.wait_for_workers()
            started, versions = time.perf_counter(), [0]

            def watch(stats: SearchStats) -> None:
                versions.append(int(stats.gauges.get("weights_version", 0)))
                if seconds is not None and time.perf_counter() - started >= seconds:
                    raise TimeIsUp

            ended = running.search(plan_search(process, forest, method), watch)
            took = time.perf_counter() - started
    _check(ended)
    samples = ended.search.samples(problems=range(len(targets)))
    return Searched(
        took,
        float(ended.search.nfe.mean()),
        float(ended.search.told.mean()) * _PARTICLES,
        max(versions),
        [judge(found, target) for found, target in zip(samples, targets, strict=True)],
    )


def _check(ended: SearchResult) -> None:
    if ended.error is not None and not isinstance(ended.error, TimeIsUp):
        raise ended.error


def _others(data: SeriesDataset, judged: Sequence[Problem], count: int) -> list[Problem]:
    """Further test windows, which are searched but not judged, so that the forest has its usual size."""
    taken = {problem.name for problem in judged}
    windows = len(data.window_starts("test", 48))
    every = [data.problem("test", window, channel, 48) for window in range(windows) for channel in data.columns]
    free = [problem for problem in every if problem.name not in taken]
    return [free[int(i * len(free) / count)] for i in range(count)]


def _row(label: str, searched: Searched) -> dict[str, object]:
    def mean(column: str, of: Callable[[Any], Any] = lambda values: values) -> float:
        return float(np.mean(of(np.array([getattr(quality, column) for quality in searched.qualities]))))

    return {
        "search": label,
        "seconds": searched.seconds,
        "rollouts": searched.rollouts,
        "NFE": searched.nfe,
        "flow versions": searched.weights_version,
        "bias": mean("reward_bias"),
        "abs bias": mean("reward_bias", np.abs),
        "log Z rms": float(np.sqrt(mean("log_z_error", np.square))),
        "ED": mean("ed"),
        "edp": mean("edp"),
        "ESS": mean("ess"),
        "CRPS": mean("crps"),
    }


def _figures(learned: Searched, alone: Searched) -> dict[str, float]:
    """Magnitudes of errors with a learner minus those without, paired over contexts."""
    figures = {
        "seconds": learned.seconds, "versions": float(learned.weights_version), "nfe_with": learned.nfe,
        "nfe_without": alone.nfe,
    }  # fmt: skip
    for column in _COLUMNS:
        ours, theirs = (
            [abs(getattr(quality, column)) for quality in searched.qualities] for searched in (learned, alone)
        )
        result = paired(ours, theirs)
        figures |= {f"{column}_diff": result.mean, f"{column}_se": result.se, f"{column}_wins": float(result.wins)}
    return figures


def _note(judged: Sequence[Problem], forest: Sequence[Problem], rollouts: int) -> str:
    return (
        f"sadt at lambda = {LAM:g} over {len(forest)} test contexts, {len(judged)} of them judged by the gold; "
        f"{rollouts:,} rollouts each with the learner, in systems of {_PARTICLES} particles, and without it "
        f"as many as fit into the same time; {_WORKERS} workers on this machine, the learner beside them. "
        "Differences are with minus without: below 0 the learner helps."
    )
