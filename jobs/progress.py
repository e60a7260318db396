"""The live line of a search: how far, how fast, how good, and by how many."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sadt_ray.config import SearchConfig
from sadt_ray.runs.conduct import Look
from sadt_ray.tree.search import Search

_LINE_EVERY = 30.0  # seconds, in a log


class SearchBar:
    """A progress bar over the budgets of all problems; a line now and then where that is a log.

    Use as a context manager.
    """

    def __init__(self, console: Console, label: str, config: SearchConfig, num_problems: int) -> None:
        self._config = config
        self._total = num_problems * (config.n_rollouts or config.max_nfe or 0)
        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
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

    def show(self, look: Look) -> None:
        """Bring the line up to date."""
        done = self._reach(look.progress.simulations, look.progress.nfe)
        self._bar.update(self._task, facts=_facts(look))
        if not self._console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY
            self._console.print(f"{self._label}  {done / self._total:.0%}  {_facts(look)}", soft_wrap=True)

    def finish(self, search: Search) -> None:
        """Where it ended: the last batches may have come after the last look, and of a short search all of them."""
        self._reach(search.simulations, int(search.nfe.sum()))

    def _reach(self, simulations: int, nfe: int) -> int:
        done = min(simulations if self._config.n_rollouts is not None else nfe, self._total)
        self._bar.update(self._task, completed=done)
        return done


def _facts(look: Look) -> str:
    progress, figures = look.progress, look.figures
    parts = [
        f"{progress.rollouts_per_second:6.0f} rollouts/s",
        f"best reward {progress.best_reward:.3f}",
        f"mean {progress.mean_reward:.3f}",
    ]
    if "workers" in figures:
        parts.append(f"{figures['workers']:.0f} workers" if figures["workers"] else "waiting for workers")
    for name, words in (("lost_batches", "batches lost"), ("set_aside", "set aside")):
        if figures.get(name):
            parts.append(f"{figures[name]:.0f} {words}")
    return "  ".join(parts)
