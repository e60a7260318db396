"""The page of a run, where what draws it is installed: matplotlib and plotly are an extra of the package."""

from __future__ import annotations

import json
from pathlib import Path

DRAWN_WITH = ("matplotlib", "plotly")


class CannotDraw(ImportError):
    """A library that draws reports is not installed; the message says how to get it."""


def write_page(run: Path) -> Path:
    """Write report.html and what goes with it into the directory of a run, forecasts or a stage, or of a sweep.

    Raises:
        CannotDraw: where the extra ``report`` is not installed.
        ValueError: if the directory is neither.
    """
    try:
        from sadt_ray.opentslm.report.data import is_stage_run
        from sadt_ray.opentslm.report.page import write_stage_report
        from sadt_ray.report.page import write_report
        from sadt_ray.report.sweep.data import is_sweep
        from sadt_ray.report.sweep.page import write_sweep_report
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in DRAWN_WITH:
            raise
        raise CannotDraw(
            f"reports need {missing.name}: pip install 'sadt-ray[report]', then sadt-report {run}"
        ) from None
    if is_condition(run):
        raise ValueError(
            f"{run} was written by jobs.condition, whose page is report.html there; to make it again, repeat the "
            "command in its config.json with another --out"
        )
    if is_sweep(run):
        return write_sweep_report(run)
    return write_stage_report(run) if run.is_dir() and is_stage_run(run) else write_report(run)


def is_condition(run: Path) -> bool:
    """Whether a directory is one of ``jobs.condition``."""
    config = run / "config.json"
    return config.exists() and json.loads(config.read_text()).get("kind") == "condition"


def page_or_reason(run: Path) -> str:
    """The last line that a search or a sweep prints: where its page is, or how to have one."""
    try:
        return f"report: {write_page(run)}"
    except CannotDraw as reason:
        return f"run: {run}; {reason}"
