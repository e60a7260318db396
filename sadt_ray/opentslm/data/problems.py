"""A row of a stage's data set as a ``Problem``: the raw series, the prompt, and the gold answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data.normalise import NORMALISE, Normalise
from sadt_ray.opentslm.data.prompts import fill_prompt
from sadt_ray.opentslm.stage_spec import HAR_LABELS, LEADS, SLEEP_LABELS, StageSpec, stage_spec

_OPTION = re.compile(r"^\s*(\([a-z]\))", re.MULTILINE)
_ECG_SAMPLES = 1000  # ten seconds at 100 Hz; of a longer record upstream takes every fifth sample


class _Read(NamedTuple):
    """The content of a row."""

    series: Float[np.ndarray, "n T"]
    fields: Mapping[str, str]  # of the templates
    answers: tuple[str, ...]
    label: str | None
    answer: str | None  # the gold text, reasons included
    kept: Mapping[str, Any]  # further extras


def stage_problem(
    stage: int | str,
    row: Mapping[str, Any],
    name: str,
    source: str | None = None,
    sampling_rate: float | None = None,
    normalise: Normalise | None = None,
) -> Problem:
    """The problem of one row of a stage's data set.

    The fields have upstream's names. The fields after "and" are the gold answer and may be missing. 1: ``Question,
    Task, Series`` and ``Answer``; 2: ``series`` and ``caption``; 3: ``x_axis, y_axis, z_axis`` and ``label,
    rationale``; 4: ``time_series`` (or ``[time_series]``) and ``label, rationale``; 5: ``question, possible_answers,
    leads`` [12, T] in mV, ``clinical_context, template_id, question_type`` and ``answer, rationale``.

    Args:
        stage: number or name of the stage.
        row: the fields.
        name: unique within a search.
        source: subject, recording or file, by which data are split and errors are clustered; ``name`` by default.
        sampling_rate: samples per second, if not the stage's.
        normalise: the normalisation of the series, if not upstream's (``normalised_har_by_window``).

    Returns:
        A problem. Its context is the raw series [T], or [T, C] if there are several; its conditioning is a ``Prompt``;
        its extras are ``stage, label, answer, source, sampling_rate`` and further fields of the row.

    Raises:
        ValueError: naming the row, and the field that is missing or does not fit.
    """
    spec = stage_spec(stage)
    try:
        read = _READERS[spec.number](row, spec)
        _check_series(read.series, spec)
        prompt = fill_prompt(
            spec.number,
            read.fields,
            (normalise or NORMALISE[spec.number])(read.series),
            read.answers,
            spec.marker,
            spec.ends,
        )
    except KeyError as error:
        raise ValueError(f"{name}: the row has no field {error}; stage {spec.number} needs it") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    extras = {
        "stage": spec.number,
        "label": read.label,
        "answer": read.answer,
        "source": source or name,
        "sampling_rate": spec.sampling_rate if sampling_rate is None else sampling_rate,
        **read.kept,
    }
    context = read.series[0] if len(read.series) == 1 else read.series.T
    return Problem(name, np.ascontiguousarray(context), prompt, extras=extras)


def options(question: str) -> tuple[str, ...]:
    """The options in the text of a multiple-choice question; ``("(a)", "(b)", "(c)")`` if there are none."""
    found = tuple(dict.fromkeys(_OPTION.findall(question)))
    return found if len(found) > 1 else stage_spec(1).labels


def _tsqa(row: Mapping[str, Any], spec: StageSpec) -> _Read:
    answers, answer = options(row["Question"]), row.get("Answer")
    label = None
    if answer is not None and answer.strip():
        label = next((option for option in answers if answer.strip().startswith(option)), None)
        if label is None:
            raise ValueError(f"the answer {answer!r} begins with none of {', '.join(answers)}")
    fields = {"Question": row["Question"], "Task": row["Task"]}
    return _Read(_rows(row["Series"]), fields, answers, label, answer, {"task": row["Task"]})


def _m4(row: Mapping[str, Any], spec: StageSpec) -> _Read:
    kept = {key: row[key] for key in ("id", "frequency") if key in row}
    return _Read(_rows(row["series"]), {}, (), None, row.get("caption"), kept)


def _har(row: Mapping[str, Any], spec: StageSpec) -> _Read:
    lengths = {len(row[f"{axis}_axis"]) for axis in "xyz"}
    if len(lengths) > 1:
        raise ValueError(f"the axes have {sorted(lengths)} samples; they must be of one length")
    axes = np.array([row[f"{axis}_axis"] for axis in "xyz"], np.float64)
    label = _one_of(row.get("label"), HAR_LABELS)
    return _Read(axes, {}, HAR_LABELS, label, _gold(row, label), {key: row[key] for key in ("unit",) if key in row})


def _sleep(row: Mapping[str, Any], spec: StageSpec) -> _Read:
    label = row.get("label")
    stage_4 = label is not None and label.strip().lower() == "non-rem stage 4"
    label = _one_of("Non-REM stage 3" if stage_4 else label, SLEEP_LABELS)
    return _Read(_rows(row["time_series"]), {}, SLEEP_LABELS, label, _gold(row, label), {})


def _ecg(row: Mapping[str, Any], spec: StageSpec) -> _Read:
    leads = np.asarray(row["leads"], np.float64)
    if leads.ndim != 2 or leads.shape[0] != len(LEADS):
        raise ValueError(f"leads have shape {leads.shape}; they must be [12, T], in the order {', '.join(LEADS)}")
    if leads.shape[1] > _ECG_SAMPLES:
        leads = leads[:, ::5]
    answers = tuple(row["possible_answers"])
    fields = {
        "question": row["question"],
        "clinical_context": row.get("clinical_context") or "12-lead ECG recording.",
        "answers": ", ".join(answers),
    }
    label = _one_of(row.get("answer"), answers)
    kept = {key: row[key] for key in ("template_id", "question_type", "ecg_id", "question") if key in row}
    return _Read(leads, fields, answers, label, _gold(row, label), kept)


_READERS: dict[int, Callable[[Mapping[str, Any], StageSpec], _Read]] = {1: _tsqa, 2: _m4, 3: _har, 4: _sleep, 5: _ecg}


def _rows(series: Any) -> Float[np.ndarray, "1 T"]:
    values = np.asarray(series, np.float64)
    return values[None] if values.ndim == 1 else values


def _one_of(label: str | None, labels: tuple[str, ...]) -> str | None:
    """The label in the stage's spelling; ``None`` for none or an empty cell."""
    if label is None or not label.strip():
        return None
    spelled = {known.lower(): known for known in labels}.get(label.strip().lower())
    if spelled is None:
        raise ValueError(f"the label {label!r} is none of {', '.join(labels)}")
    return spelled


def _gold(row: Mapping[str, Any], label: str | None) -> str | None:
    """The gold text: the rationale of the row, or the bare answer if there is none."""
    if row.get("rationale"):
        return str(row["rationale"])
    return None if label is None else f"Answer: {label}"


def _check_series(series: np.ndarray, spec: StageSpec) -> None:
    if series.ndim != 2 or len(series) != spec.num_series:
        raise ValueError(f"the series have shape {series.shape}; stage {spec.number} has {spec.num_series} of them")
    if series.shape[1] < 2:
        raise ValueError(f"a series of {series.shape[1]} samples has no standard deviation; give at least 2 samples")
    if not np.isfinite(series).all():
        raise ValueError("the series hold values that are not finite numbers; fill them in or drop the row")
