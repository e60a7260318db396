"""The samples a search has collected, and the weights that the final draw gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.logspace import effective_sample_size, normalised
from sadt_ray.tree.growing import GrowingArray


@dataclass(frozen=True)
class WeightedSamples:
    """Samples of one problem, weighted by the final draw.

    Attributes:
        samples: [n, ...] in the units of the data, in order of arrival.
        weights: [n], sum to one.
        rewards: [n].
        nfe_at: [n], function evaluations the problem had cost when the sample arrived.
        log_z: lambda V(root), the estimate of log E_p exp(lambda r).
        root_ess: effective number of children of the root that the weights come from, that is of independent starts.
    """

    samples: np.ndarray
    weights: Float[np.ndarray, " n"]
    rewards: Float[np.ndarray, " n"]
    nfe_at: Int[np.ndarray, " n"]
    log_z: float
    root_ess: float

    @property
    def ess(self) -> float:
        """Effective sample size of the weights."""
        return effective_sample_size(self.weights)

    def mean_reward(self) -> float:
        """Weighted mean reward; a sample of weight zero does not count even if its reward is -inf."""
        held = self.weights > 0
        return float(self.weights[held] @ self.rewards[held])

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """``size`` samples of equal weight, with replacement: [size, ...]."""
        return self.samples[rng.choice(len(self.samples), size, p=self.weights)]


class SampleStore:
    """Append-only columns: one row a sample, pointing at the node it ends at."""

    def __init__(self) -> None:
        self._values: GrowingArray | None = None
        self._problem = GrowingArray((), np.int32)
        self._node = GrowingArray((), np.int32)
        self._reward = GrowingArray((), np.float64)
        self._log_weight = GrowingArray((), np.float64)
        self._nfe_at = GrowingArray((), np.int64)

    def __len__(self) -> int:
        return len(self._node)

    def arrays(self) -> dict[str, np.ndarray]:
        """Views of the columns by name; no ``values`` before the first sample."""
        return {name.removeprefix("_"): column.values for name, column in vars(self).items() if column is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SampleStore:
        """The store that ``arrays`` are of, or were before they were saved; they are copied."""
        store = cls()
        for name, column in arrays.items():
            setattr(store, f"_{name}", GrowingArray.of(column))
        return store

    @property
    def sample_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample; None before the first."""
        return None if self._values is None else self._values.row_shape

    def extend(
        self,
        values: np.ndarray,
        problem: Int[np.ndarray, " M"],
        node: Int[np.ndarray, " M"],
        reward: Float[np.ndarray, " M"],
        log_weight: Float[np.ndarray, " M"],
        nfe_at: Int[np.ndarray, " M"],
    ) -> None:
        """Append M samples; ``log_weight`` is a sample's share of its node (0 for a node with one sample)."""
        if self._values is None:
            self._values = GrowingArray(values.shape[1:], values.dtype)
        columns = (self._values, self._problem, self._node, self._reward, self._log_weight, self._nfe_at)
        for column, rows in zip(columns, (values, problem, node, reward, log_weight, nfe_at), strict=True):
            column.extend(rows)

    def rewards(self) -> tuple[Int[np.ndarray, " M"], Float[np.ndarray, " M"]]:
        """Problem and reward of every sample."""
        return self._problem.values, self._reward.values

    def weighted(
        self, problem: int, log_draw_probability: Float[np.ndarray, " nodes"], log_z: float, root_ess: float
    ) -> WeightedSamples:
        """One problem's samples. Raises ValueError if it has none."""
        mine = np.flatnonzero(self._problem.values == problem)
        if len(mine) == 0 or self._values is None:
            raise ValueError("no sample of this problem has been told yet")
        return WeightedSamples(
            samples=self._values.values[mine],
            weights=normalised(log_draw_probability[self._node.values[mine]] + self._log_weight.values[mine]),
            rewards=self._reward.values[mine],
            nfe_at=self._nfe_at.values[mine],
            log_z=log_z,
            root_ess=root_ess,
        )
