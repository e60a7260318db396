"""Training examples of a flow: the features of trajectory rows, independent of states, files and processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sadt_ray.flow.buffer import ROOT, Nodes
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.trajectories import FIRST_PARTICLE

NO_PARENT = -1
_DIRECTORY = 1 << 48  # larger than every node id of a directory


@dataclass(frozen=True)
class Examples:
    """R rows, parents before children.

    Attributes:
        node: id of each row, unique within a training.
        parent: id of the parent; NO_PARENT for a root.
        problem: index into ``names``.
        names: names of the problems.
        position: position on the walk; 0 for a root.
        reward: r(x_0); NaN above x_0.
        log_ratio: log p/q of the step from the parent.
        features, base: inputs of the flow, see ``FlowInputs``. They are zero for roots and for x_0.
        nfe: function evaluations for the features of all rows.

    Raises ValueError if the columns differ in length.
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

    def widened(self, num_features: int) -> Examples:
        """The same rows with ``num_features`` features, zeros if no row lies between root and x_0 and has any."""
        if self.features.shape[1]:
            return self
        return replace(self, features=np.zeros((len(self), num_features), np.float32))

    def columns(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("names", "nfe")}

    def take(self, rows: Any) -> Examples:
        """The examples at ``rows`` (indices, mask or slice), with ``nfe`` 0."""
        return Examples(**{name: column[rows] for name, column in self.columns().items()}, names=self.names)


def _represents_particles(nodes: Nodes, swept: bool) -> Bool[np.ndarray, " N"]:
    """Whether a node is an x_0 that represents a particle system in its tree.

    A search used particle systems if ``swept`` says so, or if its directory has recorded particles.
    """
    particle = nodes.node >= FIRST_PARTICLE
    by_particles = swept | np.isin(nodes.directory, np.unique(nodes.directory[particle]))
    return nodes.is_leaf & ~particle & by_particles


def examples_of(
    nodes: Nodes,
    inputs: FlowInputs,
    bound: Sequence[str],
    positions: Int[np.ndarray, " levels"],
    rows: Int[np.ndarray, " R"] | None = None,
    swept: bool = False,
) -> Examples:
    """Compute the examples of rows of a buffer.

    An x_0 that represents a particle system in its tree is left out: no step of the chain has drawn it.

    Args:
        nodes: view of the buffer.
        inputs: inputs of the flow.
        bound: names of the problems that ``inputs`` are bound to. Rows of other problems are left out.
        positions: position of each branch level, from the root down (``level_positions`` of the chain).
        rows: rows of ``nodes``, ascending, so that parents come first; None for all.
        swept: whether the searches are known to use particle systems, see ``SMCConfig.swept``.

    Raises ValueError for a position that the process does not have.
    """
    rows = np.arange(len(nodes)) if rows is None else np.asarray(rows)
    number = {name: i for i, name in enumerate(bound)}
    known = np.array([number.get(name, -1) for name in nodes.names], np.int64)
    rows = rows[(known[nodes.problem[rows]] >= 0) & ~_represents_particles(nodes, swept)[rows]]
    position, leaf = nodes.positions(positions.tolist(), rows).astype(np.int64), nodes.is_leaf[rows]
    if position.max(initial=0) >= inputs.num_positions:
        raise ValueError(
            f"a node is at position {position.max()}, but the process has {inputs.num_positions} positions; give "
            "trajectories of the same process"
        )
    inside = np.flatnonzero((position > 0) & ~leaf)
    features, base, nfe = inputs.of_states(
        nodes.states(rows[inside]), position[inside], known[nodes.problem[rows[inside]]]
    )
    all_features = np.zeros((len(rows), features.shape[1]), np.float32)
    all_base = np.zeros(len(rows), np.float32)
    all_features[inside], all_base[inside] = features, base
    ids = nodes.directory.astype(np.int64) * _DIRECTORY + nodes.node
    above = nodes.parent[rows]
    missing = nodes.directory[rows].astype(np.int64) * _DIRECTORY + (_DIRECTORY - 1)  # an id that no node has
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
