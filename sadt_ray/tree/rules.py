"""Selection and widening by rules of a user's own: the way down a tree, in Python, one node at a time.

``ask_batch_by_rules`` does what the kernel ``simulate.ask_batch`` does, with the same turns, budgets, counts and random
numbers, so that a built-in rule written in Python grows the same tree. What a rule is given and what it must return:
``config.SelectionRule`` and ``config.WideningRule``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sadt_ray.config import Children, NodeCounts, SearchConfig, SelectionRule, WideningRule, load_function, name_of
from sadt_ray.numerics.compiled import compiled
from sadt_ray.numerics.rng import uniform_at
from sadt_ray.tree.backup import selection_value
from sadt_ray.tree.select import select_child
from sadt_ray.tree.simulate import Params, arrive, forget_batch, next_root, ticket_seed
from sadt_ray.tree.tree import Columns
from sadt_ray.tree.widen import may_widen


class Rules(NamedTuple):
    """The rules of a search, at least one of them a user's own; None where it is the built-in one."""

    selection: SelectionRule | None
    widening: WideningRule | None

    @classmethod
    def of(cls, config: SearchConfig) -> Rules | None:
        """The rules of a configuration; None if both are built in. Raises ValueError for one that cannot be loaded."""
        rules = cls(_loaded(config.selection), _loaded(config.widening))
        return None if rules == (None, None) else rules


def _loaded(rule: str | Callable[..., Any]) -> Any:
    if not isinstance(rule, str):
        return rule
    return load_function(rule, "rule") if ":" in rule else None


def ask_batch_by_rules(
    rules: Rules,
    t: Columns,
    p: Params,
    seeds: np.ndarray,
    asked: np.ndarray,
    told: np.ndarray,
    forgotten: np.ndarray,
    nfe: np.ndarray,
    dearest: np.ndarray,
    done: np.ndarray,
    n_rollouts: int,
    max_nfe: int,
    turn: int,
    node: np.ndarray,
    problem: np.ndarray,
    seed: np.ndarray,
) -> tuple[int, int]:
    """As ``simulate.ask_batch``. Where a rule fails, the tickets of this batch are forgotten: nobody will hear of them.

    Raises:
        ValueError: for an answer of a rule that is not possible; names the rule. What a rule itself raises is passed
            on.
    """
    count = 0
    while count < len(node):
        root = next_root(t, asked, forgotten, nfe, dearest, done, n_rollouts, max_nfe, turn)
        if root < 0:
            break
        simulation = int(asked[root])
        try:
            reached = _descend(rules, t, p, root, seeds[root], simulation)
        except BaseException:
            forget_batch(t, p, node[:count], forgotten)
            raise
        asked[root] += 1
        turn = (root + 1) % len(asked)
        if arrive(t, p, reached, root, told):
            node[count], problem[count] = reached, root
            seed[count] = ticket_seed(seeds[root], simulation)
            count += 1
    return count, turn


def _descend(rules: Rules, t: Columns, p: Params, root: int, seed: np.uint64, simulation: int) -> int:
    """As ``select.descend``: a node that gets another child, or an x_0 that is visited again."""
    node = root
    while True:
        level, num_children = int(t.level[node]), int(t.num_children[node])
        if level == p.num_levels or num_children == 0:
            return node
        counts = NodeCounts(
            level, int(t.visits[node]), int(t.in_flight[node]), num_children, int(t.pending[node]), p.widen_c,
            p.widen_alpha,
        )  # fmt: skip
        widens = may_widen(t, p, node) if rules.widening is None else _asked_to_widen(rules.widening, counts)
        if widens:
            return node
        uniform = uniform_at(seed, level, simulation)
        if rules.selection is None:
            node = int(select_child(t, p, node, uniform))
        else:
            value, soft_value, log_flow, visits, in_flight = _read_children(t, p, node)
            settings = counts, p.lam, p.select_beta, p.c_uct
            children = Children(value, soft_value, log_flow, visits, in_flight, *settings)
            node = int(t.child[t.first_slot[node] + _chosen(rules.selection, children, uniform)])


def _asked_to_widen(rule: WideningRule, node: NodeCounts) -> bool:
    answer: Any = rule(node)
    if not isinstance(answer, bool | np.bool_):
        raise ValueError(
            f"the widening rule {name_of(rule)} returned {answer!r} for a node of {node.num_children} children at "
            f"level {node.level}; it must return True or False"
        )
    return bool(answer)


def _chosen(rule: SelectionRule, children: Children, uniform: float) -> int:
    count, answer = children.node.num_children, rule(children, uniform)
    try:
        index = -1 if isinstance(answer, bool) else operator.index(answer)
    except TypeError:
        index = -1
    if not 0 <= index < count:
        raise ValueError(
            f"the selection rule {name_of(rule)} returned {answer!r} for a node of {count} children at level "
            f"{children.node.level}; it must return an integer from 0 to {count - 1}"
        )
    return index


@compiled
def _read_children(t, p, node):  # type: ignore[no-untyped-def]
    """The arrays of ``Children``."""
    first, count = t.first_slot[node], t.num_children[node]
    value, soft_value, log_flow = np.empty(count), np.empty(count), np.empty(count)
    visits, in_flight = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        child = t.child[first + i]
        value[i], soft_value[i], log_flow[i] = selection_value(t, p, child), t.value[child], t.log_flow[child]
        visits[i], in_flight[i] = t.visits[child], t.in_flight[child]
    return value, soft_value, log_flow, visits, in_flight
