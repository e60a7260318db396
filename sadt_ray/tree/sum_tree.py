"""Sums over groups of eight: draw in proportion to a weight, or replace a weight, in log8(n) steps.

A block has 2^k slots for weights. Behind them, level 1 holds the sum of each eight slots, level 2 the sum of each eight
of level 1, up to a single total. Sums are always recomputed from the eight numbers below, never corrected by a
difference, so errors do not accumulate: the total is right to a few units in the last place after any number of
updates. Eight doubles are one cache line. A block of up to eight slots has no groups at all.
"""

from __future__ import annotations

from sadt_ray.numerics.compiled import compiled


@compiled(inline="always")
def level_size(log2_capacity, level):  # type: ignore[no-untyped-def]
    """Number of groups at a level (1 = lowest) above 2^log2_capacity slots."""
    return 1 << max(log2_capacity - 3 * level, 0)


@compiled(inline="always")
def num_levels(log2_capacity):  # type: ignore[no-untyped-def]
    """Levels of groups above the slots; none while eight slots or fewer can be scanned directly."""
    return (log2_capacity + 2) // 3 if log2_capacity > 3 else 0


@compiled(inline="always")
def block_size(log2_capacity):  # type: ignore[no-untyped-def]
    """Entries of a block: its slots and its groups of all levels."""
    size = 1 << log2_capacity
    for level in range(1, num_levels(log2_capacity) + 1):
        size += level_size(log2_capacity, level)
    return size


@compiled(inline="always")
def _sum(weights, start, stop):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(start, stop):
        total += weights[i]
    return total


@compiled(inline="always")
def total(weights, first, log2_capacity):  # type: ignore[no-untyped-def]
    """Sum of all weights of the block that begins at ``first``."""
    if log2_capacity <= 3:
        return _sum(weights, first, first + (1 << log2_capacity))
    return weights[first + block_size(log2_capacity) - 1]


@compiled(inline="always")
def refresh(weights, first, log2_capacity, slot):  # type: ignore[no-untyped-def]
    """Recompute the sums above one slot after its weight changed."""
    below, size_below, index = first, 1 << log2_capacity, slot
    for level in range(1, num_levels(log2_capacity) + 1):
        base = below + size_below
        index >>= 3
        weights[base + index] = _sum(weights, below + 8 * index, below + min(8 * index + 8, size_below))
        below, size_below = base, level_size(log2_capacity, level)


@compiled
def rebuild(weights, first, log2_capacity):  # type: ignore[no-untyped-def]
    """Recompute every sum of a block."""
    below, size_below = first, 1 << log2_capacity
    for level in range(1, num_levels(log2_capacity) + 1):
        base, size = below + size_below, level_size(log2_capacity, level)
        for index in range(size):
            weights[base + index] = _sum(weights, below + 8 * index, below + min(8 * index + 8, size_below))
        below, size_below = base, size


@compiled(inline="always")
def _pick(weights, start, stop, remainder):  # type: ignore[no-untyped-def]
    """First entry whose cumulative sum exceeds the remainder, and what is left of the remainder inside that entry."""
    chosen = start
    for i in range(start, stop):
        if weights[i] > 0.0:
            chosen = i
            if remainder < weights[i]:
                return i, remainder
            remainder -= weights[i]
    return chosen, weights[chosen]  # rounding ran past the end: the last entry with a weight


@compiled(inline="always")
def draw(weights, first, log2_capacity, uniform):  # type: ignore[no-untyped-def]
    """Slot drawn in proportion to its weight, by inversion of one uniform in (0, 1). The total must be positive."""
    remainder = uniform * total(weights, first, log2_capacity)
    base = first + block_size(log2_capacity) - 1
    index = 0
    for level in range(num_levels(log2_capacity) - 1, -1, -1):
        size = level_size(log2_capacity, level)
        base -= size
        chosen, remainder = _pick(weights, base + 8 * index, base + min(8 * index + 8, size), remainder)
        index = chosen - base
    if log2_capacity <= 3:
        chosen, _ = _pick(weights, first, first + (1 << log2_capacity), remainder)
        index = chosen - first
    return index
