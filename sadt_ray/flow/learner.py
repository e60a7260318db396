"""The learner: follows what searches write, trains the flow on it, and publishes versions that are worth having.

A version is published when the one before is beaten on contexts that are held out, and none that is worse there than
the look-ahead that the network began with. If what was published turns out to be worse, with more contexts to judge by,
the next version is that look-ahead.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from sadt_ray.flow.buffer import TrajectoryBuffer
from sadt_ray.flow.examples import Examples, examples_of
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.flow.training import FlowTraining
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.flow.training_file import load_training, save_training
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.processes.fingerprint import prior_fingerprint
from sadt_ray.processes.walk import level_positions

CHECKPOINT, FLOW = "learner.safetensors", "flow.safetensors"
LAMBDA_RANGE = (0.1, 1.6)
"""Inverse temperatures that a flow is trained for, as factors of the searches' own."""
_ROWS_AT_ONCE = 200_000  # whose states are in memory together
_REST, _LONGEST_REST = 10, 10.0  # times the duration of the last look at the files, and seconds, before the next


@dataclass(frozen=True)
class LearnerConfig:
    """Settings of a learner."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(schedule="constant", validate_every=100))
    """How the flow is trained."""
    slice_steps: int = 25
    """Steps between two looks around."""
    publish_every: float = 2.0
    """Seconds between two versions, at least."""
    look_every: float = 1.0
    """Seconds between two looks at the files, at least."""
    save_every: float = 10.0
    """Seconds between two checkpoints, which are also written with every version."""

    def __post_init__(self) -> None:
        if self.slice_steps < 1:
            raise ValueError(f"slice_steps must be at least 1, got {self.slice_steps}")
        for name in ("publish_every", "look_every", "save_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of seconds >= 0, got {getattr(self, name)}")


class Learner:
    """Works in slices, so that it fits into any loop. Knows nothing of Ray.

    Args:
        process, reward, problems: what is searched. Rows of other problems are left out.
        paths: runs or directories of trajectories; what appears there later is found.
        home: where the checkpoint and the flow are written. A checkpoint that is there is gone on from.
        config: settings.
        clock: seconds from any origin.

    Attributes:
        figures: how far it is, by the names of ``metrics.jsonl``; what is not known yet is left out.
        latest: the newest version; None before the first.
        published_at: its time, by the clock.
    """

    def __init__(
        self,
        process: GenerativeProcess,
        reward: Reward,
        problems: Sequence[Problem],
        paths: Sequence[Path],
        home: Path,
        config: LearnerConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._home, self._clock = config or LearnerConfig(), home, clock
        self._facts = {"learner": "on-line", "reward": repr(reward), "prior": prior_fingerprint(process)}
        chain = process.bind(problems)
        positions = level_positions(chain, process.num_levels)
        self._inputs = FlowInputs(chain, reward.bind(problems), int(positions[-1]) + 1)
        self._names = [problem.name for problem in problems]
        self._denoiser = getattr(getattr(chain, "denoiser", None), "multiply_adds", 0)
        self._buffer = TrajectoryBuffer(paths, self._config.training.max_rows, allow_empty=True)
        self._training: FlowTraining | None = None
        self._num_features = 0
        self._waiting: list[Examples] = []  # until it is known how many features there are
        self._last_chunk = -1
        self._grown_at, self._published_step, self._version = 0, 0, 0  # steps, and a number
        self._look_at, self._save_at, self._publish_at = -math.inf, clock() + self._config.save_every, -math.inf
        self.figures = {"learner_steps": 0.0}
        self.latest: Flow | None = None
        self.published_at = 0.0
        self._resume()

    def work(self) -> bool:
        """Look for new rows, train a slice, publish and save, each if it is time; False if there was nothing to do."""
        grew = self._look()
        training = self._training
        if training is None or not self._worth_training(training):
            return grew
        training.run(self._config.slice_steps)
        if self._clock() >= self._publish_at:
            self._publish(training)
        if self._clock() >= self._save_at:
            self.save()
        self._count(training)
        return True

    def outdo(self, version: int) -> None:
        """Versions to come have higher numbers than this one, which is known to somebody."""
        self._version = max(self._version, version)

    def finish(self) -> None:
        """Judge and publish what there is, and save."""
        training = self._training
        if training is not None and len(training) and training.ready:
            training.validate()
            self._publish(training)
            self._count(training)
        self.save()

    def save(self) -> None:
        """Write the checkpoint; one that cannot be written is warned of."""
        self._save_at = self._clock() + self._config.save_every
        if self._training is None:
            return
        settings = asdict(self._config.training)
        facts = {"version": self._version, "num_features": self._num_features, "config": settings}
        try:
            save_training(self._home / CHECKPOINT, self._training.state(), facts)
        except OSError as error:
            warnings.warn(f"no checkpoint of the learner in {self._home}: {error}", stacklevel=2)

    def _count(self, training: FlowTraining) -> None:
        """Here and not when somebody asks, who may be another thread."""
        metrics = training.metrics()
        named = {
            "learner_steps": metrics["step"], "learner_version": self._version, "learner_rows": metrics["rows"],
            "learner_validation": metrics["validation_loss"], "learner_base": metrics["base_loss"],
            "learner_skipped": metrics["skipped"], "learner_nfe": metrics["cost_nfe"],
        }  # fmt: skip
        self.figures = {name: float(value) for name, value in named.items() if math.isfinite(value)}

    def _worth_training(self, training: FlowTraining) -> bool:
        """Something to learn from, and better lately or with new rows lately."""
        settings, since = self._config.training, max(training.best_step, self._grown_at)
        return (
            len(training) > 0 and training.ready and training.step - since < settings.patience * settings.validate_every
        )

    def _look(self) -> bool:
        """Take new rows in, if it is time; returns whether there were any."""
        began = self._clock()
        if began < self._look_at:
            return False
        self._buffer.refresh()
        nodes = self._buffer.nodes
        new = np.flatnonzero(nodes.chunk > self._last_chunk)
        self._last_chunk = int(nodes.chunk[new].max(initial=self._last_chunk))
        for directory in np.unique(nodes.directory[new]).tolist():
            self._absorb(directory, new[nodes.directory[new] == directory])
        took = self._clock() - began
        self._look_at = began + took + max(self._config.look_every, min(_REST * took, _LONGEST_REST))
        if len(new) and self._training is not None:
            self._grown_at = self._training.step
        return len(new) > 0

    def _absorb(self, directory: int, rows: np.ndarray) -> None:
        """Rows of one directory. Raises ValueError for one that does not say where its levels lie in the process."""
        nodes, facts = self._buffer.nodes, self._buffer.facts[directory]
        if "positions" not in facts:
            raise ValueError(f"{nodes.directories[directory]} was written by another version; search again")
        positions = np.asarray(facts["positions"])
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[first : first + _ROWS_AT_ONCE]
            examples = examples_of(nodes, self._inputs, self._names, positions, part, facts.get("swept", False))
            self._waiting.append(examples)
        width = max(examples.features.shape[1] for examples in self._waiting)
        if self._training is None and width:
            self._training = self._new_training(width)
        if self._training is not None:
            for examples in self._waiting:
                self._training.absorb(_widened(examples, self._num_features))
            self._waiting = []

    def _new_training(self, num_features: int) -> FlowTraining:
        settings, inputs, self._num_features = self._config.training, self._inputs, num_features
        flow = settings.flow_config(num_features, inputs.num_positions, inputs.look_ahead, inputs.groups)
        return FlowTraining(settings, flow, self._denoiser)

    def _publish(self, training: FlowTraining) -> None:
        """The best so far, if it is another than the one that is out; the look-ahead, if that has become the best."""
        step = 0 if training.best is None else training.best_step
        if step == self._published_step:
            return
        flow = training.flow(self._version + 1, self._facts)
        if not all(bool(torch.isfinite(weights).all()) for weights in flow.weights.values()):
            return
        self._version, self._published_step = flow.version, step
        self._publish_at = self._clock() + self._config.publish_every
        self.save()
        try:
            flow.save(self._home / FLOW)
        except OSError as error:
            warnings.warn(f"the flow cannot be written to {self._home}: {error}", stacklevel=2)
        self.latest, self.published_at = flow, self._clock()

    def _resume(self) -> None:
        """From the checkpoint, if there is one. Its rows are read anew."""
        path = self._home / CHECKPOINT
        if not path.exists():
            return
        try:
            state, facts = load_training(path)
            if facts["config"] != json.loads(json.dumps(asdict(self._config.training))):
                raise ValueError("it is of a training with other settings")
            training = self._new_training(int(facts["num_features"]))
            training.restore(state)
        except (ValueError, KeyError, RuntimeError) as error:
            warnings.warn(f"{path} is of no use, the learner begins anew: {error}", stacklevel=2)
            return
        self._training, self._grown_at = training, training.step
        self.figures = {"learner_steps": float(training.step)}
        self.outdo(int(facts["version"]))


@dataclass(frozen=True)
class LearnerSpec:
    """What whoever makes a learner must know beside what is searched.

    Attributes:
        home: where its checkpoint and the flow are written.
        paths: runs or directories of trajectories.
        config: settings.
        known: version of the flow that searches begin with; those to come are numbered from there.
        cpus: that it takes of a cluster; 0 to live on what rollout workers leave over.
        learner: what trains.
    """

    home: Path
    paths: Sequence[Path]
    config: LearnerConfig = field(default_factory=LearnerConfig)
    known: int = 0
    cpus: float = 0.0
    learner: type[Learner] = Learner

    @classmethod
    def beside(
        cls, run: Path, inv_temperature: float, buffer_path: Sequence[Path] = (), cpus: float = 0.0
    ) -> LearnerSpec:
        """The learner beside the searches of a run: it reads what they write, and more trajectories if given.

        The flow is trained for a tenth of the searches' lambda up to 1.6 times it.

        Args:
            run: the run directory.
            inv_temperature: lambda of the searches.
            buffer_path: further runs or directories of trajectories.
            cpus: that it takes of a cluster.
        """
        low, high = (factor * inv_temperature for factor in LAMBDA_RANGE)
        training = TrainingConfig(
            schedule="constant", validate_every=100, min_inv_temperature=low, max_inv_temperature=high
        )
        home, more = run.absolute(), [path.expanduser().absolute() for path in buffer_path]
        return cls(home, [home / "trajectories", *more], LearnerConfig(training), cpus=cpus)

    def begin(self, process: GenerativeProcess, reward: Reward, problems: Sequence[Problem]) -> Learner:
        """New, or from its checkpoint."""
        learner = self.learner(process, reward, problems, self.paths, self.home, self.config)
        learner.outdo(self.known)
        return learner


def _widened(examples: Examples, num_features: int) -> Examples:
    """Rows of which none is between root and x_0 have no features to tell their number from."""
    if examples.features.shape[1]:
        return examples
    return replace(examples, features=np.zeros((len(examples), num_features), np.float32))
