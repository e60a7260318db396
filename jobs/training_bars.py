"""The live lines of a training: a bar for each of its phases; where nobody sees them, a line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_LINE_EVERY = 30.0  # seconds, in a log


class TrainingBars:
    """Use as a context manager, and call ``show`` after every step."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[losses]}"),
            TimeElapsedColumn(),
        )
        self._console, self._next_line = console, 0.0
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TrainingBars:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, where)
        for phase in self._tasks:
            self._log(phase)

    def show(self, phase: str, step: int, of: int, losses: str) -> None:
        """Phase and how far it is."""
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=of, losses="")
        self._bars.update(self._tasks[phase], completed=step, losses=losses)
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY
            self._log(phase)

    def _log(self, phase: str) -> None:
        if not self._console.is_terminal:
            task = self._bars.tasks[list(self._tasks).index(phase)]
            line = f"{phase}  {task.completed:,.0f} of at most {task.total:,.0f} steps  {task.fields['losses']}"
            self._console.print(line, soft_wrap=True, highlight=False)
