"""The samples a search has collected, and the weights that the final draw gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt32

from sadt_ray.numerics.logspace import effective_sample_size, normalised
from sadt_ray.tree.errors import log_mean_se, weighted_mean_se
from sadt_ray.tree.growing import GrowingArray
from sadt_ray.tree.tree import Tree


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
        log_z_se: standard error of ``log_z`` over the root's children, in nats; whatever the draw. Infinite with fewer
            than two children of finite value. Too small where ``root_ess`` is below ten or so (``tree.errors``).
        mean_reward_se: standard error of ``mean_reward`` over the root's children. Infinite where fewer than two carry
            weight, as under the argmax draw.
        nodes: [n], where in the tree each sample ends; None for samples of no tree.
        starts: effective number of x_T that the weights come from; NaN if it is not known.
    """

    samples: np.ndarray
    weights: Float[np.ndarray, " n"]
    rewards: Float[np.ndarray, " n"]
    nfe_at: Int[np.ndarray, " n"]
    log_z: float
    root_ess: float
    log_z_se: float = math.inf
    mean_reward_se: float = math.inf
    nodes: Int[np.ndarray, " n"] | None = None
    starts: float = math.nan

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
        self._start = GrowingArray((), np.int32)

    def __len__(self) -> int:
        return len(self._node)

    def arrays(self) -> dict[str, np.ndarray]:
        """Views of the columns by name, texts as their code points; no ``values`` before the first sample."""
        columns = {name.removeprefix("_"): column.values for name, column in vars(self).items() if column is not None}
        if "values" in columns and columns["values"].dtype.kind == "U":
            columns["texts"] = code_points(columns.pop("values"))
        return columns

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SampleStore:
        """The store that ``arrays`` are of, or were before they were saved; they are copied."""
        store = cls()
        for name, column in arrays.items():
            if name == "texts":
                store._values = GrowingArray.of(texts_of(column))
            else:
                setattr(store, f"_{name}", GrowingArray.of(column))
        if len(store._start) < len(store):  # written before starts were kept
            store._start.extend(np.zeros(len(store), np.int32))
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
        start: Int[np.ndarray, " M"] | None = None,
    ) -> None:
        """Append M samples; ``log_weight`` is a sample's log share of its node (0 for a node with one sample).

        ``start`` says which x_T of its ticket a sample descends from; None for one x_T per ticket.
        """
        if self._values is None:
            self._values = GrowingArray(values.shape[1:], values.dtype)
        start = np.zeros(len(node), np.int32) if start is None else start
        columns = (self._values, self._problem, self._node, self._reward, self._log_weight, self._nfe_at, self._start)
        for column, rows in zip(columns, (values, problem, node, reward, log_weight, nfe_at, start), strict=True):
            column.extend(rows)

    def rewards(self) -> tuple[Int[np.ndarray, " M"], Float[np.ndarray, " M"]]:
        """Problem and reward of every sample."""
        return self._problem.values, self._reward.values

    def counts(self, num_problems: int) -> Int[np.ndarray, " P"]:
        """Samples of each problem."""
        return np.bincount(self._problem.values, minlength=num_problems)

    def effective_sizes(
        self, num_problems: int, log_draw_probability: Float[np.ndarray, " nodes"]
    ) -> Float[np.ndarray, " P"]:
        """(sum w)^2 / sum w^2 of each problem's samples; 0 for one without a sample."""
        weights = np.exp(log_draw_probability[self._node.values] + self._log_weight.values)
        sums = np.bincount(self._problem.values, weights, num_problems)
        squares = np.bincount(self._problem.values, np.square(weights), num_problems)
        return np.square(sums) / np.where(squares > 0, squares, 1.0)

    def best_rewards(self, num_nodes: int) -> Float[np.ndarray, " nodes"]:
        """The best reward of the samples that end at each node; NaN where none does."""
        best = np.full(num_nodes, np.nan)
        np.fmax.at(best, self._node.values, self._reward.values)
        return best

    def weighted(
        self, tree: Tree, problem: int, log_draw_probability: Float[np.ndarray, " nodes"], lam: float
    ) -> WeightedSamples:
        """One problem's samples: each has its own share of the share of its node. Where no weight is left, all alike.

        Raises ValueError if there are none.
        """
        mine = np.flatnonzero(self._problem.values == problem)
        if len(mine) == 0 or self._values is None:
            raise ValueError("no sample of this problem has been told yet")
        node, rewards = self._node.values[mine], self._reward.values[mine]
        log_weights = log_draw_probability[node] + self._log_weight.values[mine]
        weights = normalised(log_weights if log_weights.max() > -np.inf else np.zeros(len(mine)))
        children = tree.children(problem)
        log_values, slots = lam * tree.columns.value[children], tree.start_slots(node)
        return WeightedSamples(
            samples=self._values.values[mine],
            weights=weights,
            rewards=rewards,
            nfe_at=self._nfe_at.values[mine],
            log_z=float(lam * tree.columns.value[problem]),
            root_ess=effective_sample_size(np.exp(log_draw_probability[children])),
            log_z_se=log_mean_se(log_values),
            mean_reward_se=_mean_reward_se(weights, rewards, slots, len(children)),
            nodes=node,
            starts=_effective_starts(weights, slots, self._start.values[mine]),
        )


def code_points(texts: np.ndarray) -> UInt32[np.ndarray, "n length"]:
    """Texts as numbers, 0 beyond their ends: what files of tensors can hold."""
    length = max(texts.dtype.itemsize // 4, 1)
    return np.ascontiguousarray(texts, f"<U{length}").view("<u4").reshape(len(texts), length)


def texts_of(points: UInt32[np.ndarray, "n length"]) -> np.ndarray:
    """What ``code_points`` was given."""
    return np.ascontiguousarray(points, "<u4").view(f"<U{points.shape[1]}").reshape(len(points))


def _effective_starts(
    weights: Float[np.ndarray, " n"], slot: Int[np.ndarray, " n"], start: Int[np.ndarray, " n"]
) -> float:
    """1 / sum of squared shares of the x_T, which a child of the root and a number below it tell apart."""
    _, which = np.unique(np.stack([slot, start]), axis=1, return_inverse=True)
    return effective_sample_size(np.bincount(which.ravel(), weights))


def _mean_reward_se(
    weights: Float[np.ndarray, " n"], rewards: Float[np.ndarray, " n"], start: Int[np.ndarray, " n"], num_starts: int
) -> float:
    """Of samples that come from the children ``start`` of a root with ``num_starts`` of them."""
    shares = np.bincount(start, weights, num_starts)
    sums = np.bincount(start, weights * np.where(weights > 0, rewards, 0.0), num_starts)
    return weighted_mean_se(shares, sums / np.where(shares > 0, shares, 1.0))
