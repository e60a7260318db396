"""Ask, tell, forget: a forest of search trees behind three calls that take and give batches.

``ask`` says where the next rollouts start, ``tell`` backs their results up, ``forget`` gives tickets up that nobody
will answer. Rollouts run elsewhere and may come back in any order, late, or twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from sadt_ray.compiled import compiled
from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Failure, Results, States, Tickets
from sadt_ray.logspace import effective_sample_size
from sadt_ray.rng import derive_seed, derive_seeds
from sadt_ray.tree import draw
from sadt_ray.tree.backup import add_child, finish_visit
from sadt_ray.tree.growing import GrowingArray
from sadt_ray.tree.samples import SampleStore, WeightedSamples
from sadt_ray.tree.select import cancel_visit, descend, start_visit
from sadt_ray.tree.tree import SEPARATE, SHARED, UCT, Tree, slots_needed

_PROBLEM_STREAM, _TICKET_STREAM = 0, 1
_CLOSED = -1
_NO_LIMIT = int(np.iinfo(np.int64).max)


class Search:
    """A forest, one tree a problem, that serves its problems in turn and stops each one at its budget.

    Args:
        config: widening, selection, draw, budgets.
        names: the problems' names; a problem's random numbers depend on its name, not on its neighbours.
        root_states: [P, *state_shape] from ``Chain.root_states``.
        num_levels: of the process.

    Attributes:
        asked, told, forgotten: simulations per problem; told + forgotten + in flight = asked.
        nfe, reward_calls: per problem, as reported by the results that were backed up.
        ignored_tells: rows told for tickets that were closed already.
        failures: tickets that could not be completed.
    """

    def __init__(self, config: SearchConfig, names: Sequence[str], root_states: States, num_levels: int) -> None:
        _check_forest(names, root_states, num_levels)
        self.config = config
        self.names = tuple(names)
        self.num_levels = num_levels
        self._params = _Params.of(config, num_levels)
        self._seeds = derive_seeds(config.seed, _PROBLEM_STREAM, np.array([_name_key(name) for name in names]))
        self.tree = Tree(len(names), self._params.selection)
        self.states = GrowingArray(root_states.shape[1:], root_states.dtype)
        self.states.extend(root_states)
        self.sample_store = SampleStore()
        self.asked, self.told, self.forgotten, self.nfe, self.reward_calls = np.zeros((5, len(names)), np.int64)
        self._dearest = np.zeros(len(names), np.int64)  # evaluations of the most expensive result of each problem
        self.ignored_tells = 0
        self.failures: list[Failure] = []
        self._ticket_node = GrowingArray((), np.int32)  # by ticket id; _CLOSED once told or forgotten
        self._turn = 0

    def open_tickets(self) -> Int[np.ndarray, " n"]:
        """Ids of tickets asked and neither told nor forgotten."""
        return np.flatnonzero(self._ticket_node.values != _CLOSED)

    @property
    def simulations(self) -> int:
        """Simulations backed up, all problems together."""
        return int(self.told.sum())

    def wanting(self) -> Bool[np.ndarray, " P"]:
        """Problems that may still start a simulation."""
        n_rollouts, max_nfe = self._budgets()
        return (self.asked - self.forgotten < n_rollouts) & (self.nfe < max_nfe)

    def ask(self, n: int) -> Tickets:
        """Up to ``n`` tickets, one problem after the other; fewer, or none, when budgets end.

        A simulation that arrives at an x_0 already in the tree needs no rollout: it is counted and backed up here.
        Evaluations are reserved for tickets in flight, as many as a problem's most expensive one so far needed and,
        before that is known, all of them; a budget of evaluations is overspent by less than one rollout.
        """
        node, problem = np.empty(n, np.int64), np.empty(n, np.int64)
        seed = np.empty(n, np.uint64)
        count, self._turn = _ask(
            self.tree.columns, self._params, self._seeds, self.asked, self.told, self.forgotten, self.nfe,
            self._dearest, *self._budgets(), self._turn, node, problem, seed,
        )  # fmt: skip
        node, problem, seed = node[:count], problem[:count], seed[:count]
        first = len(self._ticket_node)
        self._ticket_node.extend(node)
        return Tickets(
            id=np.arange(first, first + count),
            problem=problem,
            node=node,
            level=self.tree.columns.level[node].astype(np.int64),
            state=self.states.values[node],
            seed=seed,
        )

    def tell(self, results: Results) -> None:
        """Back results up. Rows of tickets that are closed already are dropped and counted in ``ignored_tells``.

        Raises:
            ValueError: for a ticket that was never asked, a path that does not end at x_0, a value that is NaN or
                +inf, or columns that do not fit. Nothing of such a batch is backed up, and its tickets stay open.
        """
        failed = np.array([failure.ticket for failure in results.failures], np.int64)
        _check_asked(failed, len(self._ticket_node))
        _check_columns(results, self.states.row_shape, self.sample_store.sample_shape)
        _check_results(results, len(self._ticket_node), self._params.num_levels)
        node = _close(self._ticket_node.values, results.id)
        accepted = node != _CLOSED
        self.ignored_tells += int(len(results) - accepted.sum())
        path_length = np.diff(results.path_splits)
        leaf = np.full(len(results), _CLOSED)
        row = 0
        while True:
            row, slots = _tell(
                self.tree.columns, self._params, node, results.value, results.path_splits, results.path_level,
                results.path_log_flow, leaf, row,
            )  # fmt: skip
            if row == len(results):
                break
            self.tree.reserve(int(path_length[row:].sum()), slots)
        self.states.extend(results.path_state[np.repeat(accepted, path_length)])
        nfe_at = np.empty(len(results), np.int64)
        problem = np.full(len(results), _CLOSED)
        _count(
            self.tree.columns.parent, node, results.nfe, results.reward_calls, self.told, self.nfe, self._dearest,
            self.reward_calls, problem, nfe_at,
        )  # fmt: skip
        of_ticket = np.repeat(np.arange(len(results)), np.diff(results.sample_splits))
        kept = accepted[of_ticket]
        of_ticket = of_ticket[kept]
        self.sample_store.extend(
            results.samples[kept], problem[of_ticket], leaf[of_ticket], results.rewards[kept],
            results.sample_log_weight[kept], nfe_at[of_ticket],
        )  # fmt: skip
        still_open = self._ticket_node.values[failed] != _CLOSED
        self.failures.extend(itertools.compress(results.failures, still_open))
        self.forget(failed)

    def forget(self, ids: Int[np.ndarray, " n"]) -> None:
        """Give tickets up; their simulations will be asked anew, with new seeds. Closed tickets are left alone."""
        _check_asked(ids, len(self._ticket_node))
        node = _close(self._ticket_node.values, np.asarray(ids, np.int64))
        _forget(self.tree.columns, self._params, node, self.forgotten)

    def samples(self, config: SearchConfig | None = None) -> list[WeightedSamples]:
        """Every problem's samples under the configured draw, or under that of another configuration.

        Raises ValueError if a problem has none yet.
        """
        log_probability = self.log_draw_probability(config)
        drawn = []
        for problem in range(len(self.names)):
            log_z = self.config.inv_temperature * self.tree.columns.value[problem]
            root_share = np.exp(log_probability[self.tree.children(problem)])
            if len(root_share) == 0:
                raise ValueError(f"problem {self.names[problem]!r} has no sample yet")
            root_ess = effective_sample_size(root_share)
            drawn.append(self.sample_store.weighted(problem, log_probability, float(log_z), root_ess))
        return drawn

    def log_draw_probability(self, config: SearchConfig | None = None) -> Float[np.ndarray, " nodes"]:
        """Log-probability that the final draw passes through each node."""
        config = config or self.config
        if config.draw == "argmax":
            return draw.argmax_log_weights(self.tree)
        if config.draw == "uniform":
            return draw.uniform_log_weights(self.tree)
        beta = config.draw_inv_temperature
        return draw.softmax_log_weights(self.tree, config.inv_temperature if beta is None else beta)

    def problem_of_nodes(self) -> Int[np.ndarray, " nodes"]:
        """The problem that each node belongs to."""
        return _problem_of_nodes(self.tree.column("parent"))

    def _budgets(self) -> tuple[int, int]:
        """Simulations and evaluations. There are never more of the former than of the latter, or a tree that widens
        no further would be walked for ever without an evaluation."""
        max_nfe = self.config.max_nfe or _NO_LIMIT
        return self.config.n_rollouts or max_nfe, max_nfe


class _Params(NamedTuple):
    """The configuration as the kernels want it."""

    lam: float
    select_beta: float
    selection: int
    c_uct: float
    widen_c: float
    widen_alpha: float
    num_levels: int

    @classmethod
    def of(cls, config: SearchConfig, num_levels: int) -> _Params:
        lam, beta = config.inv_temperature, config.selection_inv_temperature
        boltzmann = SHARED if beta is None or beta == lam else SEPARATE
        return cls(
            lam=float(lam),
            select_beta=float(lam if beta is None else beta),
            selection=UCT if config.selection == "uct" else boltzmann,
            c_uct=float(config.c_uct),
            widen_c=float(config.widen_c),
            widen_alpha=float(config.widen_alpha),
            num_levels=num_levels,
        )


def _name_key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")


def _check_forest(names: Sequence[str], root_states: States, num_levels: int) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(f"problem names must differ, but {twice!r} occurs more than once")
    if len(names) != len(root_states):
        raise ValueError(f"{len(names)} problems but {len(root_states)} root states")
    if num_levels < 1:
        raise ValueError(f"a process has at least one level below its root, got num_levels={num_levels}")


def _check_asked(ids: Int[np.ndarray, " n"], num_tickets: int) -> None:
    unknown = (ids < 0) | (ids >= num_tickets)
    if unknown.any():
        raise ValueError(f"ticket {ids[unknown][0]} was never asked")


def _check_columns(results: Results, state_shape: tuple[int, ...], sample_shape: tuple[int, ...] | None) -> None:
    """Kernels index without bounds, so every column must be as long as it says, and rows as wide as those before."""
    r = results
    tickets, nodes, samples = len(r), int(r.path_splits[-1]), int(r.sample_splits[-1])
    lengths = [len(c) for c in (r.value, r.path_splits[1:], r.sample_splits[1:], r.nfe, r.reward_calls)]
    lengths += [len(c) for c in (r.path_level, r.path_state, r.path_log_flow)]
    lengths += [len(c) for c in (r.samples, r.rewards, r.sample_log_weight)]
    if lengths != 5 * [tickets] + 3 * [nodes] + 3 * [samples]:
        raise ValueError(f"{tickets} results, {nodes} nodes and {samples} samples have columns of lengths {lengths}")
    if r.path_state.shape[1:] != state_shape or r.samples.shape[1:] != (sample_shape or r.samples.shape[1:]):
        raise ValueError(
            f"states {r.path_state.shape[1:]} and samples {r.samples.shape[1:]} of a result must have the shapes "
            f"{state_shape} and {sample_shape} of those before"
        )


def _check_results(results: Results, num_tickets: int, num_levels: int) -> None:
    if len(results) == 0:
        return
    _check_asked(results.id, num_tickets)
    bad = np.isnan(results.value) | (results.value == np.inf)
    if bad.any():
        raise ValueError(f"ticket {results.id[bad][0]} was told the value {results.value[bad][0]}")
    if (np.diff(results.path_splits) < 1).any() or (
        results.path_level[results.path_splits[1:] - 1] != num_levels
    ).any():
        raise ValueError(f"every path must have at least one node and end at level {num_levels}")


@compiled
def _spent(t, root, nfe, dearest, max_nfe):  # type: ignore[no-untyped-def]
    """Evaluations of a problem, spent or reserved."""
    if max_nfe < _NO_LIMIT and t.in_flight[root] > 0:
        return nfe[root] + t.in_flight[root] * dearest[root] if dearest[root] > 0 else max_nfe
    return nfe[root]


@compiled
def _ask(  # type: ignore[no-untyped-def]
    t, p, seeds, asked, told, forgotten, nfe, dearest, n_rollouts, max_nfe, turn, node, problem, seed
):
    count, idle = 0, 0
    while count < node.shape[0] and idle < asked.shape[0]:
        root = turn
        turn = (turn + 1) % asked.shape[0]
        if asked[root] - forgotten[root] >= n_rollouts or _spent(t, root, nfe, dearest, max_nfe) >= max_nfe:
            idle += 1
            continue
        idle = 0
        simulation = asked[root]
        asked[root] += 1
        reached = descend(t, p, root, seeds[root], simulation)
        if t.level[reached] == p.num_levels:
            finish_visit(t, p, reached, 0)
            told[root] += 1
            continue
        start_visit(t, p, reached)
        node[count], problem[count] = reached, root
        seed[count] = derive_seed(seeds[root], _TICKET_STREAM, simulation)
        count += 1
    return count, turn


@compiled
def _tell(t, p, node, value, path_splits, path_level, path_log_flow, leaf, row):  # type: ignore[no-untyped-def]
    """Back up rows from ``row`` on; stops early, saying how many slots it wants, when the arrays are full."""
    while row < node.shape[0]:
        if node[row] != _CLOSED:
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
def _close(ticket_node, ids):  # type: ignore[no-untyped-def]
    """Nodes of the tickets, each ticket at most once: _CLOSED where one is closed already."""
    node = np.empty(ids.shape[0], np.int64)
    for i in range(ids.shape[0]):
        node[i] = ticket_node[ids[i]]
        ticket_node[ids[i]] = _CLOSED
    return node


@compiled
def _forget(t, p, node, forgotten):  # type: ignore[no-untyped-def]
    for i in range(node.shape[0]):
        if node[i] != _CLOSED:
            cancel_visit(t, p, node[i])
            forgotten[_root(t.parent, node[i])] += 1


@compiled
def _root(parent, node):  # type: ignore[no-untyped-def]
    while parent[node] >= 0:
        node = parent[node]
    return node


@compiled
def _count(  # type: ignore[no-untyped-def]
    parent, node, row_nfe, row_calls, told, nfe, dearest, reward_calls, problem, nfe_at
):
    for row in range(node.shape[0]):
        if node[row] != _CLOSED:
            root = _root(parent, node[row])
            told[root] += 1
            nfe[root] += row_nfe[row]
            dearest[root] = max(dearest[root], row_nfe[row])
            reward_calls[root] += row_calls[row]
            problem[row], nfe_at[row] = root, nfe[root]


@compiled
def _problem_of_nodes(parent):  # type: ignore[no-untyped-def]
    problem = np.empty(parent.shape[0], np.int32)
    for node in range(parent.shape[0]):
        problem[node] = node if parent[node] < 0 else problem[parent[node]]
    return problem
