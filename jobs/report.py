"""``python -m jobs.report RUN_DIR``: make the report of a run again from the files in its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from sadt_ray.report.page import write_report
from sadt_ray.report.stage_data import is_stage_run
from sadt_ray.report.stage_page import write_stage_report


@dataclass(frozen=True)
class ReportConfig:
    """Write report.html (one page, no network needed) and plots/*.png into a run directory, of forecasts or a stage."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The directory that ``python -m jobs.search --out DIR`` wrote."""


def main() -> None:
    config = tyro.cli(ReportConfig, prog="python -m jobs.report", description=__doc__)
    console = Console()
    try:
        of_stage = config.run_dir.is_dir() and is_stage_run(config.run_dir)
        page = write_stage_report(config.run_dir) if of_stage else write_report(config.run_dir)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    console.print(f"report: {page}\nplots:  {page.parent / 'plots'}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
