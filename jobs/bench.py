"""Run a benchmark: state its question, print one table, write ``bench.json``.

The benchmarks are the modules of the folder ``benchmarks`` of a checkout; an installed package does not contain them.

Examples:
    python -m jobs.bench exact --quick
    python -m jobs.bench amortise --out runs/bench/amortise
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from jobs.tables import print_table
from sadt_ray.data.etth1 import WrongChecksum
from sadt_ray.runs.environment import describe_environment


@dataclass(frozen=True)
class BenchConfig:
    """Which benchmark, how large, and where its figures go."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help="The benchmark: see the list above.")]
    quick: bool = False
    """A smaller version, under a minute on two cores."""
    out: Path | None = None
    """Directory for bench.json; runs/bench/NAME by default."""


def benchmark_names() -> list[str]:
    """The benchmarks of this checkout. Raises SystemExit where there is no checkout."""
    try:
        package = importlib.import_module("benchmarks")
        package_path = list(package.__path__) if hasattr(package, "BenchResult") else []
    except ModuleNotFoundError:
        package_path = []
    if not package_path:
        raise SystemExit(
            "jobs.bench: the benchmarks are not part of the installed package; run this in a checkout of the "
            "repository, where the folder benchmarks/ is"
        )
    return sorted(module.name for module in pkgutil.iter_modules(package_path) if not module.ispkg)


def load_benchmark(name: str) -> Any:
    """The module of a benchmark: ``QUESTION`` and ``run(quick)``."""
    return importlib.import_module(f"benchmarks.{name}")


def main() -> None:
    sys.path.append(str(Path.cwd()))  # where the installed command ``sadt-bench`` does not look
    names = benchmark_names()
    listed = "\n".join(f"    {name:<18}{load_benchmark(name).QUESTION}" for name in names if _asks_for_help())
    config = tyro.cli(BenchConfig, description=f"{__doc__}\nBenchmarks:\n{listed}")
    if config.name not in names:
        raise SystemExit(f"jobs.bench: there is no benchmark {config.name!r}; choose one of {', '.join(names)}")
    bench = load_benchmark(config.name)
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


def _asks_for_help() -> bool:
    """Whether the list of benchmarks will be shown: their modules take seconds to import."""
    return any(argument in ("-h", "--help") for argument in sys.argv[1:])


if __name__ == "__main__":
    main()
