"""A kinetic tournament: the child with the highest UCT score among tens of thousands, without looking at them all.

Child i scores v_i + x b_i with b_i = 1 / sqrt(N_i + O_i), and x = c_uct sqrt(log(N + O)) of the parent, which grows
with every simulation: each score is a line in x. Every group of eight (laid out as in ``sum_tree``) keeps its winner in
``child`` and the x up to which nothing below it can change, its *expiry*, in ``bonus``. A query replays only groups
that have expired; a changed child replays the groups above it.
"""

from __future__ import annotations

import numpy as np

from sadt_ray.numerics.compiled import compiled
from sadt_ray.tree.sum_tree import block_size, level_size, num_levels

_EARLY = 1.0 - 1e-12  # replay a hair before the computed crossing, which carries rounding errors


@compiled(inline="always")
def _overtakes_at(t, rival, winner):  # type: ignore[no-untyped-def]
    """Exploration weight x from which the rival's line lies above the winner's."""
    gain = t.bonus[rival] - t.bonus[winner]
    if gain <= 0.0 or t.key[rival] == -np.inf:
        return np.inf
    return (t.key[winner] - t.key[rival]) / gain * _EARLY


@compiled(inline="always")
def _beats(t, rival, winner, x):  # type: ignore[no-untyped-def]
    return t.key[rival] + x * t.bonus[rival] > t.key[winner] + x * t.bonus[winner]


@compiled
def _play_slots(t, start, stop, x):  # type: ignore[no-untyped-def]
    """Winner and expiry among the slots [start, stop)."""
    winner = start
    for i in range(start + 1, stop):
        if _beats(t, i, winner, x):
            winner = i
    expiry = np.inf
    for i in range(start, stop):
        if i != winner:
            expiry = min(expiry, _overtakes_at(t, i, winner))
    return winner, expiry


@compiled
def _play_groups(t, start, stop, x):  # type: ignore[no-untyped-def]
    """Winner and expiry among the winners of the groups [start, stop)."""
    winner = t.child[start]
    for group in range(start + 1, stop):
        if _beats(t, t.child[group], winner, x):
            winner = t.child[group]
    expiry = np.inf
    for group in range(start, stop):
        expiry = min(expiry, t.bonus[group])
        if t.child[group] != winner:
            expiry = min(expiry, _overtakes_at(t, t.child[group], winner))
    return winner, expiry


@compiled(inline="always")
def _play(t, level, below, in_use, index, x):  # type: ignore[no-untyped-def]
    """Winner and expiry of group ``index`` of ``level``, whose members begin at ``below``, ``in_use`` of them."""
    start, stop = below + 8 * index, below + min(8 * index + 8, in_use)
    if level == 1:
        return _play_slots(t, start, stop, x)
    return _play_groups(t, start, stop, x)


@compiled
def replay(t, node, slot, x):  # type: ignore[no-untyped-def]
    """Play again the groups above one slot after its child's value or visits changed."""
    capacity = t.log2_capacity[node]
    below, size_below, in_use, index = np.int64(t.first_slot[node]), 1 << capacity, np.int64(t.num_children[node]), slot
    for level in range(1, num_levels(capacity) + 1):
        base = below + size_below
        index >>= 3
        winner, expiry = _play(t, level, below, in_use, index, x)
        t.child[base + index], t.bonus[base + index] = winner, expiry
        below, size_below, in_use = base, level_size(capacity, level), (in_use + 7) >> 3


@compiled
def rebuild(t, node, x):  # type: ignore[no-untyped-def]
    """Play every group of a node, after its block moved, x went down or all its lines changed."""
    capacity = t.log2_capacity[node]
    below, size_below, in_use = np.int64(t.first_slot[node]), 1 << capacity, np.int64(t.num_children[node])
    for level in range(1, num_levels(capacity) + 1):
        base, groups = below + size_below, (in_use + 7) >> 3
        for index in range(groups):
            winner, expiry = _play(t, level, below, in_use, index, x)
            t.child[base + index], t.bonus[base + index] = winner, expiry
        below, size_below, in_use = base, level_size(capacity, level), groups


@compiled
def _first_expired(t, base, start, stop, x):  # type: ignore[no-untyped-def]
    """The first of the groups [start, stop) whose winner may have been overtaken at x; -1 if there is none."""
    for group in range(start, stop):
        if t.bonus[base + group] <= x:
            return group
    return -1


@compiled
def _renew(t, node, level, base, x):  # type: ignore[no-untyped-def]
    """Replay the expired groups at and below the top one (``level``, at entry ``base``), the lower ones first.

    A walk without recursion, which numba cannot keep in its cache: down to an expired group that has none below it,
    replay it, back up to the group above.
    """
    capacity, top, index = t.log2_capacity[node], level, 0
    while True:
        below = base - level_size(capacity, level - 1)
        in_use = (np.int64(t.num_children[node]) + (1 << 3 * (level - 1)) - 1) >> 3 * (level - 1)
        if level > 1:
            expired = _first_expired(t, below, 8 * index, min(8 * index + 8, in_use), x)
            if expired >= 0:
                level, base, index = level - 1, below, expired
                continue
        winner, expiry = _play(t, level, below, in_use, index, x)
        t.child[base + index], t.bonus[base + index] = winner, max(expiry, np.nextafter(x, np.inf))
        if level == top:
            return
        level, base, index = level + 1, base + level_size(capacity, level), index >> 3


@compiled
def best_slot(t, node, x):  # type: ignore[no-untyped-def]
    """Slot of the child with the highest v + x b; the earliest among equals."""
    capacity, first = t.log2_capacity[node], np.int64(t.first_slot[node])
    if num_levels(capacity) == 0:
        winner, _ = _play_slots(t, first, first + t.num_children[node], x)
        return winner - first
    top = first + block_size(capacity) - 1
    if t.bonus[top] <= x:
        _renew(t, node, num_levels(capacity), top, x)
    return t.child[top] - first
