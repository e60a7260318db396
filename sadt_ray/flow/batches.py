"""Batches of sibling groups and of paths, and their residuals under a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sadt_ray.flow.losses import log_mean
from sadt_ray.flow.network import FlowNetwork
from sadt_ray.flow.siblings import SiblingGroups
from sadt_ray.flow.training_config import TrainingConfig

LOWEST = -1e4  # nats: lambda r of a reward of -inf
_PATHS_PER_GROUP = 8


class Batch(NamedTuple):
    """B sibling groups, each at its own lambda."""

    parent: Int[Tensor, " B"]  # row of the parent; -1 for padding
    children: Int[Tensor, "B K"]  # rows of the children; -1 for padding
    lam: Float[Tensor, " B"]

    @property
    def num_rows(self) -> int:
        """Number of rows that the network evaluates."""
        return self.parent.numel() + self.children.numel()


def log_flow(
    network: FlowNetwork | None,
    tensors: Mapping[str, Tensor],
    rows: Int[Tensor, " R"],
    lam: Float[Tensor, " R"],
) -> Float[Tensor, " R"]:
    """lambda F of rows: lambda r at x_0, else the network's output, or lambda times the base without a network."""
    reward = tensors["reward"][rows]
    known = (lam * reward).clamp_min(LOWEST)
    inside = torch.isnan(reward)
    at = rows[inside]
    base, position = tensors["base"][at], tensors["position"][at]
    value = lam[inside] * base if network is None else network(tensors["features"][at], base, position, lam[inside])
    return known.masked_scatter(inside, value)


def step_residuals(
    network: FlowNetwork | None,
    tensors: Mapping[str, Tensor],
    batch: Batch,
    corrected: bool = False,
    target: FlowNetwork | None = None,
) -> Float[Tensor, " B"]:
    """delta of each sibling group; for a root - log E_z alone; 0 for padding.

    Args:
        network: flow network; None for F = base.
        tensors: columns of all rows, see ``ExampleStore.tensors``.
        batch: sibling groups.
        corrected: whether to correct the bias of the mean, see ``losses.log_mean``.
        target: network for the children, without gradient; None for ``network``.
    """
    count, siblings = batch.children.shape
    held = batch.children >= 0
    there = held.any(1)
    held = held | ~there[:, None]
    root = (tensors["position"][batch.parent.clamp_min(0)] == 0) | ~there
    rows = batch.children.clamp_min(0).reshape(-1)
    lam = batch.lam.repeat_interleave(siblings)
    if target is None:
        both = log_flow(network, tensors, torch.cat([batch.parent.clamp_min(0), rows]), torch.cat([batch.lam, lam]))
        own, below = both[:count], both[count:]
    else:
        own = log_flow(network, tensors, batch.parent.clamp_min(0), batch.lam)
        with torch.no_grad():
            below = log_flow(target, tensors, rows, lam)
    log_ratio = tensors["log_ratio"][rows].reshape(count, siblings)
    log_e = log_mean(below.reshape(count, siblings), log_ratio, held, corrected)
    return torch.where(there, own.masked_fill(root, 0.0) - log_e, 0.0)


def make_batch(parent: np.ndarray, children: np.ndarray, lam: np.ndarray) -> Batch:
    """Make a batch from arrays: parents and lambdas of any shape, children of that shape and K."""
    return Batch(
        torch.as_tensor(parent.reshape(-1)),
        torch.as_tensor(children.reshape(-1, children.shape[-1])),
        torch.as_tensor(lam.reshape(-1), dtype=torch.float32),
    )


def there_of(batch: Batch) -> Bool[Tensor, " B"]:
    """Whether each sibling group exists, that is, is not padding."""
    return (batch.children >= 0).any(1)


class PathBatch(NamedTuple):
    """N paths of T nodes. The paths of a group share one problem and one lambda."""

    batch: Batch  # the N T sibling groups, path by path
    shape: tuple[int, int]  # (N, T)
    group: Int[Tensor, " N"]
    lam: Float[Tensor, " N"]


def draw_sibling_groups(siblings: SiblingGroups, config: TrainingConfig, rng: np.random.Generator) -> Batch:
    """Draw ``config.batch`` sibling groups anywhere below the root, each with its own lambda."""
    rows = siblings.draw(config.batch, rng)
    return make_batch(rows, siblings.children(rows, rng), _draw_lam(config, len(rows), rng))


def draw_paths(
    siblings: SiblingGroups, config: TrainingConfig, num_positions: int, rng: np.random.Generator
) -> PathBatch:
    """Draw whole paths with about ``config.batch`` sibling groups. Raises ValueError if there are no whole paths."""
    if siblings.num_paths == 0:
        raise ValueError(
            f"the loss {config.loss!r} needs whole paths, from the root to x_0, of nodes with at least "
            f"{config.min_siblings} children; there are none, only single sibling groups: use the loss db"
        )
    groups = max(1, round(config.batch / (_PATHS_PER_GROUP * (num_positions - 1))))
    rows, group = siblings.draw_paths(groups, _PATHS_PER_GROUP, rng)
    lam = _draw_lam(config, groups, rng)[group]
    batch = make_batch(rows, siblings.children(rows, rng), np.repeat(lam, rows.shape[1]))
    return PathBatch(batch, (len(rows), rows.shape[1]), torch.as_tensor(group), torch.as_tensor(lam).float())


def _draw_lam(config: TrainingConfig, count: int, rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    return np.exp(rng.uniform(np.log(config.min_inv_temperature), np.log(config.max_inv_temperature), count))
