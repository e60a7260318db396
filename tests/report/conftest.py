"""A small run directory, valid to the last column, written as the search writes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sadt_ray.runs.files import NodeTable

METHODS = ("prior", "best-of-n", "snis", "dts")
CONTEXT, HORIZON, NUM_SAMPLES = 336, 96, 60
PROBLEMS = ("ETTh1/test/0000/OT", "ETTh1/test/0001/<HUFL>")  # the second name has to be escaped in HTML


def daily_series(rng: np.random.Generator, length: int, count: int = 1, phase: float = 0.0) -> np.ndarray:
    """Hourly series with a daily cycle and autoregressive noise: [count, length]."""
    noise = rng.normal(size=(count, length))
    for hour in range(1, length):
        noise[:, hour] += 0.85 * noise[:, hour - 1]
    hours = np.arange(length) + phase
    return np.sin(2 * np.pi * hours / 24) + 0.4 * np.sin(2 * np.pi * hours / 12) + 0.25 * noise


def method_weights(method: str, reward: np.ndarray) -> np.ndarray:
    """Weights as the method would give them: equal, all on the best, or tilted by the reward."""
    if method == "prior":
        return np.full(len(reward), 1 / len(reward))
    if method == "best-of-n":
        return np.eye(len(reward))[reward.argmax()]
    tilted = np.exp(10 * (reward - reward.max()))
    return tilted / tilted.sum()


def sample_rows(rng: np.random.Generator) -> list[dict]:
    rows = []
    for problem in PROBLEMS:
        for method in METHODS:
            reward = rng.normal(-0.6 if method == "dts" else -0.75, 0.12, NUM_SAMPLES)
            weight = method_weights(method, reward)
            values = daily_series(rng, HORIZON, NUM_SAMPLES, phase=CONTEXT)
            rows += [
                {
                    "method": method,
                    "problem": problem,
                    "sample": i,
                    "weight": weight[i],
                    "reward": reward[i],
                    "nfe_at": 16 * (i + 1),
                }
                | {"nfe_at": 16 * (i + 1), "values": values[i].tolist()}
                for i in range(NUM_SAMPLES)
            ]
    return rows


def grow_tree(rng: np.random.Generator, simulations: int, num_levels: int = 6) -> dict[str, np.ndarray]:
    """A tree as a search leaves it: each simulation hangs a chain below a widening node; backups are exact."""
    parent, level, children = [-1], [0], [[]]
    for _ in range(simulations):
        node = 0
        while level[node] < num_levels - 1 and len(children[node]) > 2 * (1 + simulations // 40) ** 0.8:
            node = children[node][int(rng.integers(len(children[node])) * rng.random() ** 2)]
        while level[node] < num_levels:
            parent.append(node)
            level.append(level[node] + 1)
            children.append([])
            children[node].append(len(parent) - 1)
            node = len(parent) - 1
    return _statistics(rng, np.array(parent), np.array(level), num_levels)


def leaf_of(tree: dict[str, np.ndarray], sample: int) -> int:
    """The node that a sample ends at: leaves in order, again from the first if they are fewer."""
    leaves = tree["node"][tree["level"] == tree["level"].max()]
    return int(leaves[sample % len(leaves)])


def _statistics(rng: np.random.Generator, parent: np.ndarray, level: np.ndarray, depth: int) -> dict[str, np.ndarray]:
    drift = rng.normal(0, 0.06, len(parent))
    for row in range(1, len(parent)):
        drift[row] += drift[parent[row]]
    leaf = level == depth
    visits = leaf.astype(np.int64)
    total = np.where(leaf, np.exp(10 * drift), 0.0)
    for row in range(len(parent) - 1, 0, -1):
        visits[parent[row]] += visits[row]
        total[parent[row]] += total[row]
    return {
        "node": np.arange(len(parent)) * 3 + 7,
        "parent": np.where(parent < 0, -1, parent * 3 + 7),
        "level": level,
        "visits": visits,
        "value": np.log(total / visits) / 10 - 0.7,
        "weight": total / total[0],
        "log_flow": np.where(level > 2, rng.normal(size=len(parent)), 0.0),
        "reward": np.where(leaf, drift - 0.7, np.nan),
    }


def summary_row(method: str, rng: np.random.Generator) -> dict:
    cost = {"rollouts": NUM_SAMPLES, "nfe": 16 * NUM_SAMPLES, "reward_calls": NUM_SAMPLES, "seconds_per_context": 0.8}
    quality = {
        "reward": {"prior": -0.75, "best-of-n": -0.45, "snis": -0.63, "dts": -0.52}[method],
        "best_reward": -0.41,
        "log_z": None if method == "best-of-n" else -6.1,
        "ess": {"prior": 60.0, "best-of-n": 1.0, "snis": 14.0, "dts": 21.0}[method],
        "crps": float(0.29 + 0.01 * rng.random()),
        "spec_w1": float(0.02 + 0.01 * rng.random()),
    }
    return {"method": method, "budget": f"{NUM_SAMPLES} rollouts"} | cost | quality


def write_run(directory: Path, simulations: int = 300) -> Path:
    """Write every file of the contract."""
    rng = np.random.default_rng(3)
    (directory / "tree").mkdir(parents=True)
    config = {
        "search": {"method": ["dts"], "inv_temperature": 10.0, "note": "a < b & c"},
        "environment": {"cpu": "Test CPU", "cores": "2", "commit": "abc1234"},
        "command": "python -m jobs.search --n-rollouts 60",
    }
    (directory / "config.json").write_text(json.dumps(config))
    summary = {"rows": [summary_row(method, rng) for method in METHODS], "notes": ["Synthetic <data>."]}
    (directory / "summary.json").write_text(json.dumps(summary))
    history = daily_series(rng, CONTEXT + HORIZON, len(PROBLEMS))
    problems = [
        {"problem": name, "context": h[:CONTEXT].tolist(), "truth": h[CONTEXT:].tolist() if index == 0 else None}
        for index, (name, h) in enumerate(zip(PROBLEMS, history, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(problems), directory / "problems.parquet")
    rows = sample_rows(rng)
    trees = [grow_tree(rng, simulations) | {"problem": np.array(name)} for name in PROBLEMS]
    for row in rows:
        row["node"] = None if row["method"] != "dts" else leaf_of(trees[PROBLEMS.index(row["problem"])], row["sample"])
    pq.write_table(pa.Table.from_pylist(rows), directory / "samples.parquet")
    tables = [pa.table(tree | {"problem": np.repeat(tree["problem"], len(tree["node"]))}) for tree in trees]
    pq.write_table(pa.concat_tables(tables), directory / "tree" / "dts.parquet")
    lines = [
        {"seconds": 0.1 * i, "method": method, "simulations": 10 * i, "nfe": 160 * i, "mean_reward": -0.75 + 0.02 * i}
        | {"best_reward": -0.5 + 0.01 * i, "rollouts_per_second": 100.0, "nfe_per_second": 1_600.0}
        for method in METHODS
        for i in range(1, 7)
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    times = {"worker": 0, "rows": 16, "weights_version": 0, "lost": False, "restarted": False, "one_in": 1}
    batches = [times | {"method": m, "sent": 0.0, "began": 0.1, "finished": 0.6} for m in METHODS]
    (directory / "batches.jsonl").write_text("".join(json.dumps(line) + "\n" for line in batches))
    return directory


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run") / "dts")


@pytest.fixture
def fresh_run(tmp_path: Path) -> Path:
    """A run directory that the test may damage."""
    return write_run(tmp_path / "run", simulations=40)


@pytest.fixture(scope="session")
def large_tree() -> NodeTable:
    """A tree of a little more than 100,000 nodes."""
    return node_table(grow_tree(np.random.default_rng(5), 20_800))


def node_table(columns: dict[str, np.ndarray]) -> NodeTable:
    """The columns of a tree file as they are read back: parents as rows."""
    row = {node: index for index, node in enumerate(columns["node"].tolist())} | {-1: -1}
    return NodeTable(**{**columns, "parent": np.array([row[parent] for parent in columns["parent"].tolist()])})
