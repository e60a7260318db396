"""What does a search lose when workers, nodes and the tree owner are killed while it runs?"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import BenchResult
from sadt_ray.engine.loop import SearchStats
from sadt_ray.engine.plan import SearchPlan, plan_search
from sadt_ray.forecasting import load_series
from sadt_ray.interfaces import Problem
from sadt_ray.methods import dts
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recording import Recording
from sadt_ray.tree.search import Search

QUESTION = "How many simulations are lost or counted twice when workers, nodes and the tree owner are killed?"
_WORKERS, _CONTEXTS, _BATCH = 2, 4, 16
_WORKER, _NODE, _OWNER = "worker", "node", "owner"
_KILLS = (_WORKER, _OWNER, _WORKER, _NODE, _WORKER, _WORKER) * 2


def run(quick: bool) -> BenchResult:
    from actors.chaos import SmallCluster
    from actors.cluster import connect, disconnect

    kills = _KILLS[:4] if quick else _KILLS
    simulations = 400 if quick else 2_000
    with SmallCluster(_WORKERS) as cluster:
        connect(cluster.address)
        try:
            quiet, disturbed = _searches(cluster, simulations, ((), kills))
        finally:
            disconnect()
    rows = [
        {"search": name, "asked": outcome["asked"], "told": outcome["told"], "lost": outcome["lost"],
         "duplicated": outcome["duplicated"], "set aside": outcome["set_aside"], "kills": outcome["kills"],
         "seconds": outcome["seconds"], "batches lost": outcome["lost_batches"]}
        for name, outcome in (("undisturbed", quiet), ("killed", disturbed))
    ]  # fmt: skip
    figures = {name: disturbed[name] for name in ("asked", "told", "lost", "duplicated", "set_aside", "kills")}
    figures["time_ratio"] = disturbed["seconds"] / quiet["seconds"]
    counts = Counter(kills)
    notes = (
        f"diff-k on {_CONTEXTS} contexts, {_WORKERS} workers on a node each, a reward that takes 20 ms per sample, "
        f"batches of {_BATCH}, a checkpoint every 100 simulations. SIGKILL to "
        + ", ".join(f"{counts[victim]} {victim}s" for victim in counts)
        + "; a node that is killed is replaced by a new one.",
        "Lost: simulations of the budget that were not backed up. Duplicated: samples that are in the tree twice, "
        f"found by comparing them all, and root visits beyond the budget. Time ratio: {figures['time_ratio']:.2f}.",
    )
    return BenchResult(rows, {key: float(value) for key, value in figures.items()}, notes)


def slow_reward(samples: np.ndarray, problem: Problem) -> np.ndarray:
    """A simulator behind the reward: 20 ms per sample."""
    time.sleep(0.02 * len(samples))
    return -np.abs(samples).mean(1)


def _searches(cluster: Any, simulations: int, kills: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """One search after the other over the same workers, with the kills of each spread evenly over its simulations."""
    from actors.session import RaySession, WorkerSpec
    from actors.tree_owner import BatchPolicy

    data = load_series(tell=print)
    problems = [data.problem("test", window, data.columns[-1]) for window in range(_CONTEXTS)]
    process, reward = load_pretrained("diff-k", "ETTh1"), FunctionReward(slow_reward)
    plan = plan_search(process, problems, dts(inv_temperature=10, n_rollouts=simulations // _CONTEXTS))
    with tempfile.TemporaryDirectory() as directory:
        recording = Recording(Path(directory), directory + "/checkpoints", None, every_simulations=100)
        batch_policy, workers = BatchPolicy(_BATCH, fixed=True), WorkerSpec(_WORKERS)
        with RaySession(process, reward, problems, workers, recording, batch_policy, cluster.resources) as session:
            session.wait_for_workers()
            return [
                _search(session, replace(plan, name=f"dts {number}"), Killer(cluster, victims, simulations))
                for number, victims in enumerate(kills)
            ]


def _search(session: Any, plan: SearchPlan, killer: Killer) -> dict[str, float]:
    started = time.perf_counter()
    ended = session.search(plan, killer)
    seconds = time.perf_counter() - started
    if ended.error is not None:
        raise ended.error
    return {**_account(ended.search), "kills": killer.done, "seconds": seconds, "lost_batches": killer.lost_batches}


class Killer:
    """Watches a search and kills the next victim whenever the next share of its simulations is done."""

    def __init__(self, cluster: Any, kills: Sequence[str], simulations: int) -> None:
        self._cluster, self._kills = cluster, kills
        self._every = simulations / (len(kills) + 1)
        self.done, self.lost_batches = 0, 0.0

    def __call__(self, stats: SearchStats) -> None:
        self.lost_batches = max(self.lost_batches, stats.gauges.get("lost_batches", 0.0))
        if self.done < len(self._kills) and stats.simulations >= self._every * (self.done + 1):
            self.done += self._kill(self._kills[self.done])

    def _kill(self, victim: str) -> bool:
        """Kill a victim. False if it is just being restarted and has no process; then it is killed at the next call."""
        from actors.chaos import kill_process

        if victim == _NODE:
            self._cluster.replace_node()
            return True
        return kill_process("WorkerActor" if victim == _WORKER else "TreeOwner", self.done)


def _account(search: Search) -> dict[str, float]:
    """Compare the budget with what is in the tree."""
    budget = len(search.names) * (search.config.n_rollouts or 0)
    visits = search.tree.column("visits")[: len(search.names)]
    leaves = search.states.values[search.tree.column("level") == search.num_levels]
    twice = len(leaves) - len(np.unique(leaves, axis=0))
    return {
        "asked": budget,
        "told": int(search.told.sum()),
        "lost": budget - int(search.told.sum()),
        "duplicated": twice + int(np.maximum(visits - search.config.n_rollouts, 0).sum()),
        "set_aside": len(search.failures),
    }
