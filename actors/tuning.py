"""A grid of searches on one cluster: Ray Tune queues, places, retries, stops and restores them."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # only the loggers of ``Grid.track``
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the old output can be turned off, the new one cannot
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a short search may end before its first report
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # paths and rewards are relative to the directory of the command

from ray import tune  # after the environment is set
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from actors.ledger import Ledger
from actors.trial import Run, trial_class
from actors.tuning_config import EarlyStopping, Tracker, TrialResources

TUNE = "tune"
"""Folder of Tune's own state in the storage."""
_NO_END = 10**15  # evaluations: each search has its own budget


@dataclass(frozen=True)
class Grid:
    """A grid of searches and its settings.

    Attributes:
        trials: one mapping per trial, with a unique ``name``. ``run`` gets it as ``trial``.
        shared: further arguments of ``run``, the same for all trials.
        storage: directory or address that every node can reach.
        ledger: directory of ``trials.json`` and ``nodes.jsonl`` on this machine.
        resources: resources per trial.
        stopping: rule that stops trials early.
        retries: number of retries of a failed trial.
        at_once: largest number of trials at the same time; None for as many as the cluster has, or may get, room for.
        track: loggers of Tune.
    """

    trials: Sequence[Mapping[str, Any]]
    shared: Mapping[str, Any]
    storage: str
    ledger: Path
    resources: TrialResources
    stopping: EarlyStopping
    retries: int = 2
    at_once: int | None = None
    track: tuple[Tracker, ...] = ()


def run_sweep(sweep: Grid, run: Run) -> None:
    """Run all trials, or resume them if the storage holds the state of the same grid.

    Returns when every trial has ended, with or without success, or after a signal to stop.
    """
    trainable = tune.with_resources(trial_class(run), tune.PlacementGroupFactory(sweep.resources.bundles()))
    space = {"trial": tune.grid_search([dict(trial) for trial in sweep.trials]), **sweep.shared}
    experiment = f"{sweep.storage.rstrip('/')}/{TUNE}"
    if tune.Tuner.can_restore(experiment):  # with a damaged or missing state, Tune starts anew
        tuner = tune.Tuner.restore(
            experiment, trainable, resume_unfinished=True, restart_errored=True, param_space=space
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                scheduler=_scheduler(sweep.stopping),
                max_concurrent_trials=sweep.at_once,
                reuse_actors=sweep.resources.num_workers == 0,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name=TUNE,
                storage_path=sweep.storage,
                failure_config=tune.FailureConfig(max_failures=sweep.retries),
                callbacks=[Ledger(sweep.ledger), *(_tracker(name, sweep) for name in sweep.track)],
                verbose=0,
            ),
        )
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # ``ray job stop`` sends SIGTERM
    tuner.fit()


def _scheduler(stopping: EarlyStopping) -> TrialScheduler:
    told: dict[str, Any] = {"time_attr": "evaluations", "metric": stopping.metric, "mode": "max"}
    if stopping.scheduler == "asha":
        return ASHAScheduler(**told, grace_period=stopping.after, max_t=_NO_END, reduction_factor=2)
    if stopping.scheduler == "median":
        never: Any = math.inf  # never pause a trial for others to catch up: it would load everything again
        return MedianStoppingRule(**told, grace_period=stopping.after, min_time_slice=never)
    return FIFOScheduler()


def _name(trial: Any) -> str:
    return str(trial.config["trial"]["name"])


def _tracker(name: Tracker, sweep: Grid) -> Any:
    """Make a logger of Tune. Raises ImportError with the name of a missing package."""
    if name == "tensorboard":
        from ray.tune.logger import TBXLoggerCallback

        return TBXLoggerCallback()
    if name == "wandb":
        from ray.air.integrations.wandb import WandbLoggerCallback

        os.environ.setdefault("WANDB_MODE", "offline")
        return WandbLoggerCallback(project="sadt-ray", dir=str(sweep.ledger))
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{sweep.ledger.absolute()}/mlflow.db")
    return MLflowLoggerCallback(tracking_uri=uri, experiment_name=f"sadt-ray {sweep.ledger.name}")
