"""Read the directory of a stage run: questions, answers and costs. It is the only input of the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sadt_ray.opentslm.report.text_trees import TextTree, read_text_trees
from sadt_ray.report.style import method_name
from sadt_ray.runs.answer_file import Answered, is_correct
from sadt_ray.runs.files import read_json, read_progress, require_file
from sadt_ray.runs.read import names_a_stage

QUESTION_FIELDS = ("problem", "source", "label", "answer", "series", "question", "answers")
ANSWER_FIELDS = tuple(field.name for field in fields(Answered))


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        gold: the gold answer, and ``gold_text`` the whole text with its reasons; None if unknown.
        series: series of each channel, [T_i].
        sampling_rate: samples per second; 0 if unknown.
        frequencies: frequencies of ``spectrum`` and ``templates`` in cycles per sample, [F]; empty without a spectral
            reward.
        spectrum: density of the series in squared standard deviations per cycle per sample, [F].
        templates: expected density by answer, [F] each; answers without a template are left out.
    """

    name: str
    source: str
    gold: str | None
    gold_text: str | None
    series: tuple[np.ndarray, ...]
    series_names: tuple[str, ...]
    sampling_rate: float
    prompt: str
    answers: tuple[str, ...]
    frequencies: np.ndarray
    spectrum: np.ndarray
    templates: dict[str, np.ndarray]


@dataclass(frozen=True)
class StageRun:
    """The content of the directory of a stage run."""

    directory: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]  # the summary, one row per method
    notes: list[str]
    calibration: dict[str, list[dict[str, float]]]  # by method: confidence, accuracy, count of each bin
    entropy_profile: list[dict[str, float]]  # depth, entropy in nats, tokens
    template_accuracy: float | None
    complete: bool
    questions: dict[str, Question]
    answered: dict[tuple[str, str], Answered]  # by method and problem
    trees: dict[tuple[str, str], TextTree]  # by method and problem
    progress: list[dict[str, Any]]  # the lines of metrics.jsonl
    batches: list[dict[str, Any]] = field(default_factory=list)  # the lines of batches.jsonl

    @cached_property
    def methods(self) -> list[str]:
        """The methods in the order of the summary, then others that have answers."""
        listed = [str(row["method"]) for row in self.rows]
        return list(dict.fromkeys([*listed, *(method for method, _ in self.answered)]))

    @cached_property
    def oracles(self) -> set[str]:
        """Methods whose reward reads the gold answer: an upper bound, not a result. The summary says so for each
        method; for a method that it does not name, config.json does."""
        listed = {str(row["method"]): row.get("oracle") for row in self.rows}
        whole_run = bool(self.config.get("oracle"))
        return {name for name in self.methods if (whole_run if listed.get(name) is None else listed[name])}

    @property
    def stand_in(self) -> bool:
        """Whether the model is a stand-in for a published checkpoint."""
        return bool(self.config.get("stand_in"))

    @property
    def search(self) -> dict[str, Any]:
        """The settings of the search."""
        return dict(self.config["search"])

    def shown(self, method: str) -> str:
        """The name of a method as shown, with oracles labelled."""
        return method_name(method) + " (oracle)" * (method in self.oracles)

    def row(self, method: str) -> dict[str, Any]:
        """The row of a method with the largest budget; empty if there is none."""
        rows = [row for row in self.rows if row["method"] == method]
        return max(rows, key=lambda row: row.get("tokens") or 0, default={})

    def correct(self, method: str) -> dict[str, float]:
        """Whether the answer of a method is right, 1 or 0 by problem; only problems with a gold answer."""
        mine = {problem: is_correct(row) for (owner, problem), row in self.answered.items() if owner == method}
        return {problem: float(right) for problem, right in mine.items() if right is not None}


def is_stage_run(directory: Path) -> bool:
    """Whether ``jobs.search --stage`` wrote the directory. Raises ValueError naming a config.json that is missing."""
    return names_a_stage(read_json(Path(directory) / "config.json"))


def read_stage_run(directory: Path) -> StageRun:
    """Read a directory. Raises ValueError naming a file, line or field that is missing, and what to do."""
    directory = Path(directory)
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory: give the one that jobs.search --stage wrote")
    if not is_stage_run(directory):
        raise ValueError(f"{directory / 'config.json'} names no stage: this is a run of another kind")
    summary = read_json(directory / "summary.json")
    if "rows" not in summary or any("method" not in row for row in summary["rows"]):
        raise ValueError(f"{directory / 'summary.json'} must hold 'rows', each naming its 'method': run it again")
    questions = _read_questions(directory / "questions.jsonl")
    return StageRun(
        directory=directory,
        config=read_json(directory / "config.json"),
        rows=list(summary["rows"]),
        notes=[str(note) for note in summary.get("notes") or []],
        calibration=dict(summary.get("calibration") or {}),
        entropy_profile=list(summary.get("entropy_profile") or []),
        template_accuracy=summary.get("template_accuracy"),
        complete=bool(summary.get("complete", True)),
        questions=questions,
        answered=_read_answers(directory / "answers.jsonl", questions),
        trees=read_text_trees(directory / "tree", {name: q.answers for name, q in questions.items()}),
        progress=read_progress(directory / "metrics.jsonl"),
        batches=read_progress(directory / "batches.jsonl"),
    )


def _read_questions(path: Path) -> dict[str, Question]:
    found = {}
    for where, row in _lines(path, QUESTION_FIELDS):
        try:
            found[row["problem"]] = _question(row)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} is not a question ({error}): run the search again") from error
    return found


def _question(row: dict[str, Any]) -> Question:
    series = tuple(np.array(channel, float) for channel in row["series"])
    names = [str(name) for name in row.get("series_names") or []]
    frequencies, spectrum = (np.array(row.get(name) or [], float) for name in ("frequencies", "spectrum"))
    templates = {str(label): np.array(s, float) for label, s in (row.get("template_spectra") or {}).items()}
    if any(len(s) != len(frequencies) for s in (spectrum, *templates.values())):
        raise ValueError(f"its spectra must have one entry for each of its {len(frequencies)} frequencies")
    return Question(
        name=row["problem"],
        source=str(row["source"] or row["problem"]),
        gold=row["label"],
        gold_text=row["answer"],
        series=series,
        series_names=tuple(names + [f"series {k + 1}" for k in range(len(names), len(series))]),
        sampling_rate=float(row.get("sampling_rate") or 0.0),
        prompt=str(row["question"]),
        answers=tuple(row["answers"]),
        frequencies=frequencies,
        spectrum=spectrum,
        templates=templates,
    )


def _read_answers(path: Path, questions: dict[str, Question]) -> dict[tuple[str, str], Answered]:
    found = {}
    for where, row in _lines(path, ANSWER_FIELDS):
        if row["problem"] not in questions:
            raise ValueError(f"{where} answers {row['problem']!r}, which questions.jsonl does not ask")
        found[row["method"], row["problem"]] = Answered(**{name: row[name] for name in ANSWER_FIELDS})
    return found


def _lines(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a file with its name for messages. Raises ValueError for a line without an object or a field."""
    require_file(path)
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = dict(json.loads(line))
        except (json.JSONDecodeError, TypeError, ValueError) as error:
            raise ValueError(f"{where} is not a JSON object ({error}): restore it or run the search again") from error
        lacking = [name for name in needed if name not in row]
        if lacking:
            raise ValueError(f"{where} lacks {lacking[0]!r}: another version wrote it; run the search again")
        yield where, row
