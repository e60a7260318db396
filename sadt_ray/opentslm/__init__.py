"""OpenTSLM: questions about time series, answered in words by a frozen language model that is searched under a reward.

The names below are imported on first use, so that the parts can be used without ``transformers``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadt_ray.opentslm.answering import answer_questions
    from sadt_ray.opentslm.model.load import load_opentslm
    from sadt_ray.opentslm.settings import StageSettings
    from sadt_ray.opentslm.task import StageTask, build_stage_task
    from sadt_ray.runs.answer_file import Answered, read_answers

_HOME = {
    "Answered": "sadt_ray.runs.answer_file",
    "StageSettings": "sadt_ray.opentslm.settings",
    "StageTask": "sadt_ray.opentslm.task",
    "answer_questions": "sadt_ray.opentslm.answering",
    "build_stage_task": "sadt_ray.opentslm.task",
    "load_opentslm": "sadt_ray.opentslm.model.load",
    "read_answers": "sadt_ray.runs.answer_file",
}

__all__ = [
    "Answered",
    "StageSettings",
    "StageTask",
    "answer_questions",
    "build_stage_task",
    "load_opentslm",
    "read_answers",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sadt_ray.opentslm' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
