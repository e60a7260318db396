"""Stage 5, ECG-QA-CoT: questions about a 12-lead record of PTB-XL. Formats: CSV files with ``question, answer,
template_id, question_type, clinical_context, ecg_id, rationale``; rows of ECG-QA's own JSON; or one published sample
with its series.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sadt_ray.opentslm.data.formats import Format, Parts, three_files
from sadt_ray.opentslm.data.places import fetched, find_data, unpacked
from sadt_ray.opentslm.data.ptbxl import load_record, rounded_to_microvolts
from sadt_ray.opentslm.data.tables import Row, read_table

ADDRESS = "https://polybox.ethz.ch/index.php/s/D5QaJSEw4dXkzXm/download/ecg_qa_cot_final.zip"
ANSWERS = "https://raw.githubusercontent.com/Jwoo5/ecg-qa/master/ecgqa/ptbxl/answers_for_each_template.csv"
_FILES = "ecg_qa_cot_{}.csv"
_STATED = re.compile(r"mean (-?[\d.]+) and std ([\d.]+)")


def read(path: Path) -> Parts:
    """Read upstream's three files in a folder, or one file. The source of a question is its record.

    Questions that compare two records or have several answers are left out, as in ECG-QA-CoT.
    """
    if path.is_dir():
        return {part: _read(file) for part, file in three_files(path, _FILES).items()}
    return {"all": _read(path)}


def prepare(row: Row) -> Row:
    """Add the leads of the record in mV, and the answers that the template allows."""
    possible = _literal(row.get("possible_answers"), "possible_answers") or possible_answers(int(row["template_id"]))
    leads = row["leads"] if "leads" in row else load_record(row["ecg_id"])
    return {**row, "leads": leads, "possible_answers": possible}


def published() -> Path:
    return unpacked(ADDRESS, "ecg_qa_cot", [_FILES.format(word) for word in ("train", "val", "test")])


def possible_answers(template: int) -> tuple[str, ...]:
    """The possible answers of a template. Raises ValueError for a template that ECG-QA does not have."""
    known = _answers_by_template()
    if template not in known:
        raise ValueError(f"ECG-QA has no template {template}; it has {min(known)} to {max(known)}")
    return known[template]


def published_leads(sample: Row) -> Float[np.ndarray, "12 T"]:
    """The record of a published sample in mV, from its z-scores and the means and deviations in its texts.

    Their four decimals are enough, because PTB-XL stores whole microvolts.
    """
    stated = [_STATED.search(text) for text in sample["time_series_text"]]
    if None in stated:
        raise ValueError("a text of the sample states no mean and std")
    mean, std = np.array([[float(x) for x in found.groups()] for found in stated if found]).T
    return rounded_to_microvolts(np.asarray(sample["time_series"]) * std[:, None] + mean[:, None])


@cache
def _answers_by_template() -> dict[int, tuple[str, ...]]:
    path = find_data("ecg/ecgqa_ptbxl_answers_for_each_template.csv")
    path = path or fetched(ANSWERS, "ecg_qa/ecgqa/ptbxl/answers_for_each_template.csv")
    return {int(row["template_id"]): tuple(ast.literal_eval(row["classes"])) for row in read_table(path)}


def _read(path: Path) -> list[dict[str, Any]]:
    rows = [row for row in map(_one_of_each, read_table(path)) if row is not None]
    if not rows:
        raise ValueError(f"{path} has no question on one record with one answer")
    for row in rows:
        if "ecg_id" not in row:
            raise ValueError(f"{path}: there is no column 'ecg_id'; the columns are {', '.join(row)}")
        row["source"] = f"ptbxl {row['ecg_id']}"
    return rows


def _one_of_each(row: dict[str, Any]) -> dict[str, Any] | None:
    """The row, if it has one record and one answer; ``None`` if it has more."""
    if "time_series_text" in row:
        row = {
            **{key: row[key] for key in ("question", "question_type", "template_id", "clinical_context", "ecg_id")},
            "answer": row["correct_answer"],
            "rationale": row["answer"],
            "leads": published_leads(row),
        }
    record, answer = row.get("ecg_id"), row.get("answer")
    record = _literal(record, "ecg_id")
    for several in (record, answer):
        if isinstance(several, list) and len(several) != 1:
            return None
    row["ecg_id"] = int(record[0]) if isinstance(record, list) else record
    row["answer"] = answer[0] if isinstance(answer, list) else answer
    return row


def _literal(cell: Any, column: str) -> Any:
    """The number or list in a cell of a CSV. Raises ValueError naming the column."""
    if not isinstance(cell, str) or not cell.strip():
        return cell
    try:
        return ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError):
        raise ValueError(f"column {column!r}: {cell!r} is neither a number nor a list; write 123 or [123]") from None


FORMAT = Format(read, prepare, published, ("ecg/ecgqa_ptbxl_rows_with_local_waveform.json",))
