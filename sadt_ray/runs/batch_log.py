"""``batches.jsonl``: the times of each batch and its worker, one line per batch, thinned out for long runs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sadt_ray.engine.executor import BatchTimes

MAX_LINES = 10_000
"""Largest number of lines per method.

Beyond it every second line of each worker is dropped, and from then on half as many batches are logged.
"""


class BatchLog:
    """Appends to the file of a run. Lost batches are always kept.

    A line holds the fields of ``BatchTimes``, with times in seconds since the start of the method, the name of the
    method, and ``one_in``, the number of batches that the line represents.

    Args:
        run: directory of the run.
        method: name of the method.
        resumed_at: time of the checkpoint in seconds; later lines of this method are removed. None for a new run.
    """

    def __init__(self, run: Path, method: str, resumed_at: float | None = None) -> None:
        self._path, self._method = run / "batches.jsonl", method
        self._one_in, self._kept, self._seen = 1, 0, Counter[int]()
        if resumed_at is not None and self._path.exists():
            self._resume(resumed_at)

    def append(self, batches: Sequence[BatchTimes], began: float) -> None:
        """Append lines. ``began`` is the start of the method, on the clock of the batches; no time is below 0."""
        lines = []
        for batch in batches:
            self._seen[batch.worker] += 1
            if batch.lost or self._seen[batch.worker] % self._one_in == 0:
                self._kept += not batch.lost
                lines.append(json.dumps(self._line(batch, began)) + "\n")
        if lines:
            with self._path.open("a") as file:
                file.writelines(lines)
        if self._kept > MAX_LINES:
            self._thin()

    def _line(self, batch: BatchTimes, began: float) -> dict[str, Any]:
        times = {name: round(max(getattr(batch, name) - began, 0.0), 4) for name in ("sent", "began", "finished")}
        return {"method": self._method, **batch._asdict(), **times, "one_in": 1 if batch.lost else self._one_in}

    def _thin(self) -> None:
        self._one_in *= 2
        kept, of_worker = [], Counter[int]()
        for line in self._lines():
            mine = line["method"] == self._method and not line["lost"]
            of_worker[line["worker"]] += mine
            if not mine:
                kept.append(line)
            elif of_worker[line["worker"]] % 2:
                kept.append({**line, "one_in": self._one_in})
        self._kept = sum((count + 1) // 2 for count in of_worker.values())
        self._rewrite(kept)

    def _resume(self, seconds: float) -> None:
        kept = [line for line in self._lines() if line["method"] != self._method or line["finished"] <= seconds]
        mine = [line for line in kept if line["method"] == self._method and not line["lost"]]
        self._one_in, self._kept = max((line["one_in"] for line in mine), default=1), len(mine)
        self._rewrite(kept)

    def _lines(self) -> list[dict[str, Any]]:
        """All complete lines; the last line of the file may be cut short."""
        whole = self._path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in whole if line.endswith("\n") and line.strip()]

    def _rewrite(self, lines: Sequence[dict[str, Any]]) -> None:
        unfinished = self._path.with_name(self._path.name + ".writing")
        unfinished.write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.replace(unfinished, self._path)
