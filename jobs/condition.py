"""Scenarios of a forecast in which a condition holds, with the probability that it does.

Reads a forecast (quantiles or samples in a CSV or Parquet file), prints the probability, and writes a directory with
scenarios, quantiles, a summary and a report (report.html).

Examples:
    python -m jobs.condition --forecast examples/data/load.csv --given "max > 1300"
    python -m jobs.condition --forecast q.csv --given "max > 1500 and sum[day 1] = 32000 +- 500" --out runs/x
    python -m jobs.condition --forecast q.parquet --model AutoARIMA --lower 0 --given "ramp < 200" --format parquet

Exit codes: 0 found; 4 no sample of an item satisfies the condition; 1 input that cannot be used; 130 Ctrl-C.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from jobs.execution import Execution, choose_executor, close_executor
from jobs.help import asks_for_help, print_help
from jobs.refusal import NOTHING_SATISFIES, Refused, refusing
from jobs.tables import print_table
from sadt_ray.conditioning.condition import condition
from sadt_ray.conditioning.scenarios import ConditionedForecasts
from sadt_ray.conditions.parse import parse_condition
from sadt_ray.conditions.words import describe
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.forecasts.read import read_forecast
from sadt_ray.tree.warm_up import compile_kernels

HOME = Path("runs/condition")
GROUPS: dict[str, tuple[str, ...]] = {
    "The forecast": ("forecast", "model", "step", "zone", "lower", "upper", "crossing", "correlation", "unit"),
    "What must hold": ("given",),
    "How it is searched": ("method", "n_rollouts", "max_nfe", "seed"),
    "Where results go": ("num_scenarios", "out", "format"),
}


@dataclass(frozen=True)
class ConditionJob:
    """A forecast, a condition, and where the results go."""

    forecast: Path
    """CSV or Parquet file: quantiles or samples, one row per item and date."""
    given: str
    """The condition, such as "max > 1500 and sum[day 1] = 32000 +- 500", in the units and dates of the file."""
    num_scenarios: int = 200
    """Scenarios of each item; fewer where a path would come more than three times."""
    method: str = "auto"
    """auto chooses by measured weights; or snis (prior sampling), sadt, tempered, surrogate."""
    n_rollouts: int | None = None
    """Budget of the method in rollouts per item: 256 by default, 4,096 prior samples of a forecast."""
    max_nfe: int | None = None
    """Budget of the method in function evaluations per item, in place of --n-rollouts."""
    seed: int = 0
    """Every random number follows from it."""
    model: str | None = None
    """Name of the model, where the file has several."""
    step: str | None = None
    """From one date to the next, such as h or 30min; by default found from the dates."""
    zone: str | None = None
    """Time zone of dates without one, or to convert dates to, such as Europe/Berlin."""
    lower: float | None = None
    """Limit that no value is below, such as 0."""
    upper: float | None = None
    """Limit that no value is above."""
    crossing: Literal["refuse", "sort"] = "refuse"
    """Quantiles that cross are refused, or sorted."""
    correlation: str | None = None
    """How time steps move together: the correlation of neighbours, such as 0.95, or independent; 0.9 if not given."""
    unit: str = ""
    """Of the values, such as MW."""
    out: Path | None = None
    """A new directory; runs/condition/DATE-TIME by default."""
    format: Literal["csv", "parquet"] = "csv"
    """Of the scenarios."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=lambda: Execution("serial"))

    def read(self) -> Forecast:
        """The forecast. Raises what ``read_forecast`` raises."""
        return read_forecast(
            self.forecast,
            model=self.model,
            step=self.step,
            zone=self.zone,
            lower=self.lower,
            upper=self.upper,
            crossing=self.crossing,
            unit=self.unit,
            correlation=_number_or_name(self.correlation),
        )


def _number_or_name(text: str | None) -> Any:
    try:
        return text if text is None else float(text)
    except ValueError:
        return text


def run(arguments: list[str], console: Console) -> int:
    """A whole call, as a command line asks for it; returns the exit code. Raises Refused for bad input."""
    job = tyro.cli(ConditionJob, args=arguments)
    say: Callable[[str], None] = lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)  # noqa: E731
    place = job.out or HOME / datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    with refusing():
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ValueError(f"{place} is not empty; choose another directory (--out) or remove it")
        parsed, forecast = parse_condition(job.given), job.read()
        told = describe(parsed, forecast.problems()[0], (len(forecast.channels), forecast.horizon))
        with console.status("loading; the first time on a machine, kernels are compiled (minutes)"):
            compile_kernels()
        executor, session = choose_executor(job.execution, console)
        try:
            found = condition(
                forecast, parsed, job.num_scenarios, method=job.method, n_rollouts=job.n_rollouts,
                max_nfe=job.max_nfe, seed=job.seed, session=session,
            )  # fmt: skip
        finally:
            close_executor(executor)
        settings = {"command": shlex.join(["python", "-m", "jobs.condition", *arguments]), "forecast": repr(forecast)}
        where, missing = found.save(place, job.format, settings)
    _say(found, told, say, console)
    say(f"{'report: ' + str(where / 'report.html') if not missing else f'run: {where}; {missing}'}")
    say(f"files:  scenarios.{job.format}, quantiles.csv, summary.json in {where}")
    return NOTHING_SATISFIES if found.impossible else 0


def _say(found: ConditionedForecasts, told: str, say: Callable[[str], None], console: Console) -> None:
    """The probability first."""
    items = list(found.values())
    if len(items) == 1:
        say(f"P = {items[0].probability_text()}: {told}")
    else:
        values = [each.probability for each in items]
        say(f"P from {min(values):.3g} to {max(values):.3g} for {len(items):,} items: {told}")
    print_table(console, found.rows())
    for each in items:
        for note in each.notes:
            say(f"{each.name}: {note}")
    if len(items) == 1:
        say(f"{items[0].method}: {items[0].why}; interval {items[0].interval_method}.")


def main() -> None:
    arguments = sys.argv[1:]
    if asks_for_help(arguments):
        print_help(arguments, __doc__ or "", ConditionJob, GROUPS)
        return
    try:
        raise SystemExit(run(arguments, Console()))
    except Refused as error:
        raise SystemExit(f"jobs.condition: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
