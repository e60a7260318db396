"""From axes to trials: every combination that means something, each an ordinary search with a name."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal

import tyro

from jobs.search_job import SearchJob
from jobs.stage_job import StageJob
from sadt_ray.methods import METHODS, parameters_of
from sadt_ray.opentslm.methods import STAGE_METHODS
from sadt_ray.opentslm.stage_spec import stage_spec

_FORECASTERS = ("prior", "snis", "dts", "dts-late", "sadt")
_ANSWERERS = ("greedy", "self-consistency", "answer-vote", "sadt")


@dataclass(frozen=True)
class Axes:
    """What a sweep goes through. An empty axis has one value: that of ``python -m jobs.search``.

    Attributes:
        dataset, stage: tasks, each with those of the methods that its kind has.
        forecast_flags, stage_flags: further flags of every search of a kind.
    """

    dataset: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    n_rollouts: tuple[int, ...] = ()
    inv_temperature: tuple[float, ...] = ()
    spectral_weight: tuple[float, ...] = ()
    alpha: tuple[float, ...] = ()
    seed: tuple[int, ...] = (0,)
    forecast_flags: str = ""
    stage_flags: str = ""


@dataclass(frozen=True)
class TrialSpec:
    """One search of a sweep.

    Attributes:
        kind, task: a data set to forecast, or a stage with its number.
        inv_temperature, spectral_weight: None for a method that asks no reward.
        alpha: None but for methods that have one, and were given it.
        arguments: of ``python -m jobs.search``, but for where it runs and where the results go.
    """

    kind: Literal["forecast", "stage"]
    task: str
    method: str
    n_rollouts: int | None
    inv_temperature: float | None
    spectral_weight: float | None
    alpha: float | None
    seed: int
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the trial and of its run directory."""
        marks = {"n": self.n_rollouts, "l": self.inv_temperature, "w": self.spectral_weight, "a": self.alpha}
        given = [f"{mark}{str(value).removesuffix('.0')}" for mark, value in marks.items() if value is not None]
        return "-".join([re.sub(r"[^\w.]+", "-", self.task), self.method, *given, f"seed{self.seed}"])

    def row(self) -> dict[str, Any]:
        """As it is filed: what ``trials.json`` says of it before it begins."""
        command = shlex.join(["python", "-m", "jobs.search", *self.arguments])
        return {"name": self.name, **asdict(self), "arguments": list(self.arguments), "command": command}


def trials_of(blocks: Iterable[Axes]) -> list[TrialSpec]:
    """Every trial once, by seed and then in turn of the tasks: a sweep that is cut short has something of everything,
    and trials that run side by side seldom wait for the same stand-in to be trained.

    Raises ValueError for an unknown method or stage, or if there is nothing to run.
    """
    found: dict[str, TrialSpec] = {}
    for axes in blocks:
        _check_methods(axes)
        for trial in (*_forecasts(axes), *_stages(axes)):
            found.setdefault(trial.name, trial)
    if not found:
        raise ValueError("there is nothing to run; give --dataset, --stage or --preset")
    turns: Counter[tuple[int, str]] = Counter()
    place = {}
    for trial in found.values():
        turns[trial.seed, trial.task] += 1
        place[trial.name] = (trial.seed, turns[trial.seed, trial.task])
    return sorted(found.values(), key=lambda trial: place[trial.name])


def _forecasts(axes: Axes) -> Iterator[TrialSpec]:
    methods = [method for method in axes.method or _FORECASTERS if method in METHODS]
    for dataset, method, (n_rollouts, inv_temperature, weight), alpha, seed in product(
        axes.dataset, methods, _knobs(axes), axes.alpha or (None,), axes.seed
    ):
        given = {"dataset": dataset, "method": method, "n-rollouts": n_rollouts, "inv-temperature": inv_temperature}
        given |= {"spectral-weight": weight, "alpha": alpha if "alpha" in parameters_of(method) else None, "seed": seed}
        arguments = _arguments(given, axes.forecast_flags)
        job = tyro.cli(SearchJob, args=arguments)
        lam, weight = job.resolved_inv_temperature(), job.spectral_weight
        yield TrialSpec("forecast", dataset, method, job.n_rollouts, lam, weight, job.alpha, seed, tuple(arguments))


def _stages(axes: Axes) -> Iterator[TrialSpec]:
    methods = [STAGE_METHODS[method] for method in axes.method or _ANSWERERS if method in STAGE_METHODS]
    for stage, method, (n_rollouts, inv_temperature, weight), seed in product(
        axes.stage, methods, _knobs(axes), axes.seed
    ):
        spec = stage_spec(stage)
        given = {"stage": spec.number, "method": method.name, "n-rollouts": method.rollouts or n_rollouts}
        given |= {"inv-temperature": inv_temperature, "spectral-weight": weight} if method.rewarded else {}
        arguments = _arguments(given | {"seed": seed}, axes.stage_flags)
        job = tyro.cli(StageJob, args=arguments)
        lam, weight = (job.inv_temperature, job.spectral_weight) if method.rewarded else (None, None)
        task = f"{spec.number} {spec.name}"
        yield TrialSpec("stage", task, method.name, job.n_rollouts, lam, weight, None, seed, tuple(arguments))


def _knobs(axes: Axes) -> list[tuple[Any, ...]]:
    """Budgets and tilts that both kinds of tasks have."""
    return list(product(axes.n_rollouts or (None,), axes.inv_temperature or (None,), axes.spectral_weight or (None,)))


def _arguments(given: dict[str, Any], flags: str) -> list[str]:
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    return words + shlex.split(flags)


def _check_methods(axes: Axes) -> None:
    """Raises ValueError unless every method is one of some task, and every task has one of the methods."""
    kinds = [known for tasks, known in ((axes.dataset, METHODS), (axes.stage, STAGE_METHODS)) if tasks]
    choice = ", ".join(sorted({name for known in kinds for name in known}))
    for method in axes.method:
        if kinds and not any(method in known for known in kinds):
            raise ValueError(f"there is no method {method!r} for these tasks; choose of {choice}")
    if axes.method and any(not set(axes.method) & set(known) for known in kinds):
        raise ValueError(f"some of the tasks have none of the methods {', '.join(axes.method)}; choose of {choice}")
