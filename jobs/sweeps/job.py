"""What ``python -m jobs.sweep`` can be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from actors.tuning_config import EarlyStopping, Tracker, TrialResources
from jobs.execution import Execution
from jobs.sweeps.grid import Axes, TrialSpec, trials_of
from jobs.sweeps.presets import PRESETS

_FLAGS = ("forecast_flags", "stage_flags")


@dataclass(frozen=True)
class TrialExecution:
    """Where each trial's rollouts run."""

    address: str | None = None
    """A running Ray cluster, auto for the one on this machine; by default $RAY_ADDRESS, else one is started here."""
    num_workers: int = 0
    """Rollout workers of each trial, beside its owner; 0: every trial searches in one process, and several trials at
    a time use the cores."""
    cpus_per_worker: float = 1.0
    """CPUs of each worker, or of that one process."""
    gpus_per_worker: float | None = None
    """GPUs of each, or a fraction of one: .25 has four share a GPU; by default 1 on a cuda device, else 0."""
    device: str = "cpu"
    """Where the prior runs: cpu or cuda."""
    learner_cpus: float = 0.0
    """CPUs of a learner beside each search with workers, for --forecast-flags "--learn"."""
    at_once: int | None = None
    """Trials that may run at a time; by default as many as the cluster has, or gets, room for."""
    retries: int = 2
    """How often a trial that fails is tried again, from where it was."""

    def __post_init__(self) -> None:
        Execution(device=self.device, gpus_per_worker=self.gpus_per_worker)  # refuses what searches would
        for name in ("num_workers", "cpus_per_worker", "learner_cpus", "retries"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.cpus_per_worker + self.gpus() == 0:
            raise ValueError("a worker must take some CPU or GPU; give --cpus-per-worker or --gpus-per-worker")
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, got {self.at_once}")

    def gpus(self) -> float:
        """Of each worker."""
        return float(self.device.startswith("cuda")) if self.gpus_per_worker is None else self.gpus_per_worker

    def resources(self) -> TrialResources:
        return TrialResources(self.num_workers, self.cpus_per_worker, self.gpus(), self.learner_cpus)

    def arguments(self) -> list[str]:
        """For the search of a trial."""
        if not self.num_workers:
            return ["--executor", "serial", "--device", self.device]
        given = {name: getattr(self, name) for name in ("num_workers", "cpus_per_worker", "device")}
        flags = {"executor": "ray", **given, "gpus_per_worker": self.gpus()}
        return [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@dataclass(frozen=True)
class SweepJob:
    """Which searches, where they run, and where the results go."""

    preset: Literal["seed-table", "stages", "scaling"] | None = None
    """seed-table: the methods of S-ADT's table on ETTh1; stages: OpenTSLM's five; scaling: 50 to 5,000 rollouts.
    Axes given beside it replace the preset's."""
    dataset: tuple[str, ...] = ()
    """Series to forecast: ETTh1, synthetic, or a name for --forecast-flags "--data-file mine.csv"."""
    stage: tuple[str, ...] = ()
    """Stages of OpenTSLM: 1 to 5, or tsqa, m4, har, sleep, ecg."""
    method: tuple[str, ...] = ()
    """Methods of `python -m jobs.search`; each is run on the tasks that have it."""
    n_rollouts: tuple[int, ...] = ()
    """Rollouts per context, rationales per question."""
    inv_temperature: tuple[float, ...] = ()
    """lambda of the target p(x) exp(lambda r(x))."""
    spectral_weight: Annotated[tuple[float, ...], tyro.conf.arg(aliases=["--spectral-gamma", "--spectral_gamma"])] = ()
    """Weights of the spectral reward."""
    alpha: tuple[float, ...] = ()
    """Shares of the flow in selection, for sadt and sadt-tree."""
    seed: tuple[int, ...] = ()
    """Seeds; of a stage also which stand-in. 0 by default."""
    forecast_flags: str = ""
    """Further flags of every forecasting search, in quotes, such as "--num-windows 8 --reward none"."""
    stage_flags: str = ""
    """Further flags of every search of a stage, such as "--num-examples 200 --checkpoint OpenTSLM/..."."""
    out: Path | None = None
    """Directory of the sweep; runs/sweep/DATE-TIME by default."""
    storage: str | None = None
    """Where trials write, if not into --out: a directory or an address (s3://..., gs://...) that every node reaches.
    Runs that have ended are brought to --out."""
    resume: Path | None = None
    """Go on with a sweep that was stopped or killed: its directory. It keeps its settings."""
    dry_run: bool = False
    """Only say which searches these are."""
    report: bool = True
    """Write a report for each run beside the sweep's page."""
    track: tuple[Tracker, ...] = ()
    """Tell tensorboard, mlflow or wandb (off-line) too: into --out, or where their environment variables say."""
    stopping: EarlyStopping = field(default_factory=EarlyStopping)
    execution: Annotated[TrialExecution, tyro.conf.arg(name="")] = field(default_factory=TrialExecution)

    def blocks(self) -> list[Axes]:
        """The products of axes that make up the sweep."""
        names = ("dataset", "stage", "method", "n_rollouts", "inv_temperature", "spectral_weight", "alpha", "seed")
        given = {name: getattr(self, name) for name in (*names, *_FLAGS) if getattr(self, name)}
        if self.preset is None:
            return [Axes(**given)]
        return [_with_given(block, given) for block in PRESETS[self.preset]]

    def trials(self) -> list[TrialSpec]:
        """See ``trials_of``."""
        return trials_of(self.blocks())


def axes_of(trials: Sequence[TrialSpec]) -> dict[str, Sequence[Any]]:
    """Every value of every axis, as the page names them."""
    names = ("task", "method", "n_rollouts", "inv_temperature", "spectral_weight", "alpha", "seed")
    return {name: sorted({getattr(trial, name) for trial in trials} - {None}) for name in names}


def _with_given(block: Axes, given: dict[str, Any]) -> Axes:
    """The preset's block with what was given in place of its own; flags are added, a later one counts.

    A block keeps its kind of tasks: ``--dataset`` does not make forecasts of stages.
    """
    given = {name: value for name, value in given.items() if name not in ("dataset", "stage") or getattr(block, name)}
    flags = {name: f"{getattr(block, name)} {given[name]}".strip() for name in _FLAGS if name in given}
    return replace(block, **{**given, **flags})
