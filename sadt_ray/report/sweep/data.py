"""Read the directory of a sweep: its trials, the results of their runs, and the nodes of the cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from sadt_ray.runs.files import grouped, read_json, read_progress, read_table

KINDS = ("forecast", "stage")
STATUSES = ("complete", "failed", "stopped", "running", "pending")
SCORE_COLUMNS = ("method", "problem", "cluster", "metric", "value")
RENAMED = {"correct": "accuracy", "seconds_per_context": "seconds", "seconds_per_example": "seconds"}
"""Common names of figures that different kinds of runs, or their means, name differently."""


@dataclass(frozen=True)
class Trial:
    """One run of a sweep: its plan and its outcome.

    Attributes:
        task: name of a data set, or number and name of a stage.
        status: state of the trial; ``stopped`` means that a scheduler ended it early.
        seconds: wall-clock time; None if it has not run.
        run: directory of the run, relative to that of the sweep; None without one.
        command: command that repeats the run.
    """

    name: str
    kind: str
    task: str
    method: str
    seed: int
    status: str
    n_rollouts: int | None = None
    inv_temperature: float | None = None
    spectral_weight: float | None = None
    alpha: float | None = None
    attempts: int = 1
    error: str | None = None
    seconds: float | None = None
    run: str | None = None
    command: str = ""


@dataclass(frozen=True)
class Scores:
    """One figure per problem. With several seeds, a problem occurs once per seed."""

    problem: Shaped[np.ndarray, " n"]
    cluster: Shaped[np.ndarray, " n"]
    seed: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class TrialResult:
    """The results of a trial's run.

    Attributes:
        rows: rows of the summary, one per method.
        scores: scores of the trial's method, by figure.
        page: path of the report, relative to the sweep's directory; None without one.
        damage: description of damaged files and the remedy; None if there are none.
        notes: notes of the run.
        stand_in: whether the model is a stand-in for a published checkpoint.
    """

    rows: list[dict[str, Any]]
    scores: dict[str, Scores]
    page: str | None
    damage: str | None = None
    notes: tuple[str, ...] = ()
    stand_in: bool = False

    def row(self, method: str) -> dict[str, Any]:
        """The summary of one method, with the common names of figures; empty if there is none."""
        found: dict[str, Any] = next((row for row in self.rows if row.get("method") == method), {})
        return {RENAMED.get(name, name): value for name, value in found.items()}


@dataclass(frozen=True)
class Sweep:
    """The content of a sweep's directory."""

    directory: Path
    config: dict[str, Any]
    trials: list[Trial]
    results: dict[str, TrialResult]  # results by name of the trial, for trials with a run
    seconds: float | None
    complete: bool
    notes: list[str]
    nodes: list[dict[str, Any]]  # the lines of nodes.jsonl

    def run_notes(self) -> list[tuple[str, int]]:
        """The notes of all runs, each with its number of runs."""
        return Counter(note for result in self.results.values() for note in result.notes).most_common()

    def count(self, status: str) -> int:
        """Trials with this status."""
        return sum(trial.status == status for trial in self.trials)


def is_sweep(directory: Path) -> bool:
    """Whether ``jobs.sweep`` wrote the directory."""
    return (Path(directory) / "trials.json").is_file()


def read_sweep(directory: Path) -> Sweep:
    """Read the directory. A trial with a damaged run is kept, with a description of the damage.

    Raises ValueError with the file, trial or field of the sweep that is missing, and the remedy.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory: give the one that jobs.sweep wrote")
    path = directory / "trials.json"
    told = read_json(path)
    trials = _read_trials(told.get("trials"), path)
    return Sweep(
        directory=directory,
        config=read_json(directory / "config.json"),
        trials=trials,
        results={trial.name: _read_result(directory, trial) for trial in trials if trial.run is not None},
        seconds=told.get("seconds"),
        complete=bool(told.get("complete", False)),
        notes=[str(note) for note in told.get("notes") or []],
        nodes=read_progress(directory / "nodes.jsonl"),
    )


def _read_trials(told: Any, path: Path) -> list[Trial]:
    if not isinstance(told, list) or not all(isinstance(entry, dict) for entry in told):
        raise ValueError(f"{path} must hold 'trials', a list of objects: restore it or resume the sweep")
    trials = [_read_trial(entry, f"{path}, trial {number}") for number, entry in enumerate(told, start=1)]
    names = [trial.name for trial in trials]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path} holds two trials named {twice!r}: remove one of them")
    return trials


def _read_trial(entry: Mapping[str, Any], where: str) -> Trial:
    lacking = [field.name for field in fields(Trial) if field.default is MISSING and entry.get(field.name) is None]
    if lacking:
        raise ValueError(f"{where} lacks {lacking[0]!r}: another version wrote it; resume the sweep")
    for name, known in (("kind", KINDS), ("status", STATUSES)):
        if entry[name] not in known:
            raise ValueError(f"{where} has {name} {entry[name]!r}; it must be one of {', '.join(known)}")
    told = {field.name: entry[field.name] for field in fields(Trial) if entry.get(field.name) is not None}
    return Trial(**told)


def _read_result(directory: Path, trial: Trial) -> TrialResult:
    """The results of a run. A running or failed trial may have none, a stopped one may have a part of them."""
    run = directory / str(trial.run)
    page = f"{trial.run}/report.html" if (run / "report.html").is_file() else None
    whole = all((run / name).is_file() for name in ("summary.json", "scores.parquet"))
    if trial.status != "complete" and not (trial.status == "stopped" and whole):
        return TrialResult([], {}, page)
    told = TrialResult([], {}, page)
    try:
        summary = read_json(run / "summary.json")
        notes = tuple(str(note) for note in summary.get("notes") or [])
        rows = _read_rows(summary, run / "summary.json", trial.method)
        told = replace(told, rows=rows, notes=notes, stand_in=_is_stand_in(run / "config.json"))
        return replace(told, scores=_read_scores(run / "scores.parquet", trial))
    except (ValueError, OSError) as error:
        return replace(told, damage=str(error))


def _is_stand_in(path: Path) -> bool:
    return path.is_file() and bool(read_json(path).get("stand_in"))


def _read_rows(summary: Mapping[str, Any], path: Path, method: str) -> list[dict[str, Any]]:
    rows = summary.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must hold 'rows', a list of objects: run the trial again")
    if not any(row.get("method") == method for row in rows):
        raise ValueError(f"{path} has no row of method {method!r}: run the trial again")
    return rows


def _read_scores(path: Path, trial: Trial) -> dict[str, Scores]:
    """Scores of the trial's method by figure. Values that are not finite are left out as undefined."""
    parts = grouped(read_table(path, SCORE_COLUMNS), "method", "metric")
    mine = {RENAMED.get(metric, metric): part for (method, metric), part in parts.items() if method == trial.method}
    if not mine:
        raise ValueError(f"{path} has no scores of method {trial.method!r}: run the trial again")
    found = {}
    for metric, part in mine.items():
        problem, cluster = (np.array(part[name].to_pylist(), np.str_) for name in ("problem", "cluster"))
        value = part["value"].to_numpy().astype(np.float64)
        if len(np.unique(problem)) < len(problem):
            raise ValueError(f"{path} holds {metric!r} of a problem twice: run the trial again")
        known = np.isfinite(value)
        seed = np.full(int(known.sum()), trial.seed)
        found[metric] = Scores(problem[known], cluster[known], seed, value[known])
    return found
