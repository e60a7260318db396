"""``python -m jobs.report RUN_DIR``: make the report of a run again from the files in its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from jobs.reporting import CannotDraw, write_page


@dataclass(frozen=True)
class ReportConfig:
    """Write report.html (one page, no network needed) and plots/*.png into a run directory, of forecasts or a stage."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The directory that ``python -m jobs.search --out DIR`` wrote."""


def main() -> None:
    config = tyro.cli(ReportConfig, prog="python -m jobs.report", description=__doc__)
    console = Console()
    try:
        page = write_page(config.run_dir)
    except (ValueError, CannotDraw) as error:
        raise SystemExit(str(error)) from error
    console.print(f"report: {page}\nplots:  {page.parent / 'plots'}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
