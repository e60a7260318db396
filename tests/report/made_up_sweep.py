"""The directory of a small sweep with effects that are known: every value is difficulty + effect + what a seed adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EVIL = "<b>&</script>"
WINDOWS, CHANNELS, SEEDS = 8, 3, (1, 2)
BUDGETS = (200, 2000)
CRPS_EFFECT = {
    ("prior", None): 0.0,
    ("snis", 200): -0.004,
    ("snis", 2000): -0.008,
    ("dts", 200): -0.010,
    ("dts", 1000): -0.020,
    ("dts", 2000): -0.030,
    ("sadt", 200): -0.031,
    ("sadt", 2000): -0.040,
}
"""Of a method and its rollouts on the CRPS of every forecast."""
RIGHT = {("answer-vote", 4): 0.5, ("dts", 4): 0.6, ("sadt", 4): 0.7, ("dts", 40): 0.7, ("sadt", 40): 0.8}
"""Share of the questions that a method answers rightly."""
SOURCES, QUESTIONS = 6, 60


def trial(name: str, task: str, method: str, n_rollouts: int | None, seed: int, **more: Any) -> dict[str, Any]:
    """An entry of trials.json."""
    told = {"name": name, "kind": "forecast", "task": task, "method": method, "n_rollouts": n_rollouts, "seed": seed}
    told |= {"inv_temperature": 2.0, "spectral_weight": 1.0, "alpha": 1.0 if method == "sadt" else None}
    told |= {"status": "complete", "attempts": 1, "error": None, "seconds": 12.5, "run": f"runs/{name}"}
    return told | {"command": f"python -m jobs.search --method {method} --seed {seed}"} | more


def difficulty(task: str, windows: int) -> np.ndarray:
    """CRPS of the prior [windows, CHANNELS]: what a window's channels share is larger than what they do not."""
    rng = np.random.default_rng(len(task))
    return 0.30 + 0.05 * rng.normal(size=(windows, 1)) + 0.01 * rng.normal(size=(windows, CHANNELS))


def crps_values(task: str, method: str, n_rollouts: int | None, seed: int, windows: int, extra: float) -> np.ndarray:
    """[windows, CHANNELS]: what the method adds differs between windows and seeds, and is its effect in the mean."""
    rng = np.random.default_rng([seed, len(method), n_rollouts or 0])
    noise = 0.002 * rng.normal(size=(windows, CHANNELS))
    return difficulty(task, windows) + CRPS_EFFECT[method, n_rollouts] + extra + noise - noise.mean()


def write_scores(run: Path, method: str, columns: dict[str, list[Any]]) -> None:
    """scores.parquet, from problem, cluster and every figure."""
    problem, cluster = columns.pop("problem"), columns.pop("cluster")
    n = len(problem)
    table = {
        "method": [method] * n * len(columns),
        "problem": problem * len(columns),
        "cluster": cluster * len(columns),
        "metric": [name for name in columns for _ in range(n)],
        "value": pa.array([float(x) for values in columns.values() for x in values], pa.float64()),
    }
    pq.write_table(pa.table(table), run / "scores.parquet")


def write_run(run: Path, method: str, columns: dict[str, list[Any]], row: dict[str, Any], page: bool) -> None:
    run.mkdir(parents=True)
    means = {name: float(np.mean(values)) for name, values in columns.items() if name not in ("problem", "cluster")}
    summary = {"rows": [{"method": method, **means, **row}], "notes": []}
    (run / "summary.json").write_text(json.dumps(summary))
    write_scores(run, method, columns)
    if page:
        (run / "report.html").write_text("<!DOCTYPE html><title>run</title>")


def write_forecast(sweep: Path, entry: dict[str, Any], windows: int = WINDOWS, extra: float = 0.0) -> None:
    """The run of a trial on forecasts."""
    task, method, n = entry["task"], entry["method"], entry["n_rollouts"]
    crps = crps_values(task, method, n, entry["seed"], windows, extra).ravel().tolist()
    columns = {
        "problem": [f"test/{w}/{c}" for w in range(windows) for c in range(CHANNELS)],
        "cluster": [f"test/{w}" for w in range(windows) for _ in range(CHANNELS)],
        "crps": crps,
        "log_spectral_distance": [1.6 * value for value in crps],
        "reward": [-value for value in crps],
        "nfe": [16.0 * (n or 500)] * len(crps),
    }
    seconds = 0.01 * (n or 100) ** 0.7
    row = {"reward_calls": float(n or 500), "seconds_per_context": seconds, "budget": f"{n} rollouts"}
    write_run(sweep / entry["run"], method, columns, row, page=entry["seed"] == 1)


def write_stage(sweep: Path, entry: dict[str, Any]) -> None:
    """The run of a trial on a stage: the questions easiest for all are answered rightly, as many as ``RIGHT`` says."""
    method, n = entry["method"], entry["n_rollouts"]
    ease = np.random.default_rng(3).permutation(QUESTIONS)
    right = [float(ease[k] < round(RIGHT[method, n] * QUESTIONS)) for k in range(QUESTIONS)]
    columns = {
        "problem": [f"har/{k}" for k in range(QUESTIONS)],
        "cluster": [f"person {k % SOURCES}" for k in range(QUESTIONS)],
        "correct": right,
        "probability": [0.5 + 0.4 * value for value in right],
        "tokens": [60.0 * n] * QUESTIONS,
    }
    row = {"reward_calls": float(n), "seconds_per_example": 0.1 * n, "accuracy_se": 0.05, "ece": 0.1, "ece_se": None}
    write_run(sweep / entry["run"], method, columns, row | {"macro_f1": 0.55}, page=True)


def write_index(sweep: Path, trials: list[dict[str, Any]], **more: Any) -> None:
    """config.json, trials.json and nodes.jsonl."""
    sweep.mkdir(parents=True, exist_ok=True)
    axes = {"task": ["ETTh1"], "seed": list(SEEDS)}
    config = {
        "sweep": {"preset": None, "axes": axes, "search_arguments": ["--num-windows", str(WINDOWS)]},
        "environment": {"commit": "abc1234", "cpu": "a processor", "cores": "2", "gpu": "none"},
        "command": f"python -m jobs.sweep --note '{EVIL}'",
    }
    (sweep / "config.json").write_text(json.dumps(config))
    told = {"trials": trials, "seconds": 4321.0, "complete": True, "notes": [f"Made up {EVIL}."]} | more
    (sweep / "trials.json").write_text(json.dumps(told))
    shares = np.linspace(0, 1, 30)
    lines = [
        {"seconds": 144.0 * k, "nodes": 1 + k // 8, "cpus": 4, "gpus": 0, "running": 4}
        | {"pending": round((1 - share) * 40), "ended": round(share * 40)}
        for k, share in enumerate(shares)
    ]
    (sweep / "nodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def forecast_trials(task: str, seeds: tuple[int, ...] = SEEDS, **more: Any) -> list[dict[str, Any]]:
    """Every method, budget and seed on one data set."""
    return [
        trial(
            f"{task}-{method}-n{n}-seed{seed}{''.join(f'-{v}' for v in more.values())}", task, method, n, seed, **more
        )
        for method, n in CRPS_EFFECT
        for seed in seeds
        if n in (None, *BUDGETS)
    ]


def stage_trials(seeds: tuple[int, ...] = (1,)) -> list[dict[str, Any]]:
    return [
        trial(f"har-{method}-n{n}-seed{seed}", "3 har", method, n, seed, kind="stage")
        for method, n in RIGHT
        for seed in seeds
    ]


def troubled_trials() -> list[dict[str, Any]]:
    """One of every way not to be complete."""
    return [
        trial("failed", "ETTh1", "dts", 500, 1, status="failed", run=None, attempts=3, error=f"out of memory {EVIL}"),
        trial("stopped", "ETTh1", "dts", 1000, 1, status="stopped"),
        trial("running", "ETTh1", "dts", 4000, 1, status="running", seconds=None),
        trial("pending", "ETTh1", "dts", 8000, 1, status="pending", run=None, seconds=None, attempts=0),
    ]


def write_sweep(sweep: Path, **more: Any) -> Path:
    """A sweep over a data set at two spectral weights and a stage, with trials that failed, stopped and wait."""
    forecasts = [*forecast_trials("ETTh1"), *forecast_trials("ETTh1", spectral_weight=0.0)]
    stages, troubled = stage_trials(), troubled_trials()
    write_index(sweep, [*forecasts, *stages, *troubled], **more)
    for entry in forecasts:
        write_forecast(sweep, entry, extra=0.0 if entry["spectral_weight"] else 0.01)
    for entry in stages:
        write_stage(sweep, entry)
    write_forecast(sweep, troubled[1], windows=3)
    return sweep
