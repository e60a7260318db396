"""The live line of a search: how far, how fast, how good."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sadt_ray.config import SearchConfig
from sadt_ray.runs.recorder import Recorder
from sadt_ray.tree.search import Search


class SearchBar:
    """A progress bar over the budgets of all problems. Use as a context manager."""

    def __init__(self, console: Console, label: str, config: SearchConfig, num_problems: int) -> None:
        self._config = config
        self._total = num_problems * (config.n_rollouts or config.max_nfe or 0)
        self._bar = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(label, total=self._total, facts="")

    def __enter__(self) -> SearchBar:
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, where)

    def update(self, recorder: Recorder, search: Search) -> None:
        """Record what is new and show it."""
        progress = recorder(search)
        done = progress.simulations if self._config.n_rollouts is not None else progress.nfe
        facts = (
            f"{progress.rollouts_per_second:7.0f} rollouts/s  best reward {progress.best_reward:.3f}  "
            f"mean {progress.mean_reward:.3f}"
        )
        self._bar.update(self._task, completed=min(done, self._total), facts=facts)
