"""One trial: an ordinary search in a process that Tune has started, on a node of the cluster."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from actors.reports import Reports
from jobs.interrupt import Interrupted
from jobs.sweeps.places import Places
from sadt_ray.engine.loop import SearchStats

_STOPPED = 75  # exit code of a search that its sweep stopped: try again later, as mailers have it


class TrialWatch:
    """Shows a trial what its search shows, and stops the search when the trial is to end."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def __enter__(self) -> TrialWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...

    def stats(self, stats: SearchStats) -> None:
        self._reports.show(_shown(stats.figures()))
        self.check()

    def check(self) -> None:
        if self._reports.stopped:
            raise Interrupted("the sweep", _STOPPED)


def run_trial(config: Mapping[str, Any], reports: Reports) -> Mapping[str, float]:
    """Begin the search, or go on with it; returns what it showed last, and the figures of its row.

    Raises RuntimeError with what the search said if it did not come to its end.
    """
    with contextlib.suppress(OSError):
        os.chdir(config["directory"])  # which flags name files from, where this node has it
    name, places = config["trial"]["name"], Places(config["storage"])
    places.check()
    run = places.run_directory(name)
    try:
        places.fetch(name, run)  # of a process that ended before Tune had heard of it
        if not is_complete(run):
            arguments = [*config["trial"]["arguments"], *config["execution"], *places.arguments(name, run)]
            _search(_told(arguments), name, places, run, reports)
        return {**last_shown(run), **row_figures(run)}
    finally:
        if places.remote:
            shutil.rmtree(run.parent, ignore_errors=True)


def _search(arguments: list[str], name: str, places: Places, run: Path, reports: Reports) -> None:
    from jobs.search import run as search  # loads torch: on the node, not in the program that starts the sweep

    said = io.StringIO()
    code = search(arguments, Console(file=said, width=200), TrialWatch(reports))
    if code in (0, _STOPPED):
        places.keep(name, run)
    if code != 0:
        raise RuntimeError(_why(run, said.getvalue()))


def is_complete(run: Path) -> bool:
    """Whether the run spent its budgets."""
    summary = run / "summary.json"
    return summary.exists() and bool(json.loads(summary.read_text()).get("complete"))


def row_figures(run: Path) -> dict[str, float]:
    """The numbers of the run's only method."""
    return _numbers(json.loads((run / "summary.json").read_text())["rows"][0])


def last_shown(run: Path) -> dict[str, float]:
    """What a search showed last: a short one ends before it is looked at, and Tune compares trials by this."""
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return _shown({name: float(value) if value in ("inf", "-inf") else value for name, value in line.items()})


def _shown(figures: Mapping[str, Any]) -> dict[str, float]:
    """With the evaluations of all contexts, which a row gives for one."""
    return _numbers({**figures, "evaluations": figures["nfe"]})


def _numbers(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if isinstance(value, int | float)}


def _told(arguments: list[str]) -> list[str]:
    """A run that goes on takes its settings from where it began."""
    return arguments[arguments.index("--resume") :] if "--resume" in arguments else arguments


def _why(run: Path, said: str) -> str:
    """The search's last note, or all that it said."""
    summary = run / "summary.json"
    notes = json.loads(summary.read_text())["notes"] if summary.exists() else []
    return str(notes[-1]) if notes else said.strip()[-2000:]
