"""Selection: the way from a root to the node that the next simulation continues from."""

from __future__ import annotations

from sadt_ray.numerics.compiled import compiled
from sadt_ray.numerics.rng import uniform_at
from sadt_ray.tree import sum_tree, tournament
from sadt_ray.tree.backup import exploration_weight, selection_changed
from sadt_ray.tree.tree import SHARED, UCT
from sadt_ray.tree.widen import may_widen


@compiled(inline="always")
def _boltzmann_slot(t, node, weights, uniform):  # type: ignore[no-untyped-def]
    """Child drawn with probability p_c exp(beta v_c) / sum; uniformly if every reward below was -inf."""
    first, capacity = t.first_slot[node], t.log2_capacity[node]
    if sum_tree.total(weights, first, capacity) > 0.0:
        return sum_tree.draw(weights, first, capacity, uniform)
    return int(uniform * t.num_children[node])


@compiled(inline="always")
def select_child(t, p, node, uniform):  # type: ignore[no-untyped-def]
    """DTS: softmax(beta v). DTS*: argmax v + c sqrt(log(N + O) / (N_c + O_c)). v less the virtual loss, in both."""
    if p.selection == UCT:
        slot = tournament.best_slot(t, node, exploration_weight(t, p, node))
    elif p.selection == SHARED:
        slot = _boltzmann_slot(t, node, t.weight, uniform)
    else:
        slot = _boltzmann_slot(t, node, t.key, uniform)
    return t.child[t.first_slot[node] + slot]


@compiled(inline="always")
def descend(t, p, root, seed, simulation):  # type: ignore[no-untyped-def]
    """Node where the simulation leaves the tree: one that may widen, or an x_0 that is visited again."""
    node = root
    while t.level[node] < p.num_levels and not may_widen(t, p, node):
        node = select_child(t, p, node, uniform_at(seed, t.level[node], simulation))
    return node


@compiled(inline="always")
def start_visit(t, p, node):  # type: ignore[no-untyped-def]
    """Count a simulation in flight from its root down to ``node``, which gets a pending child."""
    t.pending[node] += 1
    _change_in_flight(t, p, node, 1)


@compiled
def cancel_visit(t, p, node):  # type: ignore[no-untyped-def]
    """Undo ``start_visit`` for a ticket that will never be told."""
    t.pending[node] -= 1
    _change_in_flight(t, p, node, -1)
    while node >= 0 and p.selection == UCT:
        # fewer in flight: the exploration weight went down, which a tournament cannot follow
        if t.num_children[node] > 0:
            tournament.rebuild(t, node, exploration_weight(t, p, node))
        node = t.parent[node]


@compiled(inline="always")
def _change_in_flight(t, p, node, change):  # type: ignore[no-untyped-def]
    while True:
        t.in_flight[node] += change
        parent = t.parent[node]
        if parent < 0:
            return
        if p.selection == UCT or p.virtual_loss > 0.0:
            selection_changed(t, p, parent, node)
        node = parent
