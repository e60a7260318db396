"""A search that leaves its records and checkpoints in a run directory, and can be resumed after any end."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sadt_ray.config import check_named
from sadt_ray.engine.checkpoint import Checkpoints, CheckpointTimes
from sadt_ray.engine.executor import Executor, TimesBatches
from sadt_ray.engine.loop import Observer, SearchResult, SearchStats, Tolerance, run
from sadt_ray.engine.plan import SearchPlan
from sadt_ray.engine.weight_sync import WeightSync
from sadt_ray.flow.weight_source import WeightSource
from sadt_ray.runs.lock import only_writer
from sadt_ray.runs.recorder import Recorder, Times
from sadt_ray.tree.search import Search
from sadt_ray.tree.state import check_same_search


@dataclass(frozen=True)
class Recording:
    """What a search leaves behind.

    Attributes:
        run: the run directory.
        checkpoint_to: address under which every search has checkpoints of its own; None for no checkpoints.
        every_seconds, every_simulations: when a checkpoint is due; see ``CheckpointTimes``.
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
        """The checkpoints of the search called ``name``."""
        return None if self.checkpoint_to is None else Checkpoints(f"{self.checkpoint_to.rstrip('/')}/{name}")

    def remove_checkpoints(self, names: Iterable[str]) -> None:
        """Remove the checkpoints of the searches called so: a complete run needs none."""
        if self.checkpoint_to is not None:
            for address in (*(f"{self.checkpoint_to.rstrip('/')}/{name}" for name in names), self.checkpoint_to):
                Checkpoints(address).remove()


class SearchFailed(RuntimeError):
    """A search that ended early in another process, and why."""


class CannotResume(ValueError):
    """The run is written to by another process, or its checkpoint is of another search or format."""


class Checkpointer:
    """An observer that saves a checkpoint whenever one is due, and a last one at any end.

    A checkpoint on the way that cannot be written is warned of, and tried again when the next one is due.

    Args:
        checkpoints: where they go.
        recorder: of the same search; what it has written so far is saved beside the search.
        times: when one is due; each minute by default.
    """

    def __init__(self, checkpoints: Checkpoints, recorder: Recorder, times: CheckpointTimes | None = None) -> None:
        self._checkpoints, self._recorder, self._times = checkpoints, recorder, times or CheckpointTimes()

    def after_batch(self, search: Search, stats: SearchStats) -> None:
        """Save one if it is due."""
        if not self._times.due(search.simulations):
            return
        with self._times.measured(search.simulations):
            try:
                self._save(search)
            except OSError as error:
                warnings.warn(
                    f"no checkpoint at {self._checkpoints.address}: {error}; the search goes on", stacklevel=2
                )

    def at_end(self, search: Search, stats: SearchStats) -> None:
        """Save the last one. Raises OSError if it cannot be written."""
        self._save(search)

    def _save(self, search: Search) -> None:
        self._checkpoints.save(search.state(), {"recorder": self._recorder.checkpoint_facts(search)})


class Begun(NamedTuple):
    """A search that is ready to run, with those who write about it."""

    search: Search
    recorder: Recorder
    observers: list[Observer]


def begin_or_resume(
    search: Search,
    run: Path,
    method: str,
    checkpoints: Checkpoints | None = None,
    keep_trajectories: bool = True,
    facts: Mapping[str, Any] | None = None,
    batch_times: Times = list,
    times: CheckpointTimes | None = None,
) -> Begun:
    """A search and its recorder: the given ones, not yet begun, or those of the latest checkpoint.

    Tickets that were in flight at the checkpoint are forgotten; others are asked in their place. A search that begins
    saves a checkpoint at once, so that whatever it records afterwards is known to be its own.

    Args:
        facts: what readers of the trajectories should know beside the search's own settings.
        batch_times: of the executor.
        times: when checkpoints are due.

    Raises:
        ValueError: for a checkpoint of another search or format, trajectories that belong to neither, or a rule that a
            checkpoint cannot name.
    """
    if checkpoints is not None:
        check_named(search.config)
    found = checkpoints.latest() if checkpoints is not None else None
    saved: Mapping[str, Any] | None = None
    if found is not None:
        state, about = found
        check_same_search(state, search.state())
        search, saved = Search.restored(state, search.config), about["recorder"]
        search.forget(search.open_tickets())
    recorder = Recorder(run, method, keep_trajectories, resume=saved, facts=facts, batch_times=batch_times)
    recorder.open(search)
    if checkpoints is None:
        return Begun(search, recorder, [recorder])
    if found is None:
        checkpoints.save(search.state(), {"recorder": recorder.facts(search)})
    times = times or CheckpointTimes()
    times.begin(search.simulations)
    return Begun(search, recorder, [recorder, Checkpointer(checkpoints, recorder, times)])


def run_recorded(
    plan: SearchPlan,
    executor: Executor,
    recording: Recording,
    observers: Sequence[Observer] = (),
    weight_source: WeightSource | None = None,
) -> SearchResult:
    """``engine.loop.run`` with records and checkpoints: begins the plan's search, or resumes its last checkpoint.

    Args:
        observers: called after the recorder, the checkpointer and the synchronisation of weights.
        weight_source: is asked for newer weights after every batch.

    Raises:
        CannotResume: before anything is written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(recording.run))
            search, recorder, writers = begin_or_resume(
                plan.begin(),
                recording.run,
                plan.name,
                recording.checkpoints_of(plan.name),
                recording.keep_trajectories,
                {"positions": plan.positions, "swept": plan.smc.leaf_is_selected},
                executor.batch_times if isinstance(executor, TimesBatches) else list,
                CheckpointTimes(recording.every_simulations, recording.every_seconds),
            )
        except ValueError as error:
            raise CannotResume(str(error)) from error
        guided = plan.smc.twist == "flow"
        sync = [] if weight_source is None else [WeightSync(weight_source, executor, guided)]
        everyone = [*writers, *sync, *observers]
        return run(plan, executor, everyone, recording.tolerance, search, recorder.seconds)
