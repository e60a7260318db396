"""The flow F_phi, trained on the trajectories that searches have recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sadt_ray.comparison import described
from sadt_ray.flow.buffer import TrajectoryBuffer
from sadt_ray.flow.examples import examples_of
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.flow.learner import LAMBDA_RANGE
from sadt_ray.flow.training import FlowTraining
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.flow.training_file import load_training, save_training
from sadt_ray.forecasting import build_forecast_task, process_facts, settings_of_run
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.numerics.threads import limited_threads
from sadt_ray.processes.fingerprint import prior_fingerprint
from sadt_ray.processes.walk import level_positions
from sadt_ray.training.progress import Show, show_nothing

RECORDING = "python -m jobs.search --method smc-debiased --split train --num-windows 40 --record-particles --out RUN"
"""A search that leaves trajectories which a flow can be trained on."""


@dataclass(frozen=True)
class FlowSettings:
    """Train the flow F_phi on what searches recorded: the soft value of every state, for sadt and sadt-tree.

    A minute on one core for half a million states. Some contexts are held out, and say when to stop. Ctrl-C keeps a
    checkpoint; the same command with --resume continues from it.
    """

    buffer_path: tuple[Path, ...]
    """Runs of jobs.search, or directories of trajectories in them, with siblings as --record-particles writes them."""
    out: Path = Path("runs/train/flow.safetensors")
    """Where the weights go; a record and the checkpoint stand beside it."""
    lr: float = TrainingConfig.lr
    """Highest learning rate."""
    epochs: int = 20
    """Passes over all groups of siblings."""
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


class Searched(NamedTuple):
    """What a run that Python began had searched, which its directory does not say."""

    process: GenerativeProcess
    problems: Sequence[Problem]
    reward: Reward


class TrainedFlow(NamedTuple):
    """A flow and how it was trained.

    Attributes:
        flow: F_phi, the best version on the contexts held out.
        path: of its weights.
        training: with its losses and its cost.
    """

    flow: Flow
    path: Path
    training: FlowTraining

    def describe(self) -> str:
        """How good it is, in a sentence."""
        return _verdict(self.training)


def train_flow(
    settings: FlowSettings,
    searched: Searched | None = None,
    tell: Callable[[str], None] = lambda _: None,
    show: Show = show_nothing,
) -> TrainedFlow:
    """Train the flow F_phi on what searches recorded, and save it.

    Args:
        settings: which trajectories, how long, where the weights go.
        searched: process, problems and reward of runs that ``sample`` or ``compare`` began; those of
            ``python -m jobs.search`` know their own.
        tell: told in a sentence what is trained on.
        show: see ``Show``.

    Raises:
        ValueError: for trajectories that are missing, too few, or of different priors or rewards.
    """
    if settings.epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {settings.epochs}")
    with limited_threads(settings.threads):
        buffer = TrajectoryBuffer(settings.buffer_path)
        sources = [
            _source(directory, bool(facts.get("swept")), searched)
            for directory, facts in zip(buffer.nodes.directories, buffer.facts, strict=True)
        ]
        facts = _common([source.facts for source in sources], buffer.nodes.directories)
        training = _training(settings, buffer, sources, facts["inv_temperature"])
        checkpoint = settings.out.with_suffix(".checkpoint")
        if settings.resume and checkpoint.exists():
            _load(training, checkpoint)
        config, steps = training.config, training.config.steps
        tell(
            f"{len(training):,} states, {training.num_families:,} groups of siblings, lambda "
            f"{config.min_inv_temperature:g} to {config.max_inv_temperature:g}, at most {steps:,} steps -> "
            f"{settings.out}"
        )
        _fit(training, checkpoint, lambda losses: show("flow", training.step, steps, losses))
        flow = training.flow(facts=facts)
    flow.save(settings.out)
    record = {"config": asdict(training.config), "metrics": training.metrics(), "facts": facts}
    settings.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    return TrainedFlow(flow, settings.out, training)


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


def _training(settings: FlowSettings, buffer: TrajectoryBuffer, sources: Sequence[Source], lam: float) -> FlowTraining:
    """With all rows absorbed. Raises ValueError if there is too little to learn from."""
    nodes, first = buffer.nodes, sources[0]
    num_families = int(np.count_nonzero(nodes.num_children >= TrainingConfig.min_siblings))
    config = TrainingConfig(
        steps=max(1, settings.epochs * math.ceil(num_families / settings.batch)),
        lr=settings.lr,
        batch=settings.batch,
        loss=settings.loss,
        regression=settings.regression,
        hidden=settings.hidden,
        min_inv_temperature=settings.min_inv_temperature or LAMBDA_RANGE[0] * lam,
        max_inv_temperature=settings.max_inv_temperature or LAMBDA_RANGE[1] * lam,
        patience=settings.patience,
        seed=settings.seed,
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
        flow = config.flow_config(width, inputs.num_positions, inputs.look_ahead, inputs.groups)
        training = FlowTraining(config, flow, first.multiply_adds)
        for part in parts:
            training.absorb(part.widened(width))
    if training is None or not training.ready:
        raise ValueError(
            f"{', '.join(map(str, settings.buffer_path))}: {sum(map(len, parts)):,} states in {num_families} groups "
            f"of {config.min_siblings} siblings or more, too little to learn from; `{RECORDING}` records whole groups"
        )
    return training


def _source(directory: Path, swept: bool, searched: Searched | None) -> Source:
    """Process and reward of the run that a directory of trajectories lies in."""
    run = directory.parent.parent
    if not (run / "config.json").exists():
        raise ValueError(f"{directory} lies in no run: {run} has no config.json, which says of what process it is")
    config = json.loads((run / "config.json").read_text())
    process, problems, reward, about = _searched_by(run, config, searched)
    (method,) = (kept for kept in config["methods"] if kept["name"] == directory.name)
    steps = method["branch_steps"]
    process = process.with_branch_steps(steps if isinstance(steps, str) else tuple(steps))
    chain, scorer = process.bind(problems), reward.bind(problems)
    positions = np.asarray(level_positions(chain, process.num_levels))
    facts = {**about, "prior": prior_fingerprint(process), "reward": described(reward)}
    inputs = FlowInputs(chain, scorer, int(positions[-1]) + 1)
    multiply_adds = int(getattr(getattr(process, "denoiser", None), "multiply_adds", 0))
    return Source(inputs, [problem.name for problem in problems], positions, facts, multiply_adds, swept)


def _searched_by(
    run: Path, config: dict[str, Any], searched: Searched | None
) -> tuple[GenerativeProcess, Sequence[Problem], Reward, dict[str, Any]]:
    """What a run had searched, and what is to be known of it."""
    if config.get("kind") == "python":
        if searched is None:
            raise ValueError(f"{run} was begun from Python; give the process, problems and reward that it searched")
        lam = max(float(method["search"]["inv_temperature"]) for method in config["methods"])
        dataset = searched.problems[0].name.partition("/")[0]
        return *searched, {"dataset": dataset, "process": described(searched.process), "inv_temperature": lam}
    settings = settings_of_run(config)
    task = build_forecast_task(replace(settings, flow=None))
    about = {
        "dataset": settings.dataset or "ETTh1",
        "process": process_facts(settings, task.process),
        "inv_temperature": settings.resolved_inv_temperature(),
    }
    return task.process, task.problems, task.reward, about


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
