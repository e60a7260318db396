"""What does a selection rule in Python cost?"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from benchmarks import BenchResult
from benchmarks.apparatus.made_up_results import made_up_results
from sadt_ray.config import Children, SearchConfig
from sadt_ray.tree.search import Search

QUESTION = "How many simulations per second does a selection rule in Python allow, beside the compiled ones?"
_LEVELS, _BATCH = 5, 64
_SIZES = 1_000, 10_000  # nodes in the tree when the clock starts


def uct(children: Children, uniform: float) -> Any:
    """The built-in rule uct, as a user would write it."""
    counts = 1.0 + children.visits + children.in_flight
    x = children.c_uct * np.sqrt(np.log(1.0 + children.node.visits + children.node.in_flight))
    return np.argmax(children.value + x / np.sqrt(counts))


def run(quick: bool) -> BenchResult:
    rules: dict[str, str | Callable[..., Any]] = {"built in": "uct", "Python": uct, "numba": njit(uct)}
    rows = []
    for label, rule in rules.items():
        config = SearchConfig(n_rollouts=None, max_nfe=10**15, selection=rule)
        search, rng = Search(config, ["bench"], np.zeros((1, 1), np.float32), _LEVELS), np.random.default_rng(0)
        row: dict[str, Any] = {"uct": label}
        for nodes in _SIZES:
            while len(search.tree) < nodes:
                search.tell(made_up_results(search.ask(_BATCH), _LEVELS, 1, rng))
            row[f"simulations/s, {nodes:,} nodes"] = _rate(search, rng, 20 if quick else 100)
        rows.append(row | {"children of the root": len(search.tree.children(0))})
    figures = {
        f"simulations_per_second_{label.replace(' ', '_')}": float(row[f"simulations/s, {_SIZES[-1]:,} nodes"])
        for label, row in zip(rules, rows, strict=True)
    }
    notes = (
        f"One tree, {_LEVELS} branch levels, batches of {_BATCH}; the time is that of ask and tell in the median "
        "batch, rollouts cost nothing.",
    )
    return BenchResult(rows, figures, notes)


def _rate(search: Search, rng: np.random.Generator, batches: int) -> float:
    seconds = []
    for _ in range(batches):
        started = time.perf_counter()
        tickets = search.ask(_BATCH)
        asked = time.perf_counter()
        results = made_up_results(tickets, _LEVELS, 1, rng)
        ready = time.perf_counter()
        search.tell(results)
        seconds.append(asked - started + time.perf_counter() - ready)
    return _BATCH / float(np.median(seconds))
