"""The progress bar of a search: how far it is, how fast, how good, and how many workers it has."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import SearchStats
from sadt_ray.tree.search import Search

_LINE_EVERY = 30.0  # seconds, in a log


def interactive(console: Console) -> bool:
    """Whether a progress bar can be shown: in a terminal and in a notebook."""
    return console.is_terminal or console.is_jupyter


class SearchBar:
    """A progress bar over the budgets of all problems; in a log a line now and then, and one at the end.

    Use as a context manager.
    """

    def __init__(self, console: Console, label: str, config: SearchConfig, num_problems: int) -> None:
        self._config = config
        self._total = num_problems * (config.n_rollouts or config.max_nfe or 0)
        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not interactive(console),
        )
        self._task = self._bar.add_task(label, total=self._total, facts="")
        self._console, self._label, self._next_line = console, label, time.monotonic() + _LINE_EVERY

    def __enter__(self) -> SearchBar:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, where)
        self._log()

    def show(self, stats: SearchStats) -> None:
        """Bring the line up to date."""
        self._reach(stats.simulations, stats.nfe)
        self._bar.update(self._task, facts=_facts(stats))
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY
            self._log()

    def finish(self, search: Search) -> None:
        """Where it ended: the last batches may have come after the last look, and of a short search all of them."""
        self._reach(search.simulations, int(search.nfe.sum()))

    def _reach(self, simulations: int, nfe: int) -> None:
        done = simulations if self._config.n_rollouts is not None else nfe
        self._bar.update(self._task, completed=min(done, self._total))

    def _log(self) -> None:
        if not interactive(self._console):
            (task,) = self._bar.tasks
            line = f"{self._label:<12}  {task.percentage:3.0f}%  {task.fields['facts']}"
            self._console.print(line.rstrip(), soft_wrap=True, highlight=False)


def _facts(stats: SearchStats) -> str:
    figures = stats.figures()
    parts = [f"{stats.rollouts_per_second:,.0f} rollouts/s"] if stats.rollouts_per_second else []
    if stats.best_reward > -math.inf:
        parts.append(f"reward {stats.mean_reward:.3f}, best {stats.best_reward:.3f}")
    if "workers" in figures:
        parts.append(_workers(int(figures["workers"])))
    for name, words in (("lost_batches", "batches lost"), ("set_aside", "set aside")):
        if figures.get(name):
            parts.append(f"{figures[name]:.0f} {words}")
    return "  ".join(parts)


def _workers(count: int) -> str:
    return {0: "waiting for workers", 1: "1 worker"}.get(count, f"{count} workers")
