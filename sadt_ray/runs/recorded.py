"""One search that leaves its records and checkpoints behind and can be taken up again after any end.

search, recorder = begin_or_resume(Search(...), run, "dts", checkpoints)
run_recorded(search, executor, recorder, checkpoints)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sadt_ray.batch_times import TimesBatches
from sadt_ray.checkpoint import Checkpoints, CheckpointTimes
from sadt_ray.executor import Executor, Tolerance, run_search
from sadt_ray.runs.recorder import Gauges, Progress, Recorder
from sadt_ray.tree.search import Search
from sadt_ray.tree.state import check_same_search


def begin_or_resume(
    search: Search,
    run: Path,
    method: str,
    checkpoints: Checkpoints | None = None,
    keep_trajectories: bool = True,
    facts: Mapping[str, Any] | None = None,
    particles: int = 1,
) -> tuple[Search, Recorder]:
    """A search and its recorder: the given ones, not yet begun, or those of the latest checkpoint.

    Tickets that were in flight at the checkpoint are forgotten; others are asked in their place. A search that begins
    saves a checkpoint at once, so that whatever it records afterwards is known to be its own.

    Args:
        facts: what readers of the trajectories should know beside the search's own settings.
        particles: of each simulation; each counts as a rollout.

    Raises:
        ValueError: for a checkpoint of another search or format, or trajectories that belong to neither.
    """
    found = checkpoints.latest() if checkpoints is not None else None
    if found is None:
        recorder = Recorder(run, method, keep_trajectories, facts=facts, particles=particles)
        recorder.open(search)
        if checkpoints is not None:
            checkpoints.save(search.state(), {"recorder": recorder.facts(search)})
        return search, recorder
    state, saved = found
    check_same_search(state, search)
    search = Search.restored(state)
    search.forget(search.open_tickets())
    recorder = Recorder(run, method, keep_trajectories, resume=saved["recorder"], facts=facts, particles=particles)
    recorder.open(search)
    return search, recorder


def run_recorded(
    search: Search,
    executor: Executor,
    recorder: Recorder,
    checkpoints: Checkpoints | None = None,
    times: CheckpointTimes | None = None,
    on_progress: Callable[[Progress, Search], None] | None = None,
    tolerance: Tolerance | None = None,
    gauges: Gauges | None = None,
) -> None:
    """``run_search``, recorded after every batch, with checkpoints when they are due and a last one at any end.

    A checkpoint on the way that cannot be written is warned of, and tried again when the next one is due.

    Args:
        times: when checkpoints are due; each minute by default.
        on_progress: called after every batch. What it raises ends the search between two batches.
        gauges: figures for the lines of metrics; the executor's by default.

    Raises:
        RolloutFailed: see ``run_search``.
        OSError: the last checkpoint could not be written.
    """
    times = times or CheckpointTimes()
    times.begin(search.simulations)
    gauges = gauges or executor.gauges
    batch_times = executor.batch_times if isinstance(executor, TimesBatches) else list

    def after_batch(search: Search) -> None:
        progress = recorder(search, gauges, batch_times)
        if checkpoints is not None and times.due(search.simulations):
            with times.measured(search.simulations):
                _save_or_warn(search, recorder, checkpoints)
        if on_progress is not None:
            on_progress(progress, search)

    try:
        run_search(search, executor, after_batch, tolerance)
    finally:
        recorder.close(search, gauges, batch_times)
        if checkpoints is not None:
            checkpoints.save(search.state(), {"recorder": recorder.checkpoint_facts(search)})


def _save_or_warn(search: Search, recorder: Recorder, checkpoints: Checkpoints) -> None:
    facts = {"recorder": recorder.checkpoint_facts(search)}
    try:
        checkpoints.save(search.state(), facts)
    except OSError as error:
        warnings.warn(f"no checkpoint at {checkpoints.address}: {error}; the search goes on", stacklevel=2)
