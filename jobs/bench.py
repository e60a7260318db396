"""``python -m jobs.bench NAME [--quick] [--out DIR]``: state a question, print one table, write ``bench.json``."""

from __future__ import annotations

import importlib
import json
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from jobs import benches
from jobs.tables import print_table
from sadt_ray.data.etth1 import WrongChecksum
from sadt_ray.runs.environment import describe_environment

NAMES = sorted(module.name for module in pkgutil.iter_modules(benches.__path__))


@dataclass(frozen=True)
class BenchConfig:
    """Run one benchmark and print its table with the hardware and the commit it ran on."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=f"one of: {', '.join(NAMES)}")]
    quick: bool = False
    """A smaller version, under a minute on two cores."""
    out: Path | None = None
    """Directory for bench.json; runs/bench/NAME by default."""


def main() -> None:
    config = tyro.cli(BenchConfig, description=__doc__)
    if config.name not in NAMES:
        raise SystemExit(f"jobs.bench: there is no benchmark {config.name!r}; choose one of {', '.join(NAMES)}")
    bench = importlib.import_module(f"jobs.benches.{config.name}")
    console = Console()
    console.print(f"[bold]{bench.QUESTION}[/bold]")
    environment = describe_environment()
    try:
        result = bench.run(quick=config.quick)
    except (FileNotFoundError, WrongChecksum) as error:
        raise SystemExit(f"jobs.bench: {error}") from None
    print_table(console, result.rows)
    for note in result.notes:
        console.print(note, markup=False)
    console.print(", ".join(f"{key} {value}" for key, value in environment.items()), style="dim", markup=False)
    out = config.out or Path("runs/bench") / config.name
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.json").write_text(json.dumps({k: float(v) for k, v in result.figures.items()}, indent=2) + "\n")
    console.print(f"figures: {out / 'bench.json'}", style="dim", markup=False)


if __name__ == "__main__":
    main()
