"""One trial of a sweep: a search that Ray Tune starts, looks at, and may stop early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from ray import tune

from actors.reports import Reports

Figures = Mapping[str, Any]

_REPORT_EVERY = 2.0  # seconds between two results that Tune, its scheduler and its loggers see
_STOP_WITHIN = 60.0  # seconds in which a search that was stopped should have written what it has


Run = Callable[[Figures, Reports], Figures]
"""A whole search: takes a trial's configuration, reports as it goes, returns its last figures, raises if it failed."""


class Trial(tune.Trainable):
    """A search in a thread beside Tune's calls, so that it can be looked at while it runs.

    Its last result has ``complete``: a trial that a scheduler stopped has not.
    """

    run: Run  # of the subclass that ``trial_class`` makes

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """What is new after some seconds; the last figures when the search has ended."""
        while not wait([self._running], timeout=_REPORT_EVERY).done:
            if self._reports.figures:
                return {**self._reports.figures, "complete": False}
        return {**self._reports.figures, **self._running.result(), "complete": True, "done": True}

    def cleanup(self) -> None:
        """Stop the search if it runs, and let it write what it has."""
        self._end(_STOP_WITHIN)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on as another trial: what this process has loaded is loaded. The search before has all the time it takes
        to end: to refuse would fail the trial that comes."""
        self._end(None)
        self._begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A search has checkpoints of its own."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """See there."""

    def _end(self, patience: float | None) -> None:
        self._reports.stop()
        wait([self._running], timeout=patience)
        self._pool.shutdown(wait=False)

    def _begin(self, config: dict[str, Any]) -> None:
        self._reports, self._pool = Reports(), ThreadPoolExecutor(1)
        self._running: Future[Figures] = self._pool.submit(type(self).run, config, self._reports)


def trial_class(run: Run) -> type[Trial]:
    """Trials that run this, called "search" wherever Tune names them."""
    return type("search", (Trial,), {"run": staticmethod(run)})
