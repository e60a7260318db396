"""Read a run directory: results by method, and all that a report needs, from the files alone.

    run = sadt_ray.read_run("runs/a")
    run.summary(); run["dts"]["ETTh1/test/0007/OT"].quantiles([0.1, 0.5, 0.9])

Runs that earlier versions wrote are read as well. What a run does not say is NaN or None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method
from sadt_ray.runs import scores as score_file
from sadt_ray.runs.answer_file import Answered, read_answers
from sadt_ray.runs.files import (
    NodeTable,
    ProblemSeries,
    WeightedSamples,
    read_json,
    read_problems,
    read_progress,
    read_samples,
    read_table,
    read_trees,
    require_file,
)
from sadt_ray.runs.results import SampleResult, no_samples
from sadt_ray.runs.tables import format_cell, html_table, text_table
from sadt_ray.smc.config import SMCConfig
from sadt_ray.tree import samples as tree_samples

SCORE_COLUMNS = ("method", "problem", "metric", "value")
QUESTION_FIELDS = ("problem", "series")


@dataclass(frozen=True, repr=False)
class Run:
    """Everything that a run directory says: ``run["dts"]`` is the ``SampleResult`` of a method, loops go over names.

    Attributes:
        directory: where it was read.
        config: settings, environment and command.
        rows: of the summary, as they are in the file; ``summary()`` has infinities as numbers.
        notes: sentences that the run left.
        problems: by name.
        samples: by method and problem.
        trees: by method and problem.
        progress: the lines of ``metrics.jsonl``.
        batches: the lines of ``batches.jsonl``.
        complete: False if the run was stopped before its budgets were spent.
        figures: what is known of each problem beside its samples (``log_z``, ``nfe``, ...), by method and problem.
        answers: of a stage run, one per question and method. Such a run keeps one text per question: the likeliest
            answer's; it is the one sample that a result of it has, and its reward is not known.
    """

    directory: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    notes: list[str]
    problems: dict[str, ProblemSeries]
    samples: dict[tuple[str, str], WeightedSamples]
    trees: dict[tuple[str, str], NodeTable]
    progress: list[dict[str, Any]]
    batches: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True
    figures: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    answers: list[Answered] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """Methods that left samples: first as the summary orders them, then any other."""
        sampled = dict.fromkeys(method for method, _ in (*self.samples, *self.figures))
        listed = dict.fromkeys(str(row["method"]) for row in self.rows)
        return [method for method in listed if method in sampled] + [m for m in sampled if m not in listed]

    def samples_of(self, method: str) -> list[WeightedSamples]:
        """The method's samples, one entry a problem."""
        return [samples for (owner, _), samples in self.samples.items() if owner == method]

    def __getitem__(self, method: str) -> SampleResult:
        """What the method found. Raises KeyError, naming those there are, for one that left no samples."""
        if method not in self.methods:
            planned = [str(entry.get("name")) for entry in self._described_methods()]
            stopped = " (the run was stopped before it)" if method in planned else ""
            raise KeyError(
                f"{self.directory} has no samples of method {method!r}{stopped}; it has {', '.join(self.methods)}"
            )
        row = self._row(method)
        problems = [
            Problem(p.name, p.context, truth=p.truth, extras=p.extras, time=p.time, scale=p.scale)
            for p in self.problems.values()
        ]
        known = [self._figures(method, problem.name, row) for problem in problems]
        seconds = next((row[name] for name in SECONDS if isinstance(row.get(name), float | int)), math.nan)
        return SampleResult(
            method=self._method(method),
            problems=problems,
            samples=[self._drawn(method, p.name, found) for p, found in zip(problems, known, strict=True)],
            nfe=_whole([found["nfe"] for found in known]),
            reward_calls=_whole([found["reward_calls"] for found in known]),
            rollouts=_whole([found["rollouts"] for found in known]),
            seconds=seconds * len(problems),
            notes=self.notes,
            run=self.directory,
            recorded=row or None,
            recorded_ess=[found["ess"] for found in known] if self.answers else None,
        )

    def __contains__(self, method: object) -> bool:
        return method in self.methods

    def __iter__(self) -> Iterator[str]:
        return iter(self.methods)

    def __len__(self) -> int:
        return len(self.methods)

    def keys(self) -> list[str]:
        """The methods, so that ``dict(run)`` works."""
        return self.methods

    def summary(self) -> list[dict[str, Any]]:
        """One row per method, averages over problems: what the run recorded.

        A method with problems of which no sample has any weight is averaged as ``SampleResult.summary`` says.
        """
        return [self._averages(_numbers(row)) for row in self.rows]

    def _averages(self, row: dict[str, Any]) -> dict[str, Any]:
        method = str(row["method"])
        return self[method].summary() if method in self and row == self._row(method) else row

    def to_frame(self) -> Any:
        """A ``pandas.DataFrame``: ``SampleResult.to_frame`` of every method, with a column ``method`` first.

        Raises ImportError without pandas.
        """
        frames = [self[method].to_frame() for method in self.methods]
        for frame, method in zip(frames, self.methods, strict=True):
            frame.insert(0, "method", method)
        return import_module("pandas").concat(frames, ignore_index=True)

    def __repr__(self) -> str:
        columns, rows, below = self._table()
        return "\n".join([self._title(), text_table(columns, rows), *below])

    def _repr_html_(self) -> str:
        columns, rows, below = self._table()
        return html_table(self._title(), columns, rows, below)

    def _title(self) -> str:
        counts = [f"{len(self):,} method{'s' * (len(self) != 1)}"]
        counts += [f"{len(self.problems):,} problem{'s' * (len(self.problems) != 1)}"]
        state = "complete" if self.complete else "stopped before its budgets were spent"
        return f"{self.directory}: {', '.join(counts)}, {state}"

    def _table(self) -> tuple[list[str], list[list[str]], list[str]]:
        """Columns, rows and the lines below."""
        rows = self.summary()
        columns = [name for name in SHOWN if any(row.get(name) is not None for row in rows)]
        cells = [[format_cell(row.get(name)) for name in columns] for row in rows]
        return [SHOWN[name] for name in columns], cells, list(self.notes)

    def _row(self, method: str) -> dict[str, Any]:
        """The method's row of largest budget; empty without one."""
        mine = [_numbers(row) for row in self.rows if row["method"] == method]
        return max(mine, key=lambda row: row.get("nfe") or row.get("tokens") or 0, default={})

    def _figures(self, method: str, problem: str, row: Mapping[str, Any]) -> dict[str, float]:
        """What is known of one problem: as its own figures say, or the averages where there is no other problem."""
        unknown = dict.fromkeys(("log_z", "ess", "root_ess", "log_z_se", "mean_reward_se"), math.nan)
        unknown |= dict.fromkeys(("nfe", "reward_calls", "rollouts"), math.nan)
        if len(self.problems) == 1 and row:
            unknown |= {name: float(row[name]) for name in unknown if row.get(name) is not None}
            unknown["log_z_se"] = math.inf if row.get("log_z_se", 0.0) is None else unknown["log_z_se"]
        return unknown | self.figures.get((method, problem), {})

    def _drawn(self, method: str, problem: str, known: Mapping[str, float]) -> tree_samples.WeightedSamples:
        found = self.samples.get((method, problem))
        if found is None:
            like = next((samples.values for samples in self.samples_of(method)), None)
            return no_samples(known["log_z"], like)
        return tree_samples.WeightedSamples(
            samples=found.values,
            weights=found.weight,
            rewards=found.reward,
            nfe_at=found.nfe_at,
            log_z=known["log_z"],
            root_ess=known["root_ess"],
            log_z_se=known["log_z_se"],
            mean_reward_se=known["mean_reward_se"],
            nodes=found.node,
        )

    def _described_methods(self) -> list[dict[str, Any]]:
        described = self.config.get("methods")
        return [entry for entry in described if isinstance(entry, dict)] if isinstance(described, list) else []

    def _method(self, name: str) -> Method | str:
        """The method as ``config.json`` describes it; its name alone where that is of no use."""
        entry = next((entry for entry in self._described_methods() if entry.get("name") == name), None)
        return name if entry is None else _method_of(name, entry)


SECONDS = ("seconds_per_context", "seconds_per_example")
SHOWN = {
    "method": "method", "budget": "budget", "rollouts": "rollouts", "nfe": "NFE", "rationales": "rationales",
    "tokens": "tokens", "reward": "reward", "probability": "probability",
    "probability_low": "95 % from", "probability_high": "to", "satisfied": "satisfied",
    "log_z": "log Z", "log_z_se": "\u00b1", "ess": "ESS",
    "root_ess": "root ESS", "without_weight": "without any weight", "crps": "CRPS", "crps_se": "\u00b1",
    "accuracy": "accuracy", "accuracy_se": "\u00b1", "macro_f1": "macro F1", "rouge_l": "ROUGE-L",
}  # fmt: skip
"""Columns of a run's table, where a row has them."""
_OLD_SMC = {
    "lean": "guidance", "lean_scale": "guidance_scale", "growth": "split_factor", "candidates": "num_candidates",
    "harvest": "record_particles", "harvest_share": "record_share", "harvest_resampling": "record_resampling",
}  # fmt: skip
"""What earlier versions called settings of ``SMCConfig``, which they kept under ``sweep``."""


def read_run(directory: str | Path) -> Run:
    """Read the directory of a run: of forecasts, of a stage (answers to questions), or of one trial of a sweep.

    Args:
        directory: that ``jobs.search`` wrote, a search with ``out``, or ``SampleResult.save``.

    Raises ValueError naming the file, column or value that is missing or wrong and what to do about it. For the
    directory of a sweep it names the trials; ``read_runs`` reads them all.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory: give the one that jobs.search or jobs.sweep wrote")
    if (directory / TRIALS).is_file():
        trials = ", ".join(str(directory / run) for run in _runs_of_trials(directory).values())
        raise ValueError(f"{directory} is a sweep of several runs: give one of {trials}, or call read_runs")
    summary = read_json(directory / "summary.json")
    rows = summary.get("rows")
    if not isinstance(rows, list) or any(not isinstance(row, dict) or "method" not in row for row in rows):
        raise ValueError(
            f"{directory / 'summary.json'} must hold 'rows', each naming its 'method': run the search again"
        )
    config = read_json(directory / "config.json")
    answers: list[Answered] = []
    is_stage = names_a_stage(config)
    if is_stage:
        problems = _read_questions(directory / "questions.jsonl")
        answers = _read_answers(directory, problems)
        samples, figures = _samples_of_answers(answers), _figures_of_answers(answers)
    else:
        problems = read_problems(directory / "problems.parquet")
        samples = read_samples(directory / "samples.parquet")
        figures = _read_figures(directory / score_file.FILE)
    unknown = sorted({problem for _, problem in samples} - set(problems))
    if unknown:
        raise ValueError(f"samples.parquet holds problem {unknown[0]!r}, which problems.parquet does not describe")
    trees = {
        (path.stem, problem): tree
        for path in sorted((directory / "tree").glob("*.parquet"))
        if not (is_stage and path.stem.endswith("-texts"))
        for problem, tree in read_trees(path).items()
    }
    return Run(
        directory=directory,
        config=config,
        rows=list(rows),
        notes=[str(note) for note in summary.get("notes") or []],
        problems=problems,
        samples=samples,
        trees=trees,
        progress=read_progress(directory / "metrics.jsonl"),
        batches=read_progress(directory / "batches.jsonl"),
        complete=bool(summary.get("complete", True)),
        figures={key: found for key, found in figures.items() if key[1] in problems},
        answers=answers,
    )


def read_runs(directory: str | Path) -> dict[str, Run]:
    """The runs of a sweep by the names of their trials; trials without a run are left out.

    Raises ValueError naming the file that is missing or wrong and what to do about it.
    """
    directory = Path(directory)
    return {name: read_run(directory / run) for name, run in _runs_of_trials(directory).items()}


TRIALS = "trials.json"


def _runs_of_trials(directory: Path) -> dict[str, str]:
    """Directories of the runs of finished trials, relative to the sweep's, by the trials' names."""
    path = directory / TRIALS
    trials = read_json(path).get("trials")
    if not isinstance(trials, list) or not all(isinstance(trial, dict) and "name" in trial for trial in trials):
        raise ValueError(f"{path} must hold 'trials', a list of objects with a 'name': resume the sweep")
    found = {}
    for trial in trials:
        if trial.get("run") is None or trial.get("status") not in ("complete", "stopped"):
            continue
        if not (directory / trial["run"]).resolve().is_relative_to(directory.resolve()):
            raise ValueError(f"{path}: the run of trial {trial['name']!r} is {trial['run']!r}, outside the sweep")
        found[str(trial["name"])] = str(trial["run"])
    return found


def names_a_stage(config: Mapping[str, Any]) -> bool:
    """Whether a run of this ``config.json`` answered the questions of a stage."""
    search = config.get("search")
    return isinstance(search, dict) and search.get("stage") is not None


def _method_of(name: str, entry: Mapping[str, Any]) -> Method | str:
    try:
        steps = entry["branch_steps"]
        smc = {_OLD_SMC.get(key, key): value for key, value in _numbers(entry.get("smc") or entry["sweep"]).items()}
        return Method(
            name=name,
            branch_steps=steps if isinstance(steps, str) else tuple(steps),
            search=SearchConfig(**_numbers(entry["search"])),
            smc=SMCConfig(**smc),
        )
    except (KeyError, TypeError, ValueError):  # of a version that knows other settings
        return name


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with infinities as numbers, for which JSON has no word."""
    return {name: float(value) if value in ("inf", "-inf") else value for name, value in row.items()}


def _whole(values: list[float]) -> np.ndarray:
    """Integers where all are; NaN where one is not known."""
    column = np.array(values, float)
    return column.astype(np.int64) if np.all(np.isfinite(column) & (column == np.round(column))) else column


def _read_figures(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """By method and problem, the scores by their names; nothing without the file."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    if path.is_file():
        columns = [column.to_pylist() for column in read_table(path, SCORE_COLUMNS).select(SCORE_COLUMNS)]
        for method, problem, metric, value in zip(*columns, strict=True):
            found.setdefault((method, problem), {})[metric] = math.nan if value is None else value
    return found


def _read_questions(path: Path) -> dict[str, ProblemSeries]:
    """The questions as problems; the context is the series, NaN beyond the end of a channel that is shorter."""
    require_file(path)
    found = {}
    for number, row in enumerate(read_progress(path), start=1):
        absent = [name for name in QUESTION_FIELDS if not isinstance(row, dict) or name not in row]
        if absent:
            raise ValueError(f"{path}, line {number} lacks {absent[0]!r}: run the search again")
        channels = [np.array(channel, float) for channel in row["series"]]
        context = np.full((len(channels), max(map(len, channels), default=0)), np.nan)
        for place, channel in zip(context, channels, strict=True):
            place[: len(channel)] = channel
        found[row["problem"]] = ProblemSeries(row["problem"], context, None, extras=row)
    return found


def _read_answers(directory: Path, questions: Mapping[str, ProblemSeries]) -> list[Answered]:
    path = directory / "answers.jsonl"
    require_file(path)
    try:
        answers = read_answers(directory)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds a line that is not an answer ({error}): run the search again") from error
    unknown = [row.problem for row in answers if row.problem not in questions]
    if unknown:
        raise ValueError(f"{path} answers {unknown[0]!r}, which questions.jsonl does not ask: run the search again")
    return answers


def _samples_of_answers(answers: Iterable[Answered]) -> dict[tuple[str, str], WeightedSamples]:
    """The one text that is kept of each; none where there is none."""
    return {
        (row.method, row.problem): WeightedSamples(
            np.array([row.text]), np.ones(1), np.full(1, np.nan), np.array([row.tokens])
        )
        for row in answers
        if row.text
    }


def _figures_of_answers(answers: Iterable[Answered]) -> dict[tuple[str, str], dict[str, float]]:
    return {
        (row.method, row.problem): {
            "log_z": row.log_z,
            "ess": row.ess,
            "nfe": float(row.tokens),
            "reward_calls": float(row.reward_calls),
            "rollouts": float(row.rollouts),
        }
        for row in answers
    }
