"""Where searches run: the contract of a session, and the session of this process.

A session holds replicas of process and reward from one search to the next. ``serial_session`` searches in this
process; ``actors.ray_session`` on the workers of a Ray cluster. ``sample`` and ``compare`` take either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

from sadt_ray.engine.loop import SearchResult, SearchStats, StatsTo, run
from sadt_ray.engine.plan import SearchPlan, default_batch_size
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import LearnerSpec
from sadt_ray.flow.weight_source import InterleavedLearner, LearnerUpdate
from sadt_ray.interfaces import GenerativeProcess, MovesToDevice, Problem, Reward
from sadt_ray.numerics.device import check_device
from sadt_ray.runs.recording import Recording, run_recorded


def nothing() -> None:
    """The default of ``on_wait``."""


@runtime_checkable
class Session(Protocol):
    """Runs one search after the other."""

    def wait_for_workers(self, on_wait: Callable[[], None] = nothing) -> None:
        """Return when a search can begin. ``on_wait`` is called now and then, and may raise."""

    def search(
        self,
        plan: SearchPlan,
        on_stats: Callable[[SearchStats], None] | None = None,
        on_wait: Callable[[], None] = nothing,
    ) -> SearchResult:
        """Run the search of a plan to its end.

        Args:
            on_stats: called with how far the search is. What it raises ends the search, and stands in the result.
            on_wait: called now and then, also while there is nothing new. What it raises ends the search too.
        """

    def learned(self) -> LearnerUpdate | None:
        """End the learner, and return what it has learned; None without a learner, or if it does not answer."""


class FlowSource(NamedTuple):
    """Where the flow of a session's searches comes from.

    Attributes:
        flow: that searches begin with.
        learning: settings of a learner beside the searches.
    """

    flow: Flow | None = None
    learning: LearnerSpec | None = None


NO_FLOW = FlowSource()


@runtime_checkable
class SessionFactory(Protocol):
    """Opens sessions, for whatever is to be searched."""

    def __call__(
        self,
        process: GenerativeProcess,
        reward: Reward,
        problems: Sequence[Problem],
        recording: Recording | None = None,
        simulations: int | None = None,
        flow_source: FlowSource = NO_FLOW,
    ) -> AbstractContextManager[Session]:
        """A session over a process, a reward and problems.

        Args:
            recording: where searches leave records and checkpoints; None for searches that leave nothing.
            simulations: number of rollouts of the smallest search to come, for sizing.
            flow_source: where the flow comes from.
        """


@dataclass(frozen=True)
class SerialSession:
    """Searches in this process.

    Attributes:
        process, reward, problems: what is searched.
        batch_size: tickets per batch; None for what suits the particle systems of each search.
        recording: where records and checkpoints go; None for neither.
        flow: that searches begin with which are guided by one.
        learner: trains between batches.
        threads: CPU threads of PyTorch, see ``SerialExecutor``.
    """

    process: GenerativeProcess
    reward: Reward
    problems: Sequence[Problem]
    batch_size: int | None = None
    recording: Recording | None = None
    flow: Flow | None = None
    learner: InterleavedLearner | None = None
    threads: int = 1

    def __enter__(self) -> SerialSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None: ...

    def wait_for_workers(self, on_wait: Callable[[], None] = nothing) -> None:
        """Returns at once: this process is ready."""

    def search(
        self,
        plan: SearchPlan,
        on_stats: Callable[[SearchStats], None] | None = None,
        on_wait: Callable[[], None] = nothing,
    ) -> SearchResult:
        """See ``Session.search``. Every batch is followed by ``on_stats``; ``on_wait`` is not called."""
        flow = self.flow if plan.smc.twist == "flow" else None
        size = self.batch_size or default_batch_size(len(self.problems), plan.smc.particles)
        executor = SerialExecutor(
            self.process, self.reward, self.problems, size,
            rollout_spec=plan.rollout_spec, flow=flow, threads=self.threads,
        )  # fmt: skip
        observers = [] if on_stats is None else [StatsTo(on_stats)]
        if self.learner is not None:
            self.learner.begin(-1 if flow is None else flow.version)
        if self.recording is None:
            return run(plan, executor, observers)
        return run_recorded(plan, executor, self.recording, observers, self.learner)

    def learned(self) -> LearnerUpdate | None:
        return None if self.learner is None else self.learner.finish()


def serial_session(batch_size: int | None = None, device: str = "cpu", threads: int = 1) -> SessionFactory:
    """Sessions that search in this process.

    Args:
        batch_size: rollouts per batch; two per problem, within 16 and 256, if not given.
        device: where the process runs, for one that can be moved: cpu, cuda, cuda:1.
        threads: CPU threads of PyTorch. More than one may be faster and gives up equality to the last bit with
            searches elsewhere.

    Raises:
        ValueError: for a device that cannot be used here.
    """
    check_device(device)

    def open_session(
        process: GenerativeProcess,
        reward: Reward,
        problems: Sequence[Problem],
        recording: Recording | None = None,
        simulations: int | None = None,
        flow_source: FlowSource = NO_FLOW,
    ) -> SerialSession:
        flow, learning = flow_source
        replica = process.with_device(device) if isinstance(process, MovesToDevice) else process
        learner = None if learning is None else InterleavedLearner(learning.begin(process, reward, problems))
        return SerialSession(replica, reward, problems, batch_size, recording, flow, learner, threads)

    return open_session
