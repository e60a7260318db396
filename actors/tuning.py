"""Many searches on one cluster: Ray Tune queues, places, retries, stops and restores them."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # those that are asked for, and no others
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # that of its two outputs which can be turned off
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a short search ends before it is looked at
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # searches name files, and rewards, from where the sweep stands

from ray import tune  # after its environment is set
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from actors.ledger import Ledger
from actors.trial import Run, trial_class
from actors.tuning_config import EarlyStopping, Tracker, TrialResources

TUNE = "tune"
"""Folder of a sweep's storage that Tune keeps its own state in."""
_NO_END = 10**15  # evaluations: budgets are the searches' own


@dataclass(frozen=True)
class Sweep:
    """What is run, and how.

    Attributes:
        trials: a mapping each, with a ``name`` of its own: ``run`` is called with one as ``trial``.
        shared: what ``run`` is called with beside it.
        storage: directory or address that every node reaches.
        ledger: where ``trials.json`` and ``nodes.jsonl`` are kept up to date, on this machine.
        retries: how often a trial that fails is tried again.
        at_once: trials; None for as many as the cluster has, or may get, room for.
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


def run_sweep(sweep: Sweep, run: Run) -> None:
    """Run all trials, or those that are left of a sweep whose state Tune finds in the storage.

    Returns when every trial has ended, for good or bad, or when this process was asked to stop.
    """
    trainable = tune.with_resources(trial_class(run), tune.PlacementGroupFactory(sweep.resources.bundles()))
    space = {"trial": tune.grid_search([dict(trial) for trial in sweep.trials]), **sweep.shared}
    experiment = f"{sweep.storage.rstrip('/')}/{TUNE}"
    if tune.Tuner.can_restore(experiment):  # where its state is damaged, or was not written yet, Tune begins anew
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
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # what ``ray job stop`` sends
    tuner.fit()


def _scheduler(stopping: EarlyStopping) -> TrialScheduler:
    told: dict[str, Any] = {"time_attr": "evaluations", "metric": stopping.metric, "mode": "max"}
    if stopping.scheduler == "asha":
        return ASHAScheduler(**told, grace_period=stopping.after, max_t=_NO_END, reduction_factor=2)
    if stopping.scheduler == "median":
        never: Any = math.inf  # is a trial paused to let others catch up: it would load everything again
        return MedianStoppingRule(**told, grace_period=stopping.after, min_time_slice=never)
    return FIFOScheduler()


def _name(trial: Any) -> str:
    return str(trial.config["trial"]["name"])


def _tracker(name: Tracker, sweep: Sweep) -> Any:
    """One of Tune's own loggers. Raises ImportError naming what is to be installed."""
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
