"""From the trajectories of searches to a flow: which runs, which features, how long."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import tyro
from rich.console import Console

from jobs.learning import process_facts
from jobs.search import build_task
from jobs.search_job import SearchJob
from jobs.training_bars import TrainingBars
from sadt_ray.flow.buffer import TrajectoryBuffer
from sadt_ray.flow.examples import examples_of
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.flow.training import FlowTraining
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.flow.training_file import load_training, save_training
from sadt_ray.processes.fingerprint import prior_fingerprint
from sadt_ray.processes.walk import level_positions

HARVEST = "python -m jobs.search --method smc-debiased --split train --num-windows 40 --harvest --out RUN"
_BELOW, _ABOVE = 10.0, 1.6  # lambdas about that of the search, over and under which a flow is trained


@dataclass(frozen=True)
class TrainFlowConfig:
    """Train the flow F_phi on what searches recorded: the soft value of every state, for sadt and sadt-tree.

    A minute on one core for half a million states. Some contexts are held out, and say when to stop. Ctrl-C keeps a
    checkpoint; the same command with --resume continues from it.
    """

    buffer_path: tuple[Path, ...]
    """Runs of jobs.search, or directories of trajectories in them; they need siblings, as --harvest records them."""
    out: Path = Path("runs/train/flow.safetensors")
    """Where the weights go; a record and the checkpoint stand beside it."""
    lr: float = TrainingConfig.lr
    """Highest learning rate."""
    epochs: int = 20
    """Passes over all families."""
    batch: int = TrainingConfig.batch
    """Siblings a step."""
    loss: str = TrainingConfig.loss
    """db, tb, tb-var, subtb-0.9, or a weighted sum such as 0.1*tb-var+db."""
    regression: str = TrainingConfig.regression
    """squared, huber or linex."""
    hidden: int = TrainingConfig.hidden
    """Width of the network."""
    min_inv_temperature: float | None = None
    """Lowest lambda it is trained for; a tenth of the searches' by default."""
    max_inv_temperature: float | None = None
    """Highest; 1.6 times the searches' by default."""
    patience: int = TrainingConfig.patience
    """Validations without a better loss after which it stops."""
    resume: bool = False
    """Continue from the checkpoint beside --out, if there is one."""
    seed: int = 0
    """Of initial weights and batches."""
    threads: int = 1
    """CPU threads. On cores that others use too, two are many times slower than one."""


class Source(NamedTuple):
    """One directory of trajectories, with what its search was about."""

    inputs: FlowInputs
    names: list[str]
    positions: np.ndarray  # of its levels
    facts: dict[str, Any]
    multiply_adds: int
    swept: bool  # see ``examples_of``


def train_flow(config: TrainFlowConfig, console: Console) -> Path:
    """Read, featurise, train, save; returns the path of the weights."""
    if config.epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {config.epochs}")
    torch.set_num_threads(config.threads)
    buffer = TrajectoryBuffer(config.buffer_path)
    sources = [
        _source(directory, bool(facts.get("swept")), console)
        for directory, facts in zip(buffer.nodes.directories, buffer.facts, strict=True)
    ]
    facts = _common([source.facts for source in sources], buffer.nodes.directories)
    training = _training(config, buffer, sources, facts["inv_temperature"])
    checkpoint = config.out.with_suffix(".checkpoint")
    if config.resume and checkpoint.exists():
        _load(training, checkpoint)
    steps = training.config.steps
    console.print(
        f"{len(training):,} states, {training.num_families:,} families, lambda {training.config.min_inv_temperature:g} "
        f"to {training.config.max_inv_temperature:g}, at most {steps:,} steps -> {config.out}",
        soft_wrap=True,
    )
    with TrainingBars(console) as bars:
        _fit(training, checkpoint, lambda losses: bars.show("flow", training.step, steps, losses))
    training.flow(facts=facts).save(config.out)
    record = {"config": asdict(training.config), "metrics": training.metrics(), "facts": facts}
    config.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    console.print(_verdict(training))
    return config.out


def _fit(training: FlowTraining, checkpoint: Path, show: Callable[[str], None]) -> None:
    """Until the steps are made or patience ends."""
    config = training.config
    while training.step < config.steps and training.patient:
        until_validated = config.validate_every - training.step % config.validate_every
        metrics = training.run(min(until_validated, config.steps - training.step, 50))
        best = training.best
        beside = f", held out {best.loss:.4f} (base {best.base_loss:.4f})" if best is not None else ""
        show(f"loss {metrics['loss']:.4f}{beside}")
        if training.step % config.validate_every == 0:
            _save(training, checkpoint)
    training.validate()
    _save(training, checkpoint)


def _training(config: TrainFlowConfig, buffer: TrajectoryBuffer, sources: Sequence[Source], lam: float) -> FlowTraining:
    """With all rows absorbed. Raises ValueError if there is too little to learn from."""
    nodes, first = buffer.nodes, sources[0]
    num_families = int(np.count_nonzero(nodes.num_children >= TrainingConfig.min_siblings))
    settings = TrainingConfig(
        steps=max(1, config.epochs * math.ceil(num_families / config.batch)),
        lr=config.lr,
        batch=config.batch,
        loss=config.loss,
        regression=config.regression,
        hidden=config.hidden,
        min_inv_temperature=config.min_inv_temperature or lam / _BELOW,
        max_inv_temperature=config.max_inv_temperature or lam * _ABOVE,
        patience=config.patience,
        seed=config.seed,
        max_rows=len(buffer) + 1,
    )
    parts = [
        examples_of(
            nodes,
            source.inputs,
            source.names,
            source.positions,
            np.flatnonzero(nodes.directory == number),
            source.swept,
        )
        for number, source in enumerate(sources)
    ]
    width = max(part.features.shape[1] for part in parts)
    training = None
    if width:
        inputs = first.inputs
        flow = settings.flow_config(width, inputs.num_positions, inputs.look_ahead, inputs.groups)
        training = FlowTraining(settings, flow, first.multiply_adds)
        for part in parts:
            training.absorb(part)
    if training is None or not training.ready:
        raise ValueError(
            f"{', '.join(map(str, config.buffer_path))}: {sum(map(len, parts)):,} states in {num_families} families "
            f"of {settings.min_siblings} siblings or more, too little to learn from; `{HARVEST}` records whole families"
        )
    return training


def _source(directory: Path, swept: bool, console: Console) -> Source:
    """Process and reward of the run that a directory of trajectories lies in."""
    run = directory.parent.parent
    if not (run / "config.json").exists():
        raise ValueError(f"{directory} lies in no run: {run} has no config.json, which says of what process it is")
    config = json.loads((run / "config.json").read_text())
    job = tyro.cli(SearchJob, args=list(config["arguments"]))
    task = build_task(job, console)
    steps = {method["name"]: method["branch_steps"] for method in config["methods"]}
    process = task.process.with_branch_steps(tuple(steps[directory.name]))
    chain, scorer = process.bind(task.problems), task.reward.bind(task.problems)
    positions = np.asarray(level_positions(chain, process.num_levels))
    facts = {
        "dataset": config["search"].get("dataset") or "ETTh1",
        "process": process_facts(job, process),
        "prior": prior_fingerprint(process),
        "reward": config["search"]["reward"],
        "inv_temperature": job.resolved_inv_temperature(),
    }
    names = [problem.name for problem in task.problems]
    inputs = FlowInputs(chain, scorer, int(positions[-1]) + 1)
    return Source(inputs, names, positions, facts, int(getattr(task.process.denoiser, "multiply_adds", 0)), swept)


def _common(facts: Sequence[dict[str, Any]], directories: Sequence[Path]) -> dict[str, Any]:
    """What all sources agree on. Raises ValueError where they do not."""
    for name in ("process", "reward"):
        for directory, theirs in zip(directories, facts, strict=True):
            if theirs[name] != facts[0][name]:
                raise ValueError(
                    f"{directory} and {directories[0]} are of another {name}: {theirs[name]} and {facts[0][name]}; "
                    "a flow is trained for one"
                )
    return {**facts[0], "inv_temperature": max(theirs["inv_temperature"] for theirs in facts)}


def _save(training: FlowTraining, path: Path) -> None:
    save_training(path, training.state(), {"config": asdict(training.config), "rows": len(training)})


def _load(training: FlowTraining, path: Path) -> None:
    """Raises ValueError for the checkpoint of another training."""
    state, facts = load_training(path)
    ours, theirs = asdict(training.config), facts["config"]
    different = [name for name in ours if theirs.get(name) != ours[name] and name != "patience"]
    if different or facts["rows"] != len(training):
        what = ", ".join(different) or f"data: {facts['rows']:,} rows then, {len(training):,} now"
        raise ValueError(f"{path} is of a training with other {what}; use the same, or start without --resume")
    training.restore(state)


def _verdict(training: FlowTraining) -> str:
    if training.best is None:
        return (
            "Nothing better than the look-ahead base was found on the contexts held out: the flow is the base. Give it "
            "more trajectories or a lower --lr."
            if training.latest is not None
            else "No context could be held out: the flow is as trained, and nobody has judged it."
        )
    best = training.best
    return (
        f"Held-out contexts, one-step residual: {best.rms:.3f} nats rms, {best.base_rms:.3f} for the look-ahead alone; "
        f"best at step {training.best_step:,}. It cost {training.cost_nfe:,.0f} evaluations beside the trajectories."
    )
