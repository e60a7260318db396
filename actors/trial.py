"""A trial: one search of a grid, which Ray Tune starts, monitors and may stop early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from ray import tune

from actors.reports import Reports

Figures = Mapping[str, Any]

_REPORT_EVERY = 2.0  # seconds between two results for Tune, its scheduler and its loggers
_STOP_WITHIN = 60.0  # seconds that a stopped search has to write its results


Run = Callable[[Figures, Reports], Figures]
"""A whole search: it takes a trial's configuration, reports, and returns its last figures. It raises if it fails."""


class Trial(tune.Trainable):
    """A search in its own thread, so that Tune can read its figures while it runs.

    The last result has ``complete`` true, unless a scheduler stopped the trial.
    """

    run: Run  # set by ``trial_class``

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """The figures after some seconds; the last figures if the search has ended."""
        while not wait([self._running], timeout=_REPORT_EVERY).done:
            if self._reports.figures:
                return {**self._reports.figures, "complete": False}
        return {**self._reports.figures, **self._running.result(), "complete": True, "done": True}

    def cleanup(self) -> None:
        """Stop the search if it runs, and wait until it has written its results."""
        self._end(_STOP_WITHIN)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Continue as another trial, with everything that this process has loaded.

        It waits without limit for the end of the last search, because a refusal would fail the next trial.
        """
        self._end(None)
        self._begin(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Does nothing: a search writes its own checkpoints."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Does nothing: a search reads its own checkpoints."""

    def _end(self, patience: float | None) -> None:
        self._reports.stop()
        wait([self._running], timeout=patience)
        self._pool.shutdown(wait=False)

    def _begin(self, config: dict[str, Any]) -> None:
        self._reports, self._pool = Reports(), ThreadPoolExecutor(1)
        self._running: Future[Figures] = self._pool.submit(type(self).run, config, self._reports)


def trial_class(run: Run) -> type[Trial]:
    """Make the class of trials that call ``run``. Tune shows its name, "search"."""
    return type("search", (Trial,), {"run": staticmethod(run)})
