"""The rows of a training: a bounded store, split into training and validation, with their sibling groups."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.flow.examples import Examples
from sadt_ray.flow.siblings import SiblingGroups, parent_rows
from sadt_ray.flow.training_config import TrainingConfig

_SLACK = 10  # drop a tenth of the bound at once
_LARGEST = 1e6  # replaces infinite features and bases
_SMALLEST_SPREAD = 1e-3


class ExampleStore:
    """Rows, oldest first.

    Attributes:
        held_out: whether each context is held out for validation. A context is the name of a problem up to its last
            "/", so all channels of a window are on the same side. A context never changes its side.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._numbers: dict[str, int] = {}
        self._examples: Examples | None = None
        self._split: tuple[SiblingGroups, SiblingGroups] | None = None
        self._tensors: dict[str, Tensor] = {}
        self.held_out: dict[str, bool] = {}

    def __len__(self) -> int:
        return 0 if self._examples is None else len(self._examples)

    def add(self, examples: Examples) -> int:
        """Add new rows, and drop the oldest beyond ``max_rows``. Returns the number of rows that are new."""
        if self._examples is not None:
            examples = examples.take(~np.isin(examples.node, self._examples.node))
        if len(examples) == 0:
            return 0
        self._name(examples)
        new = self._numbered(examples)
        joined = new if self._examples is None else _joined(self._examples, new)
        if len(joined) > self._config.max_rows:
            joined = _forgotten(joined, self._config.max_rows)
        self._examples, self._split, self._tensors = joined, None, {}
        return len(new)

    def hold_out(self, contexts: Mapping[str, bool]) -> None:
        """Set the side of contexts, known or future."""
        self.held_out.update(contexts)
        self._split = None

    @property
    def training(self) -> SiblingGroups:
        """Sibling groups of the training contexts. Raises ValueError for an empty store."""
        return self._sibling_groups()[0]

    @property
    def validation(self) -> SiblingGroups:
        """Sibling groups of the held-out contexts. Raises ValueError for an empty store."""
        return self._sibling_groups()[1]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Columns of all rows: features [R, F], base, position, reward, log_ratio, problem [R]; and log_z_base [P]."""
        if not self._tensors:
            assert self._examples is not None
            columns = self._examples.columns()
            dtypes = {"position": torch.int64, "problem": torch.int64}
            names = ("features", "base", "position", "reward", "log_ratio", "problem")
            self._tensors = {n: torch.as_tensor(columns[n]).to(dtypes.get(n, torch.float32)) for n in names}
            self._tensors["log_z_base"] = self._log_z_base()
        return self._tensors

    def _log_z_base(self) -> Float[Tensor, " P"]:
        """Mean base of the first states of each problem: the initial value of a learned log Z / lambda."""
        assert self._examples is not None
        first = self._examples.position == 1
        problem, base = self._examples.problem[first], self._examples.base[first]
        count = np.bincount(problem, minlength=len(self._numbers))
        return torch.as_tensor(np.bincount(problem, base, len(self._numbers)) / np.maximum(count, 1)).float()

    def scales(self, num_positions: int) -> dict[str, Tensor]:
        """``mean`` and ``scale`` of the features of training rows, and ``spread`` of the reward about the base."""
        assert self._examples is not None
        features = self._examples.features[self.training.rows].astype(float)
        spread = spread_of(self._examples, self._training_rows(), num_positions)
        return {
            "mean": torch.as_tensor(features.mean(0)).float(),
            "scale": torch.as_tensor(np.where(features.std(0) > 1e-6, features.std(0), 1.0)).float(),
            "spread": torch.as_tensor(spread).float(),
        }

    def _training_rows(self) -> np.ndarray:
        assert self._examples is not None
        held = np.array([self.held_out[context_of(name)] for name in self._examples.names])
        return ~held[self._examples.problem]

    def _sibling_groups(self) -> tuple[SiblingGroups, SiblingGroups]:
        if self._examples is None:
            raise ValueError("the training holds no rows yet")
        if self._split is None:
            training, config = self._training_rows(), self._config
            self._split = (
                SiblingGroups(self._examples, training, config.siblings, config.min_siblings, self._shuffler()),
                SiblingGroups(self._examples, ~training, config.siblings, config.min_siblings, self._shuffler()),
            )
        return self._split

    def _shuffler(self) -> np.random.Generator:
        return np.random.default_rng(self._config.seed)

    def _name(self, examples: Examples) -> None:
        """Number new problems, and choose the side of new contexts."""
        for name in examples.names:
            self._numbers.setdefault(name, len(self._numbers))
        share = self._config.validation_share
        new = sorted({context_of(name) for name in examples.names} - self.held_out.keys(), key=_place)
        self.held_out.update({context: _place(context) < share for context in new})
        if share > 0 and not any(self.held_out.values()) and len(self.held_out) > 1:
            self.held_out[new[0]] = True  # at least one context is held out from the start

    def _numbered(self, examples: Examples) -> Examples:
        number = np.array([self._numbers[name] for name in examples.names], np.int64)
        columns: dict[str, Any] = examples.columns() | {"problem": number[examples.problem]}
        columns["features"] = np.nan_to_num(columns["features"], nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
        columns["base"] = np.nan_to_num(columns["base"], nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
        return Examples(**columns, names=tuple(self._numbers))


def context_of(name: str) -> str:
    """Context of a problem: its name up to the last "/"."""
    return name.rpartition("/")[0] or name


def spread_of(examples: Examples, taken: np.ndarray, num_positions: int) -> Float[np.ndarray, " positions"]:
    """Root mean square of r(x_0) - base(x_t) at each position, over all x_0 below; interpolated between positions."""
    parent = parent_rows(examples)
    leaves = np.flatnonzero(taken & np.isfinite(examples.reward))
    total, count = np.zeros(num_positions), np.zeros(num_positions)
    at, reward = parent[leaves], examples.reward[leaves]
    while (at >= 0).any():
        reward, at = reward[at >= 0], at[at >= 0]
        error, position = np.square(reward - examples.base[at]), examples.position[at]
        total += np.bincount(position, error, num_positions)
        count += np.bincount(position, minlength=num_positions)
        at = parent[at]
    count[0] = 0  # a root has no base
    known = np.flatnonzero(count)
    if len(known) == 0:
        return np.ones(num_positions)
    spread = np.sqrt(total[known] / count[known])
    return np.maximum(np.interp(np.arange(num_positions), known, spread), _SMALLEST_SPREAD)


def _place(context: str) -> float:
    """A hash of the context in [0, 1), the same on every machine."""
    return int.from_bytes(blake2b(context.encode(), digest_size=6).digest(), "little") / 2**48


def _joined(old: Examples, new: Examples) -> Examples:
    theirs = new.columns()
    columns: dict[str, Any] = {n: np.concatenate([column, theirs[n]]) for n, column in old.columns().items()}
    return Examples(**columns, names=new.names)


def _forgotten(examples: Examples, max_rows: int) -> Examples:
    """Drop the oldest rows; keep the roots."""
    keep = np.ones(len(examples), bool)
    keep[: len(keep) - max_rows + max_rows // _SLACK] = False
    return examples.take(keep | (examples.position == 0))
