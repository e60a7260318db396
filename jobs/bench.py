"""Run a benchmark: it states its question, prints one table and writes bench.json.

Examples:
    python -m jobs.bench exact --quick
    python -m jobs.bench amortise --out runs/bench/amortise

The benchmarks are in the folder benchmarks/ of a checkout; an installed package does not contain them.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

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


def questions() -> dict[str, str]:
    """Name and question of every benchmark of this checkout, read from the files: importing them all takes seconds.

    Raises SystemExit where there is no checkout.
    """
    spec = importlib.util.find_spec("benchmarks")
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    found = {path.stem: _question(path) for folder in folders for path in sorted(folder.glob("*.py"))}
    listed = {name: question for name, question in found.items() if question is not None}
    if not listed:
        raise SystemExit(
            "jobs.bench: the benchmarks are not part of the installed package; run this in a checkout of the "
            "repository, where the folder benchmarks/ is"
        )
    return listed


def _question(path: Path) -> str | None:
    """What a file assigns to ``QUESTION``; None for a module that is no benchmark."""
    text = path.read_text(encoding="utf-8")
    for statement in ast.parse(text).body if "QUESTION" in text else ():
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "QUESTION" for target in statement.targets
        ):
            return str(ast.literal_eval(statement.value))
    return None


def main() -> None:
    sys.path.append(str(Path.cwd()))  # where the installed command ``sadt-bench`` does not look
    listed = questions()
    width = max(map(len, listed)) + 2
    lines = "\n".join(f"    {name:<{width}}{question}" for name, question in listed.items())
    config = tyro.cli(BenchConfig, description=f"{__doc__}\nBenchmarks:\n{lines}")
    if config.name not in listed:
        raise SystemExit(f"jobs.bench: there is no benchmark {config.name!r}; choose one of {', '.join(listed)}")
    bench = importlib.import_module(f"benchmarks.{config.name}")
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
