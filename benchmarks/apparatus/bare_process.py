"""The chain alone, for benchmarks that ask what a search adds to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.processes.diffusion import DiffusionProcess


class BareProcess:
    """Full batches from the roots of a process to decoded samples: no tree, no reward, nothing kept."""

    def __init__(self, process: DiffusionProcess, problems: Sequence[Problem], batch_size: int) -> None:
        self._chain = process.with_branch_steps("none").bind(problems)
        self._problem = np.arange(batch_size) % len(problems)
        self._states = self._chain.root_states()[self._problem]
        self._batches = 0

    def run(self, batches: int) -> int:
        """Run ``batches`` batches; returns their function evaluations."""
        size, nfe = len(self._problem), 0
        for _ in range(batches):
            seeds = np.arange(size, dtype=np.uint64) + np.uint64(size * self._batches)
            path = self._chain.run_down(self._states, np.zeros(size, np.int64), self._problem, seeds)
            self._chain.decode(path.states, self._problem)
            nfe += int(path.nfe.sum())
            self._batches += 1
        return nfe
