"""How fast can one tree owner hand out and back up simulations?"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks import BenchResult
from benchmarks.apparatus.made_up_results import made_up_results
from sadt_ray.config import SearchConfig
from sadt_ray.tree.search import Search

QUESTION = "How many simulations per second can one core ask and tell, with rollouts that cost nothing?"
_LEVELS, _BATCH = 5, 64
_SMALL, _LARGE = 20_000, 1_000_000  # nodes in the tree when the clock starts


def run(quick: bool) -> BenchResult:
    rows: list[dict[str, Any]] = []
    for label, config in (
        ("DTS", SearchConfig(n_rollouts=None, max_nfe=10**15)),
        ("DTS, selection at 0.3 lambda", SearchConfig(n_rollouts=None, max_nfe=10**15, selection_inv_temperature=0.3)),
        ("DTS*", SearchConfig(n_rollouts=None, max_nfe=10**15, selection="uct")),
    ):
        search = Search(config, ["bench"], np.zeros((1, 1), np.float32), _LEVELS)
        rng = np.random.default_rng(0)
        _grow(search, _SMALL, rng)
        small, small_median = _rates(search, rng, batches=100 if quick else 400)
        _grow(search, _LARGE, rng)
        large, large_median = _rates(search, rng, batches=100 if quick else 400)
        nodes = len(search.tree)
        rows.append(
            {
                "method": label,
                "simulations/s": small,
                "median": small_median,
                "simulations/s, 1M nodes": large,
                "median, 1M nodes": large_median,
                "bytes/node used": sum(_used_bytes(search)) / nodes,
                "bytes/node allocated": search.tree.nbytes() / nodes,
                "children of the root": len(search.tree.children(0)),
            }
        )
    dts = rows[0]
    figures = {
        "simulations_per_second": dts["simulations/s"],
        "simulations_per_second_1m_nodes": dts["simulations/s, 1M nodes"],
        "bytes_per_node": dts["bytes/node allocated"],
        "simulations_per_second_dts_star": rows[2]["simulations/s"],
        "simulations_per_second_1m_nodes_dts_star": rows[2]["simulations/s, 1M nodes"],
    }
    notes = (
        f"{_LEVELS} branch levels, batches of {_BATCH}, rewards N(0, 1) at lambda = 1; the time is that of ask and "
        "tell alone. Simulations/s: all simulations over all seconds, growth of the arrays included; median: over the "
        "batches, which hides that growth. Bytes/node are the tree's: states and the bookkeeping of tickets (4 bytes "
        "each) and samples (32 bytes each) are kept beside it and not counted.",
    )
    return BenchResult(rows, {key: float(value) for key, value in figures.items()}, notes)


def _grow(search: Search, nodes: int, rng: np.random.Generator) -> None:
    while len(search.tree) < nodes:
        search.tell(made_up_results(search.ask(512), _LEVELS, 1, rng))


def _rates(search: Search, rng: np.random.Generator, batches: int) -> tuple[float, float]:
    """Simulations per second of ask and tell: over all batches together, and in the median batch."""
    seconds = []
    for _ in range(batches):
        started = time.perf_counter()
        tickets = search.ask(_BATCH)
        asked = time.perf_counter()
        results = made_up_results(tickets, _LEVELS, 1, rng)
        ready = time.perf_counter()
        search.tell(results)
        seconds.append(asked - started + time.perf_counter() - ready)
    return _BATCH * batches / sum(seconds), _BATCH / float(np.median(seconds))


def _used_bytes(search: Search) -> tuple[float, float]:
    """Bytes of the nodes and of the child slots in use."""
    columns = search.tree.columns
    node_bytes = sum(a.itemsize for a in columns if len(a) == len(columns.parent))
    slot_bytes = sum(a.itemsize for a in columns if len(a) == len(columns.child))
    return float(columns.used[0] * node_bytes), float(columns.used[1] * slot_bytes)
