"""The progress of a grid of searches in files that are valid at any moment: states of trials, size of the cluster."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from actors.tuning_config import WAITING

TRIALS, NODES = "trials.json", "nodes.jsonl"
_WRITE_EVERY = 1.0  # seconds between two writes of trials.json
_SILENCE = 60.0  # longest time without output, in seconds
_NODES_EVERY = 5.0  # seconds between two lines of nodes.jsonl without a change
_STATUS = {"PENDING": "pending", "RUNNING": "running", "PAUSED": "running", "ERROR": "failed"}
ENDED = ("complete", "stopped", "failed")


class Ledger(Callback):
    """Writes ``trials.json``, appends to ``nodes.jsonl``, and prints trials that have ended.

    Args:
        directory: directory of the grid. It may hold the files of an interrupted run of the same grid.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._began, self._before, self._written, self._said = time.time(), 0.0, 0.0, time.time()
        self._last: Mapping[str, float] = {}
        self._ended: set[str] = set()  # trials whose end was printed
        self._stopped: set[str] = set()  # trials that a scheduler ended early
        self._listed: dict[str, Mapping[str, Any]] = {}  # all trials in order; Tune creates its own only when needed
        self._errors: dict[str, str] = {}  # errors of failed trials; Tune keeps them in files, maybe on another node

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **info: Any) -> None:
        """Continue the time and the ended trials of an interrupted run of the same grid."""
        self._began = self._said = time.time()
        path = self._directory / TRIALS
        if path.exists():
            before = json.loads(path.read_text())
            self._listed = {row["name"]: {**row, **WAITING} for row in before["trials"]}
            self._before = before["seconds"]
            self._stopped = {row["name"] for row in before["trials"] if row["status"] == "stopped"}
            self._ended = self._stopped | {row["name"] for row in before["trials"] if row["status"] == "complete"}

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note a trial that a scheduler ended early. Tune does not call this for interrupted trials."""
        if not trial.last_result.get("complete"):
            self._stopped.add(trial.config["trial"]["name"])

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if time.time() - self._written > _WRITE_EVERY:
            self._write(trials)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        self._write(trials)

    @property
    def _seconds(self) -> float:
        return self._before + time.time() - self._began

    def _write(self, trials: Sequence[Trial]) -> None:
        rows = list((self._listed | {row["name"]: row for row in map(self._row, trials)}).values())
        states = Counter(row["status"] for row in rows)
        waiting = states["pending"] + states["running"]
        content = {"trials": rows, "seconds": self._seconds, "complete": not waiting, "notes": []}
        write_whole(self._directory / TRIALS, json.dumps(content, indent=1))
        self._written = time.time()
        self._count_nodes(states)
        self._print_ended(rows)

    def _row(self, trial: Trial) -> dict[str, Any]:
        """The row of a trial in ``trials.json``."""
        about, result = trial.config["trial"], trial.last_result or {}
        ended = "complete" if result.get("complete") else "stopped" if about["name"] in self._stopped else "pending"
        status = _STATUS.get(trial.status, ended)
        return {
            **about,
            "status": status,
            "attempts": trial.num_failures + (status not in ("pending", "failed")),
            "error": self._error(about["name"], trial),
            "seconds": result.get("time_total_s"),
        }

    def _error(self, name: str, trial: Trial) -> str | None:
        """Last line of the trial's error; None if it did not fail."""
        if trial.status != "ERROR":
            self._errors.pop(name, None)
        elif name not in self._errors and (error := trial.get_error()) is not None:
            self._errors[name] = str(error).strip().splitlines()[-1]
        return self._errors.get(name)

    def _count_nodes(self, states: Mapping[str, int]) -> None:
        """Append a line to ``nodes.jsonl`` after a change or some seconds. It counts nodes with CPUs or GPUs."""
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cpus, gpus = (np.array([held.get(name, 0.0) for held in resources]) for name in ("CPU", "GPU"))
        size = {"nodes": int((cpus + gpus > 0).sum()), "cpus": float(cpus.sum()), "gpus": float(gpus.sum())}
        ended = sum(states.get(name, 0) for name in ENDED)
        now = {**size, "pending": states.get("pending", 0), "running": states.get("running", 0), "ended": ended}
        if {**self._last, "seconds": 0} != {**now, "seconds": 0} or self._seconds - self._last[
            "seconds"
        ] > _NODES_EVERY:
            self._last = {"seconds": round(self._seconds, 1), **now}
            with (self._directory / NODES).open("a") as file:
                file.write(json.dumps(self._last) + "\n")

    def _print_ended(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print the trials that have ended; after a long silence, the running ones."""
        if time.time() - self._said > _SILENCE:
            running = ", ".join(row["name"] for row in rows if row["status"] == "running")
            self._print(f"[{len(self._ended)}/{len(rows)}] running: {running or 'none, waiting for room'}")
        for row in rows:
            if row["status"] in ENDED and row["name"] not in self._ended:
                self._ended.add(row["name"])
                took = "" if row["seconds"] is None else f" after {row['seconds']:.0f} s"
                why = "" if row["error"] is None else f": {row['error']}"
                self._print(f"[{len(self._ended)}/{len(rows)}] {row['name']} {row['status']}{took}{why}")

    def _print(self, line: str) -> None:
        self._said = time.time()
        print(line, flush=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old text or the new one."""
    unfinished = path.with_name(path.name + ".writing")
    unfinished.write_text(text + "\n")
    os.replace(unfinished, path)
