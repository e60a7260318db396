"""The search tree as a struct of arrays, grown by amortised reallocation and walked by compiled kernels.

Nodes are numbered in order of creation, roots first, so a parent's number is below its children's. A node's children
lie in a block of slots of power-of-two capacity, moved to a block twice the size when full; outgrown blocks are reused.
Behind its slots a block carries sums (``sum_tree``) or winners (``tournament``) over groups of eight, so that choosing
a child and replacing its value cost log(children).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.numerics.compiled import compiled
from sadt_ray.tree.sum_tree import block_size

SHARED, SEPARATE, UCT = 0, 1, 2  # selection reads the backup's weights, weights of its own, or a tournament
NODES, SLOTS = 0, 1  # entries of ``used``


class Columns(NamedTuple):
    """Every array of a tree. Columns marked * have length 0 unless the tree needs them."""

    # one entry a node
    parent: Int[np.ndarray, " nodes"]  # -1 for a root
    level: Int[np.ndarray, " nodes"]
    visits: Int[np.ndarray, " nodes"]  # finished simulations through the node; DTS's N is visits + 1
    in_flight: Int[np.ndarray, " nodes"]  # simulations through the node that were asked and not yet told
    pending: Int[np.ndarray, " nodes"]  # of these, the ones that will give this very node a child
    value: Float[np.ndarray, " nodes"]  # empirical soft value; at x_0 the reward
    log_flow: Float[np.ndarray, " nodes"]  # lambda F_phi, 0 without a flow
    num_children: Int[np.ndarray, " nodes"]
    slot: Int[np.ndarray, " nodes"]  # place among the parent's children
    log2_capacity: Int[np.ndarray, " nodes"]  # of the block of children; -1 before the first child
    first_slot: Int[np.ndarray, " nodes"]  # where that block begins
    centre: Float[np.ndarray, " nodes"]  # the children's weights are exp(. - centre)
    select_centre: Float[np.ndarray, " *nodes"]
    log_prior: Float[np.ndarray, " *nodes"]  # log-probability given the parent, for enumerated children
    mass: Float[np.ndarray, " *nodes"]  # sum of the children's exp(log_prior)
    # one entry a slot or group
    child: Int[np.ndarray, " slots"]  # the child; of a group (UCT), its winner's slot
    weight: Float[np.ndarray, " slots"]  # p exp(lambda v - centre), p = 1 for sampled children; of a group, the sum
    key: Float[np.ndarray, " *slots"]  # p exp(beta v - select_centre), sums (SEPARATE), or v (UCT), less virtual loss
    bonus: Float[np.ndarray, " *slots"]  # 1 / sqrt(N + O) (UCT); of a group, its expiry
    # bookkeeping
    used: Int[np.ndarray, " 2"]  # nodes and slots in use
    free: Int[np.ndarray, " 32"]  # per log2(capacity): first outgrown block, chained through ``child``; -1 if none


_NODE_DTYPES: dict[str, type] = {
    "parent": np.int32, "level": np.int16, "visits": np.int32, "in_flight": np.int32, "pending": np.int32,
    "value": np.float64, "log_flow": np.float32, "num_children": np.int32, "slot": np.int32,
    "log2_capacity": np.int8, "first_slot": np.int32, "centre": np.float64, "select_centre": np.float64,
    "log_prior": np.float64, "mass": np.float64,
}  # fmt: skip
_SLOT_DTYPES: dict[str, type] = {"child": np.int32, "weight": np.float64, "key": np.float64, "bonus": np.float64}
_GROWTH = 1.25
_MAX_ENTRIES = int(np.iinfo(np.int32).max)


class Tree:
    """Owns the columns of a forest whose first ``num_roots`` nodes are the roots.

    Args:
        num_roots: number of problems, at least 1.
        selection: SHARED, SEPARATE or UCT; decides which optional columns exist.
        enumerated: children carry prior probabilities (``log_prior``).
    """

    def __init__(self, num_roots: int, selection: int = SHARED, enumerated: bool = False) -> None:
        if num_roots < 1:
            raise ValueError(f"a forest needs at least one root, got {num_roots}")
        self.num_roots = num_roots
        self._absent = _absent_columns(selection, enumerated)
        nodes = self._allocate(_NODE_DTYPES, max(1024, num_roots))
        slots = self._allocate(_SLOT_DTYPES, 1024)
        self.columns = Columns(**nodes, **slots, used=np.array([num_roots, 0]), free=np.full(32, -1))
        self.columns.parent[:num_roots] = -1
        self.columns.log2_capacity[:num_roots] = -1

    def _allocate(self, dtypes: dict[str, type], size: int) -> dict[str, np.ndarray]:
        return {name: np.zeros(0 if name in self._absent else size, dtype) for name, dtype in dtypes.items()}

    def __len__(self) -> int:
        return int(self.columns.used[NODES])

    def column(self, name: str) -> np.ndarray:
        """A view of one per-node column, nodes in use only."""
        if name not in _NODE_DTYPES or name in self._absent:
            raise ValueError(f"this tree has no column {name!r}")
        return getattr(self.columns, name)[: len(self)]

    def children(self, node: int) -> Int[np.ndarray, " children"]:
        """Numbers of a node's children, in order of arrival."""
        first = self.columns.first_slot[node]
        return self.columns.child[first : first + self.columns.num_children[node]]

    def start_slots(self, nodes: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """For each node, itself no root, the number of the root's child that it descends from or is."""
        return _start_slots(self.columns, self.num_roots, np.asarray(nodes, np.int64))

    def reserve(self, nodes: int, slots: int) -> None:
        """Make room for so many more of each, growing by at least a quarter."""
        for kind, dtypes, more in ((NODES, _NODE_DTYPES, nodes), (SLOTS, _SLOT_DTYPES, slots)):
            capacity = len(getattr(self.columns, next(iter(dtypes))))
            needed = int(self.columns.used[kind]) + more
            if needed <= capacity:
                continue
            if needed > _MAX_ENTRIES:
                raise ValueError(f"a tree holds at most {_MAX_ENTRIES} nodes or child slots; split the forest")
            grown = self._allocate(dtypes, min(max(needed, int(capacity * _GROWTH)), _MAX_ENTRIES))
            for name in dtypes.keys() - self._absent:
                grown[name][:capacity] = getattr(self.columns, name)
            self.columns = self.columns._replace(**grown)

    def arrays(self) -> dict[str, np.ndarray]:
        """Views of all columns by name, nodes and slots in use only; a column that the tree lacks is empty."""
        lengths = self._lengths()
        return {name: array[: lengths.get(name)] for name, array in self.columns._asdict().items()}

    @classmethod
    def from_arrays(cls, num_roots: int, selection: int, arrays: Mapping[str, np.ndarray]) -> Tree:
        """The tree that ``arrays`` are of; they are copied.

        Raises ValueError if they lack a column that such a tree has.
        """
        tree = cls(num_roots, selection, enumerated=len(arrays["log_prior"]) > 0)
        nodes, slots = arrays["used"].tolist()
        tree.reserve(nodes - num_roots, slots)
        tree.columns.used[:] = nodes, slots
        lengths = tree._lengths()
        for name in sorted(set(Columns._fields) - tree._absent):
            target = getattr(tree.columns, name)[: lengths.get(name)]
            if name not in arrays or len(arrays[name]) != len(target):
                raise ValueError(f"the column {name!r} of the tree is missing or not of its {len(target)} entries")
            target[:] = arrays[name]
        return tree

    def _lengths(self) -> dict[str, int]:
        """Entries in use of each column that may have more."""
        nodes, slots = self.columns.used.tolist()
        return dict.fromkeys(_NODE_DTYPES, nodes) | dict.fromkeys(_SLOT_DTYPES, slots)

    def nbytes(self) -> int:
        """Bytes allocated for nodes and child slots; states are kept elsewhere."""
        return sum(array.nbytes for array in self.columns)


def _absent_columns(selection: int, enumerated: bool) -> set[str]:
    absent = set() if enumerated else {"log_prior", "mass"}
    if selection != SEPARATE:
        absent |= {"select_centre"}
    if selection != UCT:
        absent |= {"bonus"}
    if selection == SHARED:
        absent |= {"key"}
    return absent


@compiled
def _start_slots(t, num_roots, nodes):  # type: ignore[no-untyped-def]
    slots = np.empty(nodes.shape[0], np.int64)
    for i in range(nodes.shape[0]):
        node = nodes[i]
        while t.parent[node] >= num_roots:
            node = t.parent[node]
        slots[i] = t.slot[node]
    return slots


@compiled(inline="always")
def slots_needed(t, node, path_length):  # type: ignore[no-untyped-def]
    """Slots that adding a path of new nodes under ``node`` may take: a larger block, then one slot a node."""
    return block_size(t.log2_capacity[node] + 1) + path_length
