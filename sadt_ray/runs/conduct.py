"""From a plan to the end of its search, whoever rolls out and wherever this runs: in a script or in a tree owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sadt_ray.checkpoint import Checkpoints, CheckpointTimes
from sadt_ray.executor import Executor, Tolerance
from sadt_ray.plan import SearchPlan
from sadt_ray.runs.lessons import Lessons
from sadt_ray.runs.lock import only_writer
from sadt_ray.runs.recorded import begin_or_resume, run_recorded
from sadt_ray.runs.recorder import Progress, Recorder
from sadt_ray.teacher import Teacher
from sadt_ray.tree.search import Search


@dataclass(frozen=True)
class Recording:
    """What a search leaves behind.

    Attributes:
        run: the run directory.
        checkpoint_to: address under which every search has checkpoints of its own; None for no checkpoints.
        every_seconds, every_simulations: when one is due.
        keep_trajectories: whether every node is written with its state.
        tolerance: how many tickets may be set aside.
    """

    run: Path
    checkpoint_to: str | None = None
    every_seconds: float | None = 30.0
    every_simulations: int | None = None
    keep_trajectories: bool = True
    tolerance: Tolerance = field(default_factory=Tolerance)

    def checkpoints_of(self, name: str) -> Checkpoints | None:
        """Those of the search called ``name``."""
        return None if self.checkpoint_to is None else Checkpoints(f"{self.checkpoint_to.rstrip('/')}/{name}")

    def remove_checkpoints(self, names: Iterable[str]) -> None:
        """Those of the searches called so: a complete run needs none."""
        if self.checkpoint_to is not None:
            for address in (*(f"{self.checkpoint_to.rstrip('/')}/{name}" for name in names), self.checkpoint_to):
                Checkpoints(address).remove()


class Look(NamedTuple):
    """A look at a search while it runs."""

    progress: Progress
    figures: Mapping[str, float]  # the last line of metrics.jsonl


class Ended(NamedTuple):
    """A search that is over. What was told until then is in it, whatever ended it."""

    search: Search
    seconds: float  # of searching, with those before it was resumed
    error: BaseException | None = None  # why it ended before its budgets were spent


class SearchFailed(RuntimeError):
    """A search that ended early in another process, and why."""


class CannotResume(ValueError):
    """The run is written to by another process, or its checkpoint is of another search or format."""


def conduct(
    plan: SearchPlan,
    executor: Executor,
    recording: Recording,
    on_look: Callable[[Look], None] | None = None,
    teacher: Teacher | None = None,
) -> Ended:
    """Begin the plan's search, or resume it from its last checkpoint, and run it to its end.

    Args:
        on_look: called whenever the executor returns. What it raises ends the search.
        teacher: is asked for newer weights as often.

    Raises:
        CannotResume: before anything is written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(recording.run))
            checkpoints = recording.checkpoints_of(plan.name)
            search, recorder = begin_or_resume(
                plan.begin(),
                recording.run,
                plan.name,
                checkpoints,
                recording.keep_trajectories,
                {"positions": plan.positions, "swept": plan.sweep.swept},
                plan.sweep.particles,
            )
        except ValueError as error:
            raise CannotResume(str(error)) from error
        lessons = None if teacher is None else Lessons(teacher, executor, plan.sweep.twist == "flow")
        return _run(search, executor, recorder, checkpoints, recording, on_look, lessons)


def _run(
    search: Search,
    executor: Executor,
    recorder: Recorder,
    checkpoints: Checkpoints | None,
    recording: Recording,
    on_look: Callable[[Look], None] | None,
    lessons: Lessons | None,
) -> Ended:
    times = CheckpointTimes(every_seconds=recording.every_seconds, every_simulations=recording.every_simulations)

    def look(progress: Progress, search: Search) -> None:
        if lessons is not None:
            lessons.attend(search)
        if on_look is not None:
            on_look(Look(progress, recorder.last_line))

    try:
        gauges = executor.gauges if lessons is None else lessons.gauges
        run_recorded(search, executor, recorder, checkpoints, times, look, recording.tolerance, gauges)
    except (Exception, KeyboardInterrupt) as error:
        return Ended(search, recorder.seconds, error)
    return Ended(search, recorder.seconds)
