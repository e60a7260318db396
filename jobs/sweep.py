"""Many searches, one page: stages and data sets x methods x rollouts x lambda x spectral weight x alpha x seeds.

Every trial is an ordinary search with a run directory and a report of its own, queued, placed, retried and restored by
Ray Tune: on the cores of this machine, or on a cluster that grows with the queue and shrinks when it is empty. The
sweep's directory holds its page (report.html), the tables (results.csv, .parquet, .md) and the runs.
Ctrl-C stops a sweep and keeps what there is; --resume goes on.

Examples:
    python -m jobs.sweep --preset stages
    python -m jobs.sweep --preset seed-table --dry-run
    python -m jobs.sweep --dataset ETTh1 --method dts sadt --n-rollouts 200 2000 --inv-temperature 2 10 50 --seed 0 1
    python -m jobs.sweep --stage 3 4 --method answer-vote sadt --spectral-weight 0 1 --stage-flags "--num-examples 200"
    python -m jobs.sweep --preset scaling --address auto --num-workers 4 --gpus-per-worker 0.25 --device cuda
    python -m jobs.sweep --resume runs/sweep/20260101-120000-000000
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from actors.cluster import RayUnavailable, connect, disconnect
from actors.tuning_config import WAITING
from jobs.refusal import Refused, refusing
from jobs.reporting import page_or_reason
from jobs.resume import CONFIG, settled, without_resume
from jobs.sweeps.grid import TrialSpec
from jobs.sweeps.job import SweepJob, axes_of
from jobs.sweeps.places import RUNS, Places
from jobs.sweeps.trial import run_trial
from jobs.tables import print_table
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.lock import only_writer

TRIALS = "trials.json"


def parse(arguments: list[str]) -> tuple[SweepJob, list[str]]:
    """The job of a command line, or of the sweep that it resumes, with the command line that this began with."""
    arguments = bound(arguments)
    job = tyro.cli(SweepJob, description=__doc__, args=arguments)
    if job.resume is None:
        return job, arguments
    path = job.resume / CONFIG
    if not (job.resume / TRIALS).exists() or not path.exists():
        raise ValueError(f"{job.resume} is not the directory of a sweep: it has no {TRIALS}")
    config = json.loads(path.read_text())
    given = without_resume(arguments)
    if given:
        raise ValueError(f"a sweep keeps its settings; leave {shlex.join(given)} out when you resume it")
    before, now = config["environment"]["sadt-ray"], describe_environment()["sadt-ray"]
    if before != now:
        raise ValueError(f"the sweep was begun by sadt-ray {before}, this is {now}; install {before} to resume it")
    job = replace(tyro.cli(SweepJob, args=config["arguments"]), out=job.resume, resume=job.resume)
    return replace(job, storage=config["sweep"].get("storage")), config["arguments"]


def bound(arguments: Sequence[str]) -> list[str]:
    """Flags of the searches bound to theirs by ``=``: words that begin with dashes are not taken for values else."""
    words: list[str] = []
    for word in arguments:
        if words and words[-1].replace("_", "-") in ("--forecast-flags", "--stage-flags"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def begin(job: SweepJob, trials: Sequence[TrialSpec], arguments: list[str], out: Path, places: Places) -> None:
    """Make the sweep's directory, with every trial still to come. One whose storage is refused stays empty."""
    create_run_directory(out)
    places.open(job.preset)
    rows = [{**trial.row(), "run": f"{RUNS}/{trial.name}", **WAITING} for trial in trials]
    write_json(out / TRIALS, {"trials": rows, "seconds": 0.0, "complete": False, "notes": []})
    write_json(
        out / CONFIG,
        {
            "sweep": {
                "preset": job.preset,
                "blocks": [asdict(block) for block in job.blocks()],
                "axes": axes_of(trials),
                "search_arguments": job.execution.arguments(),
                "storage": settled(job.storage),
            },
            "environment": describe_environment(),
            "command": shlex.join(["python", "-m", "jobs.sweep", *arguments]),
            "arguments": arguments,
        },
    )


def run_trials(job: SweepJob, out: Path, places: Places) -> None:
    """Run what is left to be run, on the cluster at hand."""
    from actors.tuning import Grid, run_sweep

    execution = job.execution
    extra = [] if job.report else ["--no-report"]
    rows = json.loads((out / TRIALS).read_text())["trials"]
    sweep = Grid(
        trials=[{name: row[name] for name in row if name not in WAITING} for row in rows],
        shared={
            "storage": places.storage,
            "execution": [*execution.arguments(), *extra],
            "directory": str(Path.cwd()),
        },
        storage=places.storage,
        ledger=out.absolute(),
        resources=execution.resources(),
        stopping=job.stopping,
        retries=execution.retries,
        at_once=execution.at_once,
        track=job.track,
    )
    run_sweep(sweep, run_trial)


def show(out: Path, places: Places, console: Console) -> int:
    """Bring the runs here, write the page and print what was found; returns the exit code."""
    ledger = json.loads((out / TRIALS).read_text())
    for row in ledger["trials"]:
        if row["status"] in ("complete", "stopped"):
            places.fetch(row["name"], out / row["run"])
    ending = page_or_reason(out)
    states = Counter(row["status"] for row in ledger["trials"])
    lines = [_line(row, out) for row in ledger["trials"]]
    known = [name for name in lines[0] if any(line[name] is not None for line in lines)]
    print_table(console, [{name: line[name] for name in known} for line in lines])
    for row in ledger["trials"]:
        if row["error"]:
            console.print(f"{row['name']}: {row['error']}", markup=False, soft_wrap=True)
    said = ", ".join(f"{count} {state}" for state, count in states.items())
    console.print(f"{len(ledger['trials'])} trials: {said}; {ledger['seconds']:.0f} s", markup=False)
    if not ledger["complete"]:
        console.print(f"To go on: python -m jobs.sweep --resume {out}", markup=False, soft_wrap=True)
    console.print(ending, markup=False, soft_wrap=True)
    return 1 if states["failed"] else 0 if ledger["complete"] else 128 + signal.SIGINT


_SHOWN = ("nfe", "tokens", "reward", "crps", "log_spectral_distance", "accuracy", "rouge_l")


def _line(row: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A trial in the table: the figures of its run, if it has ended."""
    summary = out / row["run"] / "summary.json"
    rows = json.loads(summary.read_text())["rows"] if summary.exists() else []
    figures = {name: rows[0].get(name) if rows else None for name in _SHOWN}
    return {"trial": row["name"], "status": row["status"], "seconds": row["seconds"], **figures}


def sweep(arguments: list[str], console: Console) -> int:
    """A whole sweep, as a command line asks for it; returns the exit code. Raises Refused for bad input."""
    with ExitStack() as held:
        with refusing():
            job, arguments = parse(arguments)
            trials = job.trials()
            if job.dry_run:
                for trial in trials:
                    console.print(trial.row()["command"], markup=False, soft_wrap=True, highlight=False)
                console.print(f"{len(trials)} trials", markup=False)
                return 0
            out = (job.out or Path("runs/sweep") / datetime.now().strftime("%Y%m%d-%H%M%S-%f")).absolute()
            places = Places(settled(job.storage) or str(out))
            join_cluster(job)
            if job.resume is None:
                begin(job, trials, arguments, out, places)
            held.enter_context(only_writer(out, name=".sweep-lock"))
        console.print(f"{len(trials)} trials into {out}", markup=False, soft_wrap=True)
        try:
            run_trials(job, out, places)
        finally:
            disconnect()
        return show(out, places, console)


_TRACKERS = {
    "tensorboard": ("tensorboardX", "'sadt-ray[tune]'"),
    "mlflow": ("mlflow", "'sadt-ray[track]'"),
    "wandb": ("wandb", "wandb"),
}


def join_cluster(job: SweepJob) -> None:
    """Join the cluster, or start one here.

    Raises ValueError if that cannot be, or what is needed is not installed, or a trial would wait here for room for
    ever.
    """
    for tracker in job.track:
        module, package = _TRACKERS[tracker]
        if find_spec(module) is None:
            raise ValueError(f"--track {tracker} needs {module}; pip install {package}")
    address = job.execution.address or os.environ.get("RAY_ADDRESS")
    try:
        room = connect(address)
        import actors.tuning  # noqa: F401
    except RayUnavailable as error:
        raise ValueError(str(error)) from None
    except ImportError as error:
        raise ValueError(f"a sweep needs Ray Tune ({error}); pip install 'sadt-ray[tune]'") from None
    if address is None:
        job.execution.resources().check(room)


def main() -> None:
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        raise SystemExit(sweep(sys.argv[1:], Console()))
    except Refused as error:
        raise SystemExit(f"jobs.sweep: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
