"""A random forest, written as a search would write it, and what is true of it."""

from pathlib import Path

import numpy as np

from sadt_ray.trajectories import TrajectoryWriter

LEVELS = 4


class WrittenForest:
    """Every node's state is its id twice, its log flow the id / 8, its reward the id if it is x_0."""

    def __init__(self, directory, names=("a", "b"), seed=0, first_id=0, roots=True, **settings):
        settings = {"seconds_between_batches": np.inf, **settings}
        self.writer = TrajectoryWriter(Path(directory), names, (2,), np.dtype(np.float32), **settings)
        self.rng, self.first_id = np.random.default_rng(seed), first_id
        self.problem = self.parent = self.level = np.zeros(0, np.int64)
        if roots:
            self._append(np.arange(len(names)), np.full(len(names), -1), np.zeros(len(names), np.int64))

    def grow(self, count):
        """One node after the other, most below the last one, others below a root or any that is not x_0."""
        for _ in range(count):
            below = np.flatnonzero(self.level < LEVELS)
            parent = self.rng.choice([*3 * [below[-1]], self.rng.choice(below), *below[self.level[below] == 0]])
            self._append(self.problem[[parent]], np.array([parent]), self.level[[parent]] + 1)
        return self

    def _append(self, problem, parent, level):
        node = len(self.level) + np.arange(len(level))
        self.problem, self.parent, self.level = (
            np.concatenate(pair)
            for pair in ((self.problem, problem), (self.parent, parent), (self.level, level))
        )  # fmt: skip
        ids = node + self.first_id
        state = np.stack([ids, ids], axis=1).astype(np.float32)
        reward = np.where(level == LEVELS, ids, np.nan)
        above = np.where(parent < 0, -1, parent + self.first_id)
        self.writer.append(problem, ids, above, level, state, ids / 8, reward)
