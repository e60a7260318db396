"""The data of the question browser in the page of a stage run: one object, packed so that thousands of texts fit."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from sadt_ray.opentslm.report.data import Question, StageRun
from sadt_ray.opentslm.report.text_trees import TextTree
from sadt_ray.report.style import method_colours
from sadt_ray.report.tree.page import heaviest_rows
from sadt_ray.runs.answer_file import Answered, is_correct

MAX_QUESTIONS = 300
"""Questions that a page carries at most: those with a tree first."""
MAX_POINTS = 1_200
"""Points of one drawn series; a longer one is shown by its extremes."""
POINTS_IN_ALL = 1_000_000
MAX_NODES = 4_000
"""Nodes of one tree that a page carries at most."""
MAX_NODES_IN_ALL = 60_000
LEVELS = 4_095
"""Series are drawn in so many steps between their extremes."""


def pack_examples(run: StageRun) -> str:
    """``examples`` as deflated JSON in base64, so that no text of the run can close the element that holds it."""
    text = json.dumps(_plain(examples(run)), separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 6)).decode("ascii")


def examples(run: StageRun) -> dict[str, Any]:
    """Methods, questions with the answers of each method, and trees; JSON values and numpy numbers."""
    questions = shown_questions(run)
    channels = sum(len(question.series) for question in questions)
    points = int(np.clip(POINTS_IN_ALL // max(channels, 1), 100, MAX_POINTS))
    place = {question.name: k for k, question in enumerate(questions)}
    grown = [(method, problem) for method, problem in run.trees if problem in place]
    limit = min(MAX_NODES, MAX_NODES_IN_ALL // max(len(grown), 1))
    colours = method_colours(run.methods)
    return {
        "methods": [
            {"key": m, "name": run.shown(m), "colour": colours[m], "oracle": m in run.oracles} for m in run.methods
        ],
        "questions": [_question(run, question, points) for question in questions],
        "trees": [
            {"method": method, "question": place[problem], **_tree(run.trees[method, problem], limit)}
            for method, problem in grown
        ],
    }


def shown_questions(run: StageRun) -> list[Question]:
    """The questions that are shown: those with a tree first, then the others, in the order of the run."""
    with_tree = {problem for _, problem in run.trees}
    answered = {problem for _, problem in run.answered}
    asked = [question for question in run.questions.values() if question.name in answered]
    first = sorted(range(len(asked)), key=lambda k: (asked[k].name not in with_tree, k))[:MAX_QUESTIONS]
    return [asked[k] for k in sorted(first)]


def _question(run: StageRun, question: Question, points: int) -> dict[str, Any]:
    answered = {method: run.answered.get((method, question.name)) for method in run.methods}
    return {
        "name": question.name,
        "source": question.source,
        "gold": question.gold,
        "goldText": question.gold_text,
        "prompt": question.prompt,
        "answers": question.answers,
        "rate": question.sampling_rate,
        "series": [
            {"name": name, "length": len(values), **pack_series(values, points)}
            for name, values in zip(question.series_names, question.series, strict=False)
        ],
        "frequencies": question.frequencies,
        "spectrum": question.spectrum,
        "templates": [question.templates.get(answer) for answer in question.answers],
        "answered": {method: _answer(row, question) for method, row in answered.items() if row is not None},
    }


def _answer(row: Answered, question: Question) -> dict[str, Any]:
    probabilities = [float(row.probabilities.get(answer, 0.0)) for answer in question.answers]
    return {
        "answer": row.answer,
        "probabilities": [round(p, 5) for p in probabilities],
        "none": round(max(1.0 - sum(probabilities), 0.0), 5) if probabilities else None,
        "correct": is_correct(row),
        "text": row.text,
        "costs": {"rationales": row.rollouts, "tokens": row.tokens, "reward calls": row.reward_calls},
        "ess": row.ess,
        "logZ": row.log_z,
    }


def _tree(tree: TextTree, limit: int) -> dict[str, Any]:
    kept = tree.take(heaviest_rows(tree.nodes, limit))
    nodes = kept.nodes
    return {
        "omitted": len(tree) - len(kept),
        "parent": nodes.parent,
        "level": nodes.level,
        "visits": nodes.visits,
        "value": nodes.value,
        "weight": nodes.weight,
        "reward": nodes.reward,
        "text": kept.added,
        "claims": np.round(kept.claims, 6),
    }


def pack_series(values: Float[np.ndarray, " T"], points: int) -> dict[str, Any]:
    """The extremes of a series, and its values as integers from 0 to ``LEVELS`` between them; None if not finite."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    drawn = thinned(values, points)
    steps = (drawn - low) * (LEVELS / (high - low) if high > low else 0.0)
    return {
        "low": low,
        "high": high,
        "points": [round(step) if math.isfinite(step) else None for step in steps.tolist()],
    }


def thinned(values: Float[np.ndarray, " T"], points: int) -> Float[np.ndarray, " n"]:
    """At most ``points`` values: the lowest and the highest of ``points // 2`` intervals, in order."""
    if len(values) <= points:
        return values
    edges = np.linspace(0, len(values), points // 2 + 1).astype(int)
    kept = []
    for begin, end in pairwise(edges.tolist()):
        part = values[begin:end]
        extremes = [int(part.argmin()), int(part.argmax())] if np.isfinite(part).all() else [0, len(part) - 1]
        kept += [begin + k for k in sorted(extremes)]
    return values[kept]


def _plain(value: Any) -> Any:
    """Arrays as lists, numbers with seven digits, and None for numbers that are not finite."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value
