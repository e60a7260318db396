"""Keys and values by node, within a bound of memory: what a branch needs to go on from a text that was met before.

A node is a text, known by its problem and tokens. It holds the piece beyond the node that it came from; the pieces on
the way from the prompt make up the whole. What was longest unused goes first, and no node outlives a piece above it,
because using a node uses all above it. What is gone is computed again; nothing else depends on it.
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
    """Keys and values of tokens ``start`` to ``stop`` of a text, those before being its parent's."""

    parent: Key | None
    start: int
    stop: int
    segment: Float[Tensor, "2 L h n d"]
    hidden: Float[Tensor, " H"] | None = None  # of the text's last token, where it was evaluated

    @property
    def nbytes(self) -> int:
        return self.segment.nbytes + (0 if self.hidden is None else self.hidden.nbytes)


class BoundedCache:
    """The things used last, of at most so many bytes in all."""

    def __init__(self, limit: int) -> None:
        self.limit, self.nbytes = limit, 0
        self._entries: OrderedDict[Key, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Any | None:
        """What is kept under the key, now the thing used last."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, entry: Any, first_to_go: bool = False) -> None:
        """Keep something with ``nbytes``, in place of what had its key."""
        old = self._entries.pop(key, None)
        self.nbytes += entry.nbytes - (0 if old is None else old.nbytes)
        self._entries[key] = entry
        while self.nbytes > self.limit:
            self.nbytes -= self._entries.popitem(last=False)[1].nbytes
        if first_to_go and key in self._entries:
            self._entries.move_to_end(key, last=False)

    def path(self, key: Key) -> list[Node] | None:
        """The pieces of a node from the top down; None if one is missing."""
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
