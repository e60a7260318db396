"""A cache of keys and values by node, with a memory limit, so that a known text can be continued without evaluation.

A node is a text, identified by its problem and tokens. It holds the keys and values of its tokens beyond the node above
it; the nodes on the path from the prompt together hold all of them. The node that was unused for longest is dropped
first. No node outlives a node above it, because using a node also uses all nodes above it. A dropped node is computed
again when it is needed; results do not depend on it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Node:
    """Keys and values of tokens ``start`` to ``stop`` of a text. Its parent holds those of the tokens before."""

    parent: Key | None
    start: int
    stop: int
    segment: Float[Tensor, "2 L h n d"]
    hidden: Float[Tensor, " H"] | None = None  # of the last token, if it was evaluated

    @property
    def nbytes(self) -> int:
        return self.segment.nbytes + (0 if self.hidden is None else self.hidden.nbytes)


class BoundedCache:
    """The entries that were used last, with at most ``limit`` bytes in total."""

    def __init__(self, limit: int) -> None:
        self.limit, self.nbytes = limit, 0
        self._entries: OrderedDict[Key, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Any | None:
        """The entry of a key, or None. Marks it as used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, entry: Any, first_to_go: bool = False) -> None:
        """Store an entry that has ``nbytes``, replacing the entry of the same key.

        Args:
            first_to_go: whether it is dropped before all others.
        """
        old = self._entries.pop(key, None)
        self.nbytes += entry.nbytes - (0 if old is None else old.nbytes)
        self._entries[key] = entry
        while self.nbytes > self.limit:
            self.nbytes -= self._entries.popitem(last=False)[1].nbytes
        if first_to_go and key in self._entries:
            self._entries.move_to_end(key, last=False)

    def path(self, key: Key) -> list[Node] | None:
        """The nodes from the top down to a node; None if one is missing. Marks them as used."""
        pieces: list[Node] = []
        at: Key | None = key
        while at is not None:
            node = self.get(at)
            if node is None:
                return None
            pieces.append(node)
            at = node.parent
        return pieces[::-1]

    def __contains__(self, key: Key) -> bool:
        return key in self._entries
