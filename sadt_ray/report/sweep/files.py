"""The figures of a sweep as CSV, Parquet and Markdown files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sadt_ray.report.sweep.cells import to_markdown
from sadt_ray.report.sweep.compare import by_task, minus_reference
from sadt_ray.report.sweep.data import Sweep
from sadt_ray.report.sweep.headline import headline
from sadt_ray.report.sweep.metrics import COSTS, KIND_NAMES, METRICS, MINUS_REFERENCE, REFERENCE
from sadt_ray.report.sweep.settings import SETTING, Setting, main_metric
from sadt_ray.report.sweep.tables import few_many_table, leaderboard, task_table
from sadt_ray.report.sweep.words import best_of_tasks, how_much

Row = dict[str, Any]


def write_files(sweep: Sweep, settings: Sequence[Setting]) -> None:
    """Write ``results.csv`` and ``.parquet``, ``settings.csv`` and ``results.md``.

    The results have one row per trial and method. The settings have one row per setting and figure, over all seeds,
    with 95 % intervals.
    """
    results = as_table(trial_rows(sweep))
    pyarrow.csv.write_csv(results, sweep.directory / "results.csv")
    pq.write_table(results, sweep.directory / "results.parquet")
    pyarrow.csv.write_csv(as_table(setting_rows(settings)), sweep.directory / "settings.csv")
    (sweep.directory / "results.md").write_text(markdown(sweep, settings), encoding="utf-8")


def trial_rows(sweep: Sweep) -> list[Row]:
    """One row per trial and method of its run: axes, outcome and all figures of the summary.

    A trial without figures also has a row, so that all planned trials are listed.
    """
    rows = []
    for trial in sweep.trials:
        said = asdict(trial)
        told = {"trial": said.pop("name"), **said, "trial_seconds": said.pop("seconds")}
        result = sweep.results.get(trial.name)
        told["damage"] = result.damage if result is not None else None
        figures = result.rows if result is not None and result.rows else [{}]
        rows += [{**told, **figure} for figure in figures]
    return rows


def setting_rows(settings: Sequence[Setting]) -> list[Row]:
    """One row per setting and figure, over all seeds: value, clustered error, 95 % interval, and numbers of data."""
    rows = []
    for setting in settings:
        named = {name: getattr(setting, name) for name in SETTING}
        of_task = [s for s in settings if (s.kind, s.task) == (setting.kind, setting.task)]
        for metric in (*METRICS[setting.kind], *COSTS[setting.kind]):
            if metric.name not in setting.figures or metric.name == MINUS_REFERENCE:
                continue
            estimate, half = setting.figures[metric.name], setting.figures[metric.name].half_width()
            versus = minus_reference(setting, of_task, metric)
            rows.append(
                {
                    **named,
                    "metric": metric.name,
                    "value": estimate.value,
                    "standard_error": _known(estimate.standard_error),
                    "low95": _known(estimate.value - half),
                    "high95": _known(estimate.value + half),
                    "reference": REFERENCE[setting.kind] if versus else None,
                    "minus_reference": versus.difference.value if versus else None,
                    "minus_reference_half_width95": _known(versus.half_width) if versus else None,
                    "clusters": estimate.clusters,
                    "problems": len(setting.problems),
                    "seeds": len(setting.seeds),
                    "stopped_early": setting.stopped,
                }
            )
    return rows


def markdown(sweep: Sweep, settings: Sequence[Setting]) -> str:
    """Headline, leaderboards, tables of tasks, few rollouts against many."""
    parts = [" ".join(headline(settings)), "\n".join(f"- {said}" for said in best_of_tasks(settings)), how_much(sweep)]
    parts.append("±: half-width of a 95 % interval, clustered. Bold: best, and clear of every other.")
    for kind, shown in KIND_NAMES.items():
        tasks = by_task(settings, kind)
        if not tasks:
            continue
        parts += [f"## {shown}", to_markdown(leaderboard(sweep, settings, kind))]
        for task, of_task in tasks.items():
            if main_metric(of_task, METRICS[kind]) is not None:
                parts += [f"### {task}", to_markdown(task_table(of_task))]
        pairs = few_many_table(settings, kind)
        parts += ["### Few rollouts against many", to_markdown(pairs)] if pairs is not None else []
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def as_table(rows: Sequence[Row]) -> pa.Table:
    """A table with all columns of the rows. A column with values of several types becomes text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pa.Array:
    plain = [
        value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value) for value in values
    ]
    try:
        return pa.array(plain)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in plain])


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
