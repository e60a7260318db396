"""The soft Bellman backup, incrementally: V = (1/lambda) log( sum_c p_c exp(lambda v_c) / sum_c p_c ).

p_c = 1 for children sampled from the prior (a log-mean-exp) and their probability where they were enumerated. Weights
are kept relative to a centre per node, which moves when they would leave the range of a double.
"""

from __future__ import annotations

import math

import numpy as np

from sadt_ray.numerics.compiled import compiled
from sadt_ray.tree import sum_tree, tournament
from sadt_ray.tree.tree import NODES, SEPARATE, SHARED, SLOTS, UCT

_OVERFLOW = 500.0  # recentre above exp(500)
_UNDERFLOW = 1e-200  # or when the whole sum falls below this


@compiled(inline="always")
def _with_flow(t, p, node):  # type: ignore[no-untyped-def]
    """(1 - alpha_c) v + alpha_c F, F = log_flow / lambda, alpha_c = alpha / (1 + N / alpha_visits) (S-ADT).

    N = visits. At alpha_c = 1 the value is not read, so that a child of value -inf is selected by its flow too.
    """
    alpha = p.alpha / (1.0 + p.alpha_fade * t.visits[node])
    flow = alpha * t.log_flow[node] / p.lam
    return flow if alpha == 1.0 else (1.0 - alpha) * t.value[node] + flow


@compiled(inline="always")
def selection_value(t, p, node):  # type: ignore[no-untyped-def]
    """A child's value as selection reads it: (N v + O (v - virtual_loss)) / (N + O) = v - virtual_loss O / (N + O).

    Each simulation in flight counts as a finished one that lost (virtual loss: Chaslot et al., Parallel Monte-Carlo
    Tree Search, 2008), by so much less than the child's own value, so that a constant added to the reward changes
    nothing. N = visits, at least 1 for a child in the tree; v is the child's value, mixed with its flow.
    """
    value = _with_flow(t, p, node) if p.alpha > 0.0 else t.value[node]
    if p.virtual_loss > 0.0 and t.in_flight[node] > 0:
        return value - p.virtual_loss * t.in_flight[node] / (t.visits[node] + t.in_flight[node])
    return value


@compiled(inline="always")
def _log_weight(t, p, node, beta, adjusted):  # type: ignore[no-untyped-def]
    """log(p exp(beta v)) of a child; v is ``adjusted`` by flow and virtual loss for selection, never for the backup."""
    log_prior = t.log_prior[node] if t.log_prior.shape[0] > 0 else 0.0
    if beta == 0.0:
        return log_prior  # 0 * -inf is no number
    return log_prior + beta * (selection_value(t, p, node) if adjusted else t.value[node])


@compiled(inline="always")
def _rewrite(t, p, node, beta, adjusted, weights, centres):  # type: ignore[no-untyped-def]
    """Move the centre to the largest log-weight and recompute every weight of the node's children."""
    first = t.first_slot[node]
    top = -np.inf
    for i in range(first, first + t.num_children[node]):
        top = max(top, _log_weight(t, p, t.child[i], beta, adjusted))
    centres[node] = top if top > -np.inf else 0.0
    for i in range(first, first + t.num_children[node]):
        weights[i] = math.exp(_log_weight(t, p, t.child[i], beta, adjusted) - centres[node])
    sum_tree.rebuild(weights, first, t.log2_capacity[node])


@compiled
def _recentre(t, p, node, beta, adjusted, weights, centres):  # type: ignore[no-untyped-def]
    _rewrite(t, p, node, beta, adjusted, weights, centres)  # where it is rare, inlining would only cost room


@compiled(inline="always")
def _set_weight(t, p, node, child, beta, adjusted, weights, centres):  # type: ignore[no-untyped-def]
    """Write one child's weight and the sums above it; returns the total."""
    first, capacity = t.first_slot[node], t.log2_capacity[node]
    log_weight = _log_weight(t, p, child, beta, adjusted)
    if log_weight - centres[node] > _OVERFLOW:
        _recentre(t, p, node, beta, adjusted, weights, centres)
        return sum_tree.total(weights, first, capacity)
    weights[first + t.slot[child]] = math.exp(log_weight - centres[node])
    sum_tree.refresh(weights, first, capacity, t.slot[child])
    total = sum_tree.total(weights, first, capacity)
    if total < _UNDERFLOW and log_weight > -np.inf:
        _recentre(t, p, node, beta, adjusted, weights, centres)
        total = sum_tree.total(weights, first, capacity)
    return total


@compiled(inline="always")
def exploration_weight(t, p, node):  # type: ignore[no-untyped-def]
    """x = c_uct sqrt(log(N + O)), counting simulations in flight (WU-UCT, arXiv 1810.11755)."""
    return p.c_uct * math.sqrt(math.log(1.0 + t.visits[node] + t.in_flight[node]))


@compiled(inline="always")
def _set_score(t, node, child, value):  # type: ignore[no-untyped-def]
    """Write a child's line in the tournament, but play nothing."""
    i = t.first_slot[node] + t.slot[child]
    t.key[i] = value
    t.bonus[i] = 1.0 / math.sqrt(1.0 + t.visits[child] + t.in_flight[child])


@compiled
def _update_tournament(t, p, node, child):  # type: ignore[no-untyped-def]
    """Tell a node's tournament that a child's value, visits or in-flight count changed."""
    _set_score(t, node, child, selection_value(t, p, child) if p.alpha + p.virtual_loss > 0.0 else t.value[child])
    tournament.replay(t, node, t.slot[child], exploration_weight(t, p, node))


@compiled
def _set_adjusted_weight(t, p, node, child):  # type: ignore[no-untyped-def]
    _set_weight(t, p, node, child, p.select_beta, True, t.key, t.select_centre)


@compiled(inline="always")
def selection_changed(t, p, node, child):  # type: ignore[no-untyped-def]
    """Tell a node's selection that a child's value or counts changed. SHARED reads the backup's weights."""
    if p.selection == UCT:
        _update_tournament(t, p, node, child)
    elif p.virtual_loss > 0.0 or p.alpha > 0.0:
        _set_adjusted_weight(t, p, node, child)
    elif p.selection == SEPARATE:  # a constant compiles to faster code
        _set_weight(t, p, node, child, p.select_beta, False, t.key, t.select_centre)


@compiled(inline="always")
def refresh_selection(t, p, node):  # type: ignore[no-untyped-def]
    """Write all that selection reads of a node's children anew. SHARED reads the backup's weights, nothing else."""
    if p.selection == SEPARATE:
        _rewrite(t, p, node, p.select_beta, True, t.key, t.select_centre)
    elif p.selection == UCT:
        for i in range(t.first_slot[node], t.first_slot[node] + t.num_children[node]):
            _set_score(t, node, t.child[i], selection_value(t, p, t.child[i]))
        if t.num_children[node] > 8:  # fewer have no groups
            tournament.rebuild(t, node, exploration_weight(t, p, node))


@compiled(inline="always")
def child_changed(t, p, node, child):  # type: ignore[no-untyped-def]
    """Back one child's value up into its parent."""
    total = _set_weight(t, p, node, child, p.lam, False, t.weight, t.centre)
    mass = t.mass[node] if t.mass.shape[0] > 0 else float(t.num_children[node])
    t.value[node] = (t.centre[node] + math.log(total) - math.log(mass)) / p.lam if total > 0.0 else -np.inf
    selection_changed(t, p, node, child)


@compiled(inline="always")
def add_child(t, p, node, level, value, log_flow, log_prior):  # type: ignore[no-untyped-def]
    """Append a child that has been visited once and back it up into its parent alone. Room must be reserved."""
    child = t.used[NODES]
    t.used[NODES] += 1
    t.parent[child], t.level[child] = node, level
    t.visits[child], t.in_flight[child], t.pending[child] = 1, 0, 0
    t.value[child], t.log_flow[child] = value, log_flow
    t.num_children[child], t.log2_capacity[child] = 0, -1
    t.slot[child] = t.num_children[node]
    if t.num_children[node] == 0 or t.num_children[node] == 1 << t.log2_capacity[node]:
        _move_to_larger_block(t, p, node)
    t.child[t.first_slot[node] + t.slot[child]] = child
    t.num_children[node] += 1
    if t.log_prior.shape[0] > 0:
        t.log_prior[child], t.mass[child] = log_prior, 0.0
        t.mass[node] += math.exp(log_prior)
    child_changed(t, p, node, child)
    return child


@compiled(inline="always")
def _move_to_larger_block(t, p, node):  # type: ignore[no-untyped-def]
    """Give a node whose block is full one of twice the capacity; the outgrown block is kept for reuse."""
    old_first, old, count = t.first_slot[node], t.log2_capacity[node], t.num_children[node]
    new = old + 1
    if t.free[new] >= 0:
        first = t.free[new]
        t.free[new] = t.child[first]
    else:
        first = t.used[SLOTS]
        t.used[SLOTS] += sum_tree.block_size(new)
    for i in range(1 << new):
        t.child[first + i] = t.child[old_first + i] if i < count else 0
        t.weight[first + i] = t.weight[old_first + i] if i < count else 0.0
        if p.selection != SHARED:
            t.key[first + i] = t.key[old_first + i] if i < count else 0.0
        if p.selection == UCT:
            t.bonus[first + i] = t.bonus[old_first + i] if i < count else 0.0
    t.first_slot[node], t.log2_capacity[node] = first, new
    if old >= 0:
        t.child[old_first] = t.free[old]
        t.free[old] = old_first
    sum_tree.rebuild(t.weight, first, new)
    if p.selection == SEPARATE:
        sum_tree.rebuild(t.key, first, new)
    elif p.selection == UCT:
        tournament.rebuild(t, node, exploration_weight(t, p, node))


@compiled(inline="always")
def finish_visit(t, p, node, in_flight):  # type: ignore[no-untyped-def]
    """Count one finished simulation through ``node`` and its ancestors, and back its value up to the root.

    ``in_flight`` is 1 if the simulation was counted as in flight on this path, else 0.
    """
    while True:
        t.visits[node] += 1
        t.in_flight[node] -= in_flight
        parent = t.parent[node]
        if parent < 0:
            return
        child_changed(t, p, parent, node)
        node = parent
