"""``python -m jobs.report DIR``: make the report of a run, or of a sweep, again from the files in its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from jobs.reporting import CannotDraw, write_page


@dataclass(frozen=True)
class ReportConfig:
    """Write report.html (one page, no network needed) into a directory. Beside it: of a run, of forecasts or a stage,
    plots/*.png; of a sweep results.csv, results.parquet, settings.csv and results.md."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The directory that ``python -m jobs.search --out DIR`` or ``python -m jobs.sweep`` wrote."""


def main() -> None:
    config = tyro.cli(ReportConfig, prog="python -m jobs.report", description=__doc__)
    console = Console()
    try:
        page = write_page(config.run_dir)
    except (ValueError, CannotDraw) as error:
        raise SystemExit(f"jobs.report: {error}") from error
    beside = page.parent / "plots"
    plots = f"\nplots:  {beside}" * beside.is_dir()
    console.print(f"report: {page}{plots}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
