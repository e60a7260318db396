"""The kernels behind ask, tell and forget, each over a whole batch of tickets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sadt_ray.config import SearchConfig
from sadt_ray.numerics.compiled import compiled
from sadt_ray.numerics.rng import derive_seed
from sadt_ray.tree.backup import add_child, finish_visit, refresh_selection
from sadt_ray.tree.select import cancel_visit, descend, start_visit
from sadt_ray.tree.tree import NODES, SEPARATE, SHARED, UCT, slots_needed

CLOSED = -1  # instead of the node of a ticket that was told or forgotten
NO_LIMIT = int(np.iinfo(np.int64).max)
_TICKET_STREAM = 1


class Params(NamedTuple):
    """The configuration as the kernels want it."""

    lam: float
    select_beta: float
    selection: int
    c_uct: float
    widen_c: float
    widen_alpha: float
    virtual_loss: float
    alpha: float
    alpha_fade: float  # 1 / alpha_visits; 0 where alpha is constant
    num_levels: int

    @classmethod
    def of(cls, config: SearchConfig, num_levels: int) -> Params:
        lam, beta = config.inv_temperature, config.selection_inv_temperature
        # the backup knows neither virtual loss nor flow
        shared = (beta is None or beta == lam) and config.virtual_loss == config.alpha == 0.0
        return cls(
            lam=float(lam),
            select_beta=float(lam if beta is None else beta),
            selection=UCT if config.selection == "uct" else SHARED if shared else SEPARATE,
            c_uct=float(config.c_uct),
            widen_c=float(config.widen_c),
            widen_alpha=float(config.widen_alpha),
            virtual_loss=float(config.virtual_loss),
            alpha=float(config.alpha),
            alpha_fade=1.0 / config.alpha_visits if config.alpha_visits else 0.0,
            num_levels=num_levels,
        )


@compiled
def _spent(t, root, nfe, dearest, max_nfe):  # type: ignore[no-untyped-def]
    """Evaluations of a problem, spent or reserved."""
    if max_nfe < NO_LIMIT and t.in_flight[root] > 0:
        return nfe[root] + t.in_flight[root] * dearest[root] if dearest[root] > 0 else max_nfe
    return nfe[root]


@compiled(inline="always")
def next_root(t, asked, forgotten, nfe, dearest, done, n_rollouts, max_nfe, turn):  # type: ignore[no-untyped-def]
    """The first problem, from ``turn`` on, that may start a simulation; -1 if none may."""
    for _ in range(asked.shape[0]):
        spent = asked[turn] - forgotten[turn] >= n_rollouts or _spent(t, turn, nfe, dearest, max_nfe) >= max_nfe
        if not (spent or done[turn]):
            return turn
        turn = (turn + 1) % asked.shape[0]
    return -1


@compiled(inline="always")
def arrive(t, p, reached, root, told):  # type: ignore[no-untyped-def]
    """Whether a simulation that leaves the tree at ``reached`` needs a rollout; it is counted either way."""
    if t.level[reached] == p.num_levels:
        finish_visit(t, p, reached, 0)
        told[root] += 1
        return False
    start_visit(t, p, reached)
    return True


@compiled(inline="always")
def ticket_seed(seed, simulation):  # type: ignore[no-untyped-def]
    """The seed of a simulation's rollout, from that of its problem."""
    return derive_seed(seed, _TICKET_STREAM, simulation)


@compiled
def ask_batch(  # type: ignore[no-untyped-def]
    t, p, seeds, asked, told, forgotten, nfe, dearest, done, n_rollouts, max_nfe, turn, node, problem, seed
):
    """Fill ``node``, ``problem`` and ``seed`` with tickets; returns how many there are, and whose turn is next.

    ``rules.ask_batch_by_rules`` does the same for rules of a user's own.
    """
    count = 0
    while count < node.shape[0]:
        root = next_root(t, asked, forgotten, nfe, dearest, done, n_rollouts, max_nfe, turn)
        if root < 0:
            break
        turn = (root + 1) % asked.shape[0]
        simulation = asked[root]
        asked[root] += 1
        reached = descend(t, p, root, seeds[root], simulation)
        if arrive(t, p, reached, root, told):
            node[count], problem[count] = reached, root
            seed[count] = ticket_seed(seeds[root], simulation)
            count += 1
    return count, turn


@compiled
def tell_batch(t, p, node, value, path_splits, path_level, path_log_flow, leaf, row):  # type: ignore[no-untyped-def]
    """Back up rows from ``row`` on; stops early, saying how many slots it wants, when the arrays are full."""
    while row < node.shape[0]:
        if node[row] != CLOSED:
            length = path_splits[row + 1] - path_splits[row]
            slots = slots_needed(t, node[row], length)
            if t.used[0] + length > t.parent.shape[0] or t.used[1] + slots > t.child.shape[0]:
                return row, slots
            last = node[row]
            t.pending[last] -= 1
            for i in range(path_splits[row], path_splits[row + 1]):
                last = add_child(t, p, last, path_level[i], value[row], path_log_flow[i], 0.0)
            leaf[row] = last
            finish_visit(t, p, node[row], 1)
        row += 1
    return row, 0


@compiled
def close_tickets(ticket_node, ids):  # type: ignore[no-untyped-def]
    """Nodes of the tickets, each ticket at most once: CLOSED where one is closed already."""
    node = np.empty(ids.shape[0], np.int64)
    for i in range(ids.shape[0]):
        node[i] = ticket_node[ids[i]]
        ticket_node[ids[i]] = CLOSED
    return node


@compiled
def forget_batch(t, p, node, forgotten):  # type: ignore[no-untyped-def]
    """Take the tickets' simulations out of flight."""
    for i in range(node.shape[0]):
        if node[i] != CLOSED:
            cancel_visit(t, p, node[i])
            forgotten[_root(t.parent, node[i])] += 1


@compiled
def refresh_batch(t, p, nodes, log_flow):  # type: ignore[no-untyped-def]
    """Replace the nodes' log flows, and all that selection reads of them and their siblings."""
    changed = np.zeros(t.used[NODES], np.bool_)
    for i in range(nodes.shape[0]):
        t.log_flow[nodes[i]] = log_flow[i]
        if t.parent[nodes[i]] >= 0:
            changed[t.parent[nodes[i]]] = True
    if p.alpha > 0.0:
        for node in range(changed.shape[0]):
            if changed[node]:
                refresh_selection(t, p, node)


@compiled
def _root(parent, node):  # type: ignore[no-untyped-def]
    while parent[node] >= 0:
        node = parent[node]
    return node


@compiled
def count_batch(  # type: ignore[no-untyped-def]
    parent, node, row_nfe, row_calls, told, nfe, dearest, reward_calls, problem, nfe_at
):
    """Add up what each row cost its problem; ``nfe_at`` becomes the problem's evaluations up to and with the row."""
    for row in range(node.shape[0]):
        if node[row] != CLOSED:
            root = _root(parent, node[row])
            told[root] += 1
            nfe[root] += row_nfe[row]
            dearest[root] = max(dearest[root], row_nfe[row])
            reward_calls[root] += row_calls[row]
            problem[row], nfe_at[row] = root, nfe[root]


@compiled
def roots_of_nodes(parent, first):  # type: ignore[no-untyped-def]
    """The root of every node from number ``first`` on."""
    root = np.empty(parent.shape[0] - first, np.int32)
    for node in range(first, parent.shape[0]):
        above = parent[node]
        if above < 0:
            root[node - first] = node
        elif above >= first:
            root[node - first] = root[above - first]
        else:
            root[node - first] = _root(parent, above)
    return root
