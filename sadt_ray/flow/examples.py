"""What a flow learns from: rows of trajectories as features, with nothing left of states, files or processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sadt_ray.flow.buffer import ROOT, Nodes
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.trajectories import FIRST_PARTICLE

NO_PARENT = -1
_DIRECTORY = 1 << 48  # ids of nodes of one directory are below


@dataclass(frozen=True)
class Examples:
    """R rows, parents before children.

    Attributes:
        node: ids, unique over everything that a training is given.
        parent: their ids; NO_PARENT for a root.
        problem: index into ``names``.
        names: of the problems.
        position: of the process's walk; 0 for a root, whose features mean nothing.
        reward: r(x_0), NaN above x_0.
        log_ratio: log p/q of the step from the parent.
        features, base: see ``FlowInputs``; of x_0 they mean nothing.
        nfe: evaluations that the features cost.
    """

    node: Int[np.ndarray, " R"]
    parent: Int[np.ndarray, " R"]
    problem: Int[np.ndarray, " R"]
    names: tuple[str, ...]
    position: Int[np.ndarray, " R"]
    reward: Float[np.ndarray, " R"]
    log_ratio: Float[np.ndarray, " R"]
    features: Float[np.ndarray, "R F"]
    base: Float[np.ndarray, " R"]
    nfe: int = 0

    def __len__(self) -> int:
        return len(self.node)

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns().items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of examples must have one length, got {lengths}")

    def columns(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("names", "nfe")}

    def take(self, rows: Any) -> Examples:
        """Those rows (indices, mask or slice); they have been paid for."""
        return Examples(**{name: column[rows] for name, column in self.columns().items()}, names=self.names)


def _stands_for_a_sweep(nodes: Nodes, swept: bool) -> Bool[np.ndarray, " N"]:
    """x_0 in the tree of a search by sweeps, as which every search counts that has particles beside its tree."""
    particle = nodes.node >= FIRST_PARTICLE
    sweeps = swept | np.isin(nodes.directory, np.unique(nodes.directory[particle]))
    return nodes.is_leaf & ~particle & sweeps


def examples_of(
    nodes: Nodes,
    inputs: FlowInputs,
    bound: Sequence[str],
    positions: Int[np.ndarray, " levels"],
    rows: Int[np.ndarray, " R"] | None = None,
    swept: bool = False,
) -> Examples:
    """Features of rows of a buffer; all of them by default.

    Left out is the x_0 by which a sweep of particles stands in its tree: no step of the chain has drawn it.

    Args:
        bound: names of the problems that ``inputs`` were bound to. Rows of others are left out.
        positions: of every level of the nodes, root first: ``level_positions`` of the chain.
        rows: ascending, so that parents come first.
        swept: whether the rows are known to be of searches by sweeps, see ``SMCConfig.swept``.

    Raises ValueError for a position that the process does not have.
    """
    rows = np.arange(len(nodes)) if rows is None else np.asarray(rows)
    number = {name: i for i, name in enumerate(bound)}
    known = np.array([number.get(name, -1) for name in nodes.names], np.int64)
    rows = rows[(known[nodes.problem[rows]] >= 0) & ~_stands_for_a_sweep(nodes, swept)[rows]]
    position, leaf = nodes.positions(positions.tolist(), rows).astype(np.int64), nodes.is_leaf[rows]
    if position.max(initial=0) >= inputs.num_positions:
        raise ValueError(f"a node is at position {position.max()} of a process of {inputs.num_positions}; of another?")
    inside = np.flatnonzero((position > 0) & ~leaf)
    features, base, nfe = inputs.of_states(
        nodes.states(rows[inside]), position[inside], known[nodes.problem[rows[inside]]]
    )
    all_features = np.zeros((len(rows), features.shape[1]), np.float32)
    all_base = np.zeros(len(rows), np.float32)
    all_features[inside], all_base[inside] = features, base
    ids = nodes.directory.astype(np.int64) * _DIRECTORY + nodes.node
    above = nodes.parent[rows]
    missing = nodes.directory[rows].astype(np.int64) * _DIRECTORY + (_DIRECTORY - 1)  # nobody's id
    parent = np.where(above >= 0, ids[np.maximum(above, 0)], np.where(above == ROOT, NO_PARENT, missing))
    return Examples(
        node=ids[rows],
        parent=parent,
        problem=nodes.problem[rows].astype(np.int64),
        names=nodes.names,
        position=position,
        reward=nodes.reward[rows],
        log_ratio=nodes.log_ratio[rows],
        features=all_features,
        base=all_base,
        nfe=nfe,
    )
