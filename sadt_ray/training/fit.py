"""Fit a flow from scratch: search, record particles, train on them, and count all costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import start_search
from sadt_ray.flow.buffer import TrajectoryBuffer
from sadt_ray.flow.examples import Examples, examples_of
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.flow.training import FlowTraining
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method
from sadt_ray.processes.walk import level_positions
from sadt_ray.runs.recorder import Recorder
from sadt_ray.trajectories import FIRST_PARTICLE

_SLICE = 100  # training steps between two progress messages


@dataclass(frozen=True)
class FlowFit:
    """A fitted flow and its costs.

    Attributes:
        flow: the best flow.
        search_nfe: function evaluations of the searches that gave the training data.
        training_nfe: function evaluations for features, plus the multiply-adds of training in evaluations.
        seconds: total wall-clock time.
        states, steps: number of training rows and of gradient steps.
        residual, base_residual: root mean square of one-step residuals on held-out contexts, in nats, for the flow and
            for the look-ahead base. NaN if nothing was held out.
    """

    flow: Flow
    search_nfe: int
    training_nfe: float
    seconds: float
    states: int
    steps: int
    residual: float
    base_residual: float

    @property
    def nfe(self) -> float:
        """Total cost in function evaluations."""
        return self.search_nfe + self.training_nfe

    def about(self) -> str:
        """A sentence with the costs and the residuals."""
        return (
            f"F cost {self.nfe:,.0f} evaluations ({self.search_nfe:,} of searches on training windows, "
            f"{self.training_nfe:,.0f} for features and {self.steps:,} steps, their multiply-adds counted in "
            f"evaluations) and {self.seconds:.0f} s, from {self.states:,} states; one-step residuals on held-out "
            f"training windows {self.residual:.2f} nats rms, {self.base_residual:.2f} before training."
        )


def learn_flow(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    methods: Sequence[Method],
    config: TrainingConfig,
    start: Flow | None = None,
    progress: Callable[[str], None] | None = None,
) -> FlowFit:
    """Run each search, record all its particles, and train a flow on them.

    Training ends after ``config.steps`` steps, or when ``config.patience`` validations bring no better loss.

    Args:
        process, problems, reward: task of the searches.
        methods: of the searches, all with the same branch steps.
        config: settings of the training.
        start: flow that the searches use; None for the twist of each method.
        progress: function that gets progress messages.

    Raises ValueError if there is too little training data.
    """
    started, tell = time.perf_counter(), progress or (lambda _: None)
    branching = process.with_branch_steps(methods[0].branch_steps)
    chain, scorer = branching.bind(problems), reward.bind(problems)
    positions = np.asarray(level_positions(chain, branching.num_levels))
    look_ahead = None if start is None else start.config.look_ahead
    inputs = FlowInputs(chain, scorer, int(positions[-1]) + 1, look_ahead)
    parts: list[Examples] = []
    search_nfe = 0
    for number, method in enumerate(methods):
        tell(f"search {number + 1} of {len(methods)}")
        examples, nfe = search_and_record(process, problems, reward, method, inputs, positions, start)
        first = parts[-1].node.max() + 1 if parts else 0
        parts.append(_renumbered(examples, first))
        search_nfe += nfe
    denoiser = getattr(getattr(process, "denoiser", None), "multiply_adds", 0)
    flow = config.flow_config(parts[0].features.shape[1], inputs.num_positions, inputs.look_ahead, inputs.groups)
    training = FlowTraining(config, flow, denoiser)
    for part in parts:
        training.absorb(part)
    while training.step < config.steps and training.patient:
        metrics = training.run(min(_SLICE, config.steps - training.step))
        tell(f"step {training.step:,} of {config.steps:,}, loss {metrics['loss']:.4f}")
    training.validate()
    best = training.best
    return FlowFit(
        flow=training.flow(version=1),
        search_nfe=search_nfe,
        training_nfe=training.cost_nfe,
        seconds=time.perf_counter() - started,
        states=sum(len(part) for part in parts),
        steps=training.step,
        residual=np.nan if best is None else best.rms,
        base_residual=np.nan if best is None else best.base_rms,
    )


def search_and_record(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    inputs: FlowInputs,
    positions: np.ndarray,
    flow: Flow | None = None,
) -> tuple[Examples, int]:
    """Run one search and return all its particles with features, and the function evaluations of the search.

    The particles go through the trajectory files that every search writes. The x_0 that represents a particle system in
    the tree is left out: it is a copy of a particle, not the result of a step.
    """
    method = replace(method, smc=replace(method.smc, record_particles=True))
    with tempfile.TemporaryDirectory() as directory:
        recorder = Recorder(Path(directory), method.name)
        search, executor = start_search(process, problems, reward, method, flow=flow)
        recorder.open(search)
        run_search(search, executor, [recorder])
        nodes = TrajectoryBuffer([Path(directory)]).nodes
        rows = np.flatnonzero(~(nodes.is_leaf & (nodes.node < FIRST_PARTICLE)))
        names = [problem.name for problem in problems]
        return examples_of(nodes, inputs, names, positions, rows), int(search.nfe.sum())


def _renumbered(examples: Examples, first: int) -> Examples:
    """Renumber the nodes from ``first``, so that searches do not share ids. Unknown parents stay unknown."""
    order = np.argsort(examples.node)
    at = np.minimum(np.searchsorted(examples.node[order], examples.parent), len(order) - 1)
    known = examples.node[order][at] == examples.parent
    parent = np.where(known, first + order[at], examples.parent)
    return replace(examples, node=first + np.arange(len(examples)), parent=parent)
