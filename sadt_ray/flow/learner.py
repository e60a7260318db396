"""The learner: it follows the trajectories of searches, trains the flow on them, and publishes better versions.

A version is published if it beats the last one, and the look-ahead base, on held-out contexts. If more contexts show
that the published flow is worse than the base, the next version is the base.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
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
_ROWS_AT_ONCE = 200_000  # rows whose states are in memory together
_REST, _LONGEST_REST = 10, 10.0  # pause between polls: this multiple of the last one's duration, at most 10 seconds


@dataclass(frozen=True)
class LearnerConfig:
    """Settings of a learner."""

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(schedule="constant", validate_every=100))
    """Settings of the training."""
    slice_steps: int = 25
    """Number of training steps per call of ``Learner.work``."""
    publish_every: float = 2.0
    """Shortest time between two versions, in seconds."""
    look_every: float = 1.0
    """Shortest time between two polls of the files, in seconds."""
    save_every: float = 10.0
    """Time between two checkpoints, in seconds. Every version is saved as well."""

    def __post_init__(self) -> None:
        if self.slice_steps < 1:
            raise ValueError(f"slice_steps must be at least 1, got {self.slice_steps}")
        for name in ("publish_every", "look_every", "save_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of seconds >= 0, got {getattr(self, name)}")


class Learner:
    """Trains a flow on growing trajectories, in slices, so that it fits into any loop. It does not depend on Ray.

    Args:
        process, reward, problems: task of the searches. Rows of other problems are left out.
        paths: runs or directories of trajectories. Directories that appear later are found.
        home: directory of the checkpoint and the flow. The learner resumes from a checkpoint that it finds there.
        config: settings.
        clock: seconds from any origin.

    Attributes:
        figures: figures of the training, by the names of ``metrics.jsonl``; unknown ones are left out.
        latest: newest version of the flow; None before the first.
        published_at: time of the newest version, by the clock.
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
        self._waiting: list[Examples] = []  # rows that wait until the number of features is known
        self._last_chunk = -1
        self._grown_at, self._published_step, self._version = 0, 0, 0  # training steps, and a version number
        self._poll_at, self._save_at, self._publish_at = -math.inf, clock() + self._config.save_every, -math.inf
        self.figures = {"learner_steps": 0.0}
        self.latest: Flow | None = None
        self.published_at = 0.0
        self._resume()

    def work(self) -> bool:
        """Poll for new rows, train a slice, publish and save, each if it is due. Returns whether anything was done."""
        grew = self._poll()
        training = self._training
        if training is None or not self._should_train(training):
            return grew
        training.run(self._config.slice_steps)
        if self._clock() >= self._publish_at:
            self._publish(training)
        if self._clock() >= self._save_at:
            self.save()
        self._count(training)
        return True

    def outdo(self, version: int) -> None:
        """Number all later versions above ``version``, which a search already uses."""
        self._version = max(self._version, version)

    def finish(self) -> None:
        """Validate, publish the best flow, and save."""
        training = self._training
        if training is not None and len(training) and training.ready:
            training.validate()
            self._publish(training)
            self._count(training)
        self.save()

    def save(self) -> None:
        """Write the checkpoint. Warns if it cannot be written."""
        self._save_at = self._clock() + self._config.save_every
        if self._training is None:
            return
        settings = asdict(self._config.training)
        facts = {"version": self._version, "num_features": self._num_features, "config": settings}
        try:
            save_training(self._home / CHECKPOINT, self._training.state(), facts)
        except OSError as error:
            warnings.warn(f"the checkpoint of the learner could not be written to {self._home}: {error}", stacklevel=2)

    def _count(self, training: FlowTraining) -> None:
        """Update ``figures``. It is done here because another thread may read them."""
        metrics = training.metrics()
        named = {
            "learner_steps": metrics["step"], "learner_version": self._version, "learner_rows": metrics["rows"],
            "learner_validation": metrics["validation_loss"], "learner_base": metrics["base_loss"],
            "learner_skipped": metrics["skipped"], "learner_nfe": metrics["cost_nfe"],
        }  # fmt: skip
        self.figures = {name: float(value) for name, value in named.items() if math.isfinite(value)}

    def _should_train(self, training: FlowTraining) -> bool:
        """Whether there is enough data, and patience has not ended since the last improvement or the last new rows."""
        settings, since = self._config.training, max(training.best_step, self._grown_at)
        return (
            len(training) > 0 and training.ready and training.step - since < settings.patience * settings.validate_every
        )

    def _poll(self) -> bool:
        """Read new rows, if it is due. Returns whether there were any."""
        began = self._clock()
        if began < self._poll_at:
            return False
        self._buffer.refresh()
        nodes = self._buffer.nodes
        new = np.flatnonzero(nodes.chunk > self._last_chunk)
        self._last_chunk = int(nodes.chunk[new].max(initial=self._last_chunk))
        for directory in np.unique(nodes.directory[new]).tolist():
            self._absorb(directory, new[nodes.directory[new] == directory])
        took = self._clock() - began
        self._poll_at = began + took + max(self._config.look_every, min(_REST * took, _LONGEST_REST))
        if len(new) and self._training is not None:
            self._grown_at = self._training.step
        return len(new) > 0

    def _absorb(self, directory: int, rows: np.ndarray) -> None:
        """Add rows of one directory. Raises ValueError if its files lack the positions of the branch levels."""
        nodes, facts = self._buffer.nodes, self._buffer.facts[directory]
        if "positions" not in facts:
            raise ValueError(
                f"{nodes.directories[directory]} was written by another version, without the positions of its levels; "
                "search again"
            )
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
                self._training.absorb(examples.widened(self._num_features))
            self._waiting = []

    def _new_training(self, num_features: int) -> FlowTraining:
        settings, inputs, self._num_features = self._config.training, self._inputs, num_features
        flow = settings.flow_config(num_features, inputs.num_positions, inputs.look_ahead, inputs.groups)
        return FlowTraining(settings, flow, self._denoiser)

    def _publish(self, training: FlowTraining) -> None:
        """Publish the best flow if it is not published yet, or the base if that has become the best."""
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
            warnings.warn(f"the flow could not be written to {self._home}: {error}", stacklevel=2)
        self.latest, self.published_at = flow, self._clock()

    def _resume(self) -> None:
        """Restore the checkpoint, if there is one. The rows are read again."""
        path = self._home / CHECKPOINT
        if not path.exists():
            return
        try:
            state, facts = load_training(path)
            if facts["config"] != json.loads(json.dumps(asdict(self._config.training))):
                raise ValueError("its training has other settings")
            training = self._new_training(int(facts["num_features"]))
            training.restore(state)
        except (ValueError, KeyError, RuntimeError) as error:
            warnings.warn(f"{path} cannot be used, the learner starts anew: {error}", stacklevel=2)
            return
        self._training, self._grown_at = training, training.step
        self.figures = {"learner_steps": float(training.step)}
        self.outdo(int(facts["version"]))


@dataclass(frozen=True)
class LearnerSpec:
    """A recipe for a learner: everything but process, reward and problems.

    Attributes:
        home: directory of the checkpoint and the flow.
        paths: runs or directories of trajectories.
        config: settings.
        known: version of the flow that the searches begin with; later versions have higher numbers.
        cpus: CPUs that the learner reserves on a cluster; 0 to use idle time of the rollout workers.
        learner: class of the learner.
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
        """Make the learner, from its checkpoint if there is one."""
        learner = self.learner(process, reward, problems, self.paths, self.home, self.config)
        learner.outdo(self.known)
        return learner
