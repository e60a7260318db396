"""Ask, tell, forget: a forest of search trees behind three calls that take and give batches.

``ask`` says where the next rollouts start, ``tell`` backs their results up, ``forget`` gives tickets up that nobody
will answer. Rollouts run elsewhere and may come back in any order, late, or twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from sadt_ray.config import SearchConfig, settings_of
from sadt_ray.interfaces import Failure, Results, States, Tickets
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.tree import draw
from sadt_ray.tree.checks import check_asked, check_columns, check_flow_of_nodes, check_forest, check_results
from sadt_ray.tree.growing import GrowingArray
from sadt_ray.tree.particle_record import RecordedParticles, check_particle_record
from sadt_ray.tree.rules import Rules, ask_batch_by_rules
from sadt_ray.tree.samples import SampleStore, WeightedSamples
from sadt_ray.tree.simulate import (
    CLOSED,
    NO_LIMIT,
    Params,
    ask_batch,
    close_tickets,
    count_batch,
    forget_batch,
    refresh_batch,
    roots_of_nodes,
    tell_batch,
)
from sadt_ray.tree.state import FORMAT_VERSION, SearchState, check_version, named
from sadt_ray.tree.stopping import StoppingRules
from sadt_ray.tree.tree import Tree

_PROBLEM_STREAM = 0


class Search:
    """A forest, one tree a problem, that serves its problems in turn and stops each one at its budget, or before it
    by a rule.

    Args:
        config: widening, selection, draw, budgets, stopping rules. Rules of your own are loaded here; ``ask`` raises
            ValueError for an answer of theirs that is not possible.
        names: the problems' names; a problem's random numbers depend on its name, not on its neighbours.
        root_states: [P, *state_shape] from ``Chain.root_states``.
        num_levels: of the process.

    Attributes:
        asked, told, forgotten: simulations per problem; told + forgotten + in flight = asked.
        nfe, reward_calls: per problem, as reported by the results that were backed up.
        ignored_tells: rows told for tickets that were closed already.
        failures: tickets that were set aside, and why.
        keep_particle_records: whether particles beside the paths are kept until ``take_particle_records``.
        stopping: which problems are done before their budgets.
    """

    def __init__(self, config: SearchConfig, names: Sequence[str], root_states: States, num_levels: int) -> None:
        check_forest(names, root_states, num_levels)
        self.config = config
        self.names = tuple(names)
        self.num_levels = num_levels
        self._params = Params.of(config, num_levels)
        self._rules = Rules.of(config)
        self._seeds = derive_seeds(config.seed, _PROBLEM_STREAM, np.array([_name_key(name) for name in names]))
        self.tree = Tree(len(names), self._params.selection)
        self.states = GrowingArray(root_states.shape[1:], root_states.dtype)
        self.states.extend(root_states)
        self.sample_store = SampleStore()
        self.asked, self.told, self.forgotten, self.nfe, self.reward_calls = np.zeros((5, len(names)), np.int64)
        self._dearest = np.zeros(len(names), np.int64)  # evaluations of the most expensive result of each problem
        self.ignored_tells = 0
        self.failures: list[Failure] = []
        self.keep_particle_records = False
        self._particle_records: list[RecordedParticles] = []
        self._ticket_node = GrowingArray((), np.int32)  # by ticket id; CLOSED once told or forgotten
        self._turn = 0
        self.stopping = StoppingRules(config, len(names))

    def open_tickets(self) -> Int[np.ndarray, " n"]:
        """Ids of tickets asked and neither told nor forgotten."""
        return np.flatnonzero(self._ticket_node.values != CLOSED)

    @property
    def simulations(self) -> int:
        """Simulations backed up, all problems together."""
        return int(self.told.sum())

    def wanting(self) -> Bool[np.ndarray, " P"]:
        """Problems that may still start a simulation."""
        n_rollouts, max_nfe = self._budgets()
        return (self.asked - self.forgotten < n_rollouts) & (self.nfe < max_nfe) & ~self.stopping.done

    def ask(self, n: int) -> Tickets:
        """Up to ``n`` tickets, one problem after the other; fewer, or none, when budgets end or rules are met.

        A simulation that arrives at an x_0 already in the tree needs no rollout: it is counted and backed up here.
        Evaluations are reserved for tickets in flight, as many as a problem's most expensive one so far needed and,
        before that is known, all of them; a budget of evaluations is overspent by less than one rollout.
        """
        node, problem, seed = self._descend(n)
        if n and len(node) == 0 and self.stopping.outdated(self.told) and len(self.open_tickets()) == 0:
            self._read_rules()
            node, problem, seed = self._descend(n)
        first = len(self._ticket_node)
        self._ticket_node.extend(node)
        return Tickets(
            id=np.arange(first, first + len(node)),
            problem=problem,
            node=node,
            level=self.tree.columns.level[node].astype(np.int64),
            state=self.states.values[node],
            seed=seed,
        )

    def _descend(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Node, problem and seed of up to ``n`` simulations that need a rollout."""
        node, problem, seed = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint64)
        ask = ask_batch if self._rules is None else partial(ask_batch_by_rules, self._rules)
        count, asked = 0, -1
        while count == 0 and self.asked.sum() > asked:  # problems that end without a rollout make room for others
            asked = self.asked.sum()
            count, self._turn = ask(
                self.tree.columns, self._params, self._seeds, self.asked, self.told, self.forgotten, self.nfe,
                self._dearest, self._resting(), *self._budgets(), self._turn, node, problem, seed,
            )  # fmt: skip
        return node[:count], problem[:count], seed[:count]

    def _resting(self) -> Bool[np.ndarray, " P"]:
        """Problems whose turn is over, or has not come: beyond the first ``at_once`` that want a simulation."""
        if self.config.at_once is None:
            return self.stopping.done
        wanting = self.wanting()
        return ~wanting | (np.cumsum(wanting) > self.config.at_once)

    def _read_rules(self) -> None:
        self.stopping.read(self.tree, self.sample_store, self.told)

    def tell(self, results: Results) -> None:
        """Back results up. Rows of tickets that are closed already are dropped and counted in ``ignored_tells``.

        Raises:
            ValueError: for a ticket that was never asked, a path that does not end at x_0, a value or flow that is NaN
                or +inf, sample weights that do not sum to one over a ticket, or columns that do not fit. Nothing of
                such a batch is backed up, and its tickets stay open.
        """
        check_asked(_tickets_of(results.failures), len(self._ticket_node))
        check_columns(results, self.states.row_shape, self.sample_store.sample_shape)
        check_results(results, len(self._ticket_node), self._params.num_levels)
        if results.particle_record is not None:
            check_particle_record(results.particle_record, len(results), self.states.row_shape)
        results = _plain(results)
        node = close_tickets(self._ticket_node.values, results.id)
        accepted = node != CLOSED
        self.ignored_tells += int(len(results) - accepted.sum())
        path_length = np.diff(results.path_splits)
        leaf = np.full(len(results), CLOSED)
        row = 0
        while True:
            row, slots = tell_batch(
                self.tree.columns, self._params, node, results.value, results.path_splits, results.path_level,
                results.path_log_flow, leaf, row,
            )  # fmt: skip
            if row == len(results):
                break
            self.tree.reserve(int(path_length[row:].sum()), slots)
        new_nodes = slice(None) if accepted.all() else np.repeat(accepted, path_length)
        self.states.extend(results.path_state[new_nodes])
        nfe_at = np.empty(len(results), np.int64)
        problem = np.full(len(results), CLOSED)
        count_batch(
            self.tree.columns.parent, node, results.nfe, results.reward_calls, self.told, self.nfe, self._dearest,
            self.reward_calls, problem, nfe_at,
        )  # fmt: skip
        of_ticket = np.repeat(np.arange(len(results)), np.diff(results.sample_splits))
        kept = accepted[of_ticket]
        of_ticket = of_ticket[kept]
        self.sample_store.extend(
            results.samples[kept], problem[of_ticket], leaf[of_ticket], results.rewards[kept],
            results.sample_log_weight[kept], nfe_at[of_ticket],
            None if results.sample_start is None else results.sample_start[kept],
        )  # fmt: skip
        if self.keep_particle_records and results.particle_record is not None:
            self._particle_records.append(
                RecordedParticles(results.particle_record, node, leaf - path_length + 1, problem)
            )
        if results.failures:
            self.set_aside(results.failures)
        if self.stopping.due(self.told):
            self._read_rules()

    def refresh_log_flow(self, nodes: Int[np.ndarray, " n"], log_flow: Float[np.ndarray, " n"]) -> None:
        """Give nodes the lambda F_phi of newer weights; selection then reads every node as if told so from the start.

        At any moment, also with tickets in flight. What a refresher reads: ``states.values``, ``tree.column("level")``
        and ``problem_of_nodes()``, all by node, to which every ``tell`` appends.

        Raises ValueError for a node that is not in the tree, or a flow that is NaN or +inf.
        """
        check_flow_of_nodes(nodes, log_flow, len(self.tree))
        nodes, log_flow = (np.require(a, t, ("C", "W")) for a, t in ((nodes, np.int64), (log_flow, np.float64)))
        refresh_batch(self.tree.columns, self._params, nodes, log_flow)

    def take_particle_records(self) -> list[RecordedParticles]:
        """What was kept since the last call."""
        taken, self._particle_records = self._particle_records, []
        return taken

    def forget(self, ids: Int[np.ndarray, " n"]) -> None:
        """Give tickets up; their simulations will be asked anew, with new seeds. Closed tickets are left alone."""
        check_asked(ids, len(self._ticket_node))
        node = close_tickets(self._ticket_node.values, np.require(ids, np.int64, ("C", "W")))
        forget_batch(self.tree.columns, self._params, node, self.forgotten)

    def set_aside(self, failures: Sequence[Failure]) -> None:
        """Give tickets up that failed for good: record why in ``failures``, count what they cost, and forget them."""
        tickets = _tickets_of(failures)
        check_asked(tickets, len(self._ticket_node))
        for failure in itertools.compress(failures, self._ticket_node.values[tickets] != CLOSED):
            self.failures.append(failure)
            self.nfe[failure.problem] += failure.nfe
            self.reward_calls[failure.problem] += 1
        self.forget(tickets)

    def state(self) -> SearchState:
        """All that the search follows from, at any moment. Nothing is copied: save or send it before going on."""
        return SearchState(
            arrays={
                **named("tree", self.tree.arrays()),
                **named("samples", self.sample_store.arrays()),
                **named("count", self._counters()),
                **named("stopping", self.stopping.arrays()),
                "states": self.states.values,
                "tickets": self._ticket_node.values,
            },
            facts={
                "format_version": FORMAT_VERSION,
                "config": settings_of(self.config),
                "names": list(self.names),
                "num_levels": self.num_levels,
                "turn": int(self._turn),
                "ignored_tells": self.ignored_tells,
                "failures": [[int(f.ticket), int(f.problem), f.message, int(f.nfe)] for f in self.failures],
            },
        )

    @classmethod
    def restored(cls, state: SearchState, config: SearchConfig | None = None) -> Search:
        """The search that ``state`` is of, with tickets still open; it goes on exactly as that one would have.

        Arrays are copied.

        Args:
            config: the configuration that the state is of, where it is at hand. A state holds rules by their names;
                without ``config`` they are loaded by these.

        Raises ValueError for a state of another format version, or rules that cannot be loaded by their names.
        """
        check_version(state.facts)
        names, arrays = state.facts["names"], state.arrays
        search = cls(config or state.config, names, arrays["states"][: len(names)], state.facts["num_levels"])
        search.tree = Tree.from_arrays(len(names), search._params.selection, state.part("tree"))
        search.states = GrowingArray.of(arrays["states"])
        search.sample_store = SampleStore.from_arrays(state.part("samples"))
        search._ticket_node = GrowingArray.of(arrays["tickets"])
        for name, counter in state.part("count").items():
            search._counters()[name][:] = counter
        search.stopping.restore(state.part("stopping"))
        search._turn, search.ignored_tells = state.facts["turn"], state.facts["ignored_tells"]
        search.failures = state.failures
        return search

    def _counters(self) -> dict[str, Int[np.ndarray, " P"]]:
        """Every count of the problems, by name."""
        return {
            "asked": self.asked, "told": self.told, "forgotten": self.forgotten,
            "nfe": self.nfe, "reward_calls": self.reward_calls, "dearest": self._dearest,
        }  # fmt: skip

    def with_samples(self) -> Int[np.ndarray, " n"]:
        """Numbers of the problems that have a sample."""
        return np.flatnonzero(self.sample_store.counts(len(self.names)))

    def samples(
        self, config: SearchConfig | None = None, problems: Sequence[int] | None = None
    ) -> list[WeightedSamples]:
        """Every problem's samples under the configured draw, or under that of another configuration.

        At any moment, also with tickets in flight, which count for nothing.

        Args:
            problems: numbers of those wanted; ``with_samples()`` while some have none.

        Raises ValueError if a problem has none yet.
        """
        wanted = list(range(len(self.names)) if problems is None else problems)
        missing = np.setdiff1d(wanted, self.with_samples())
        if len(missing):
            raise ValueError(f"problem {self.names[missing[0]]!r} has no sample yet")
        log_probability, lam = self.log_draw_probability(config), self.config.inv_temperature
        return [self.sample_store.weighted(self.tree, problem, log_probability, lam) for problem in wanted]

    def log_draw_probability(self, config: SearchConfig | None = None) -> Float[np.ndarray, " nodes"]:
        """Log-probability that the final draw passes through each node."""
        config = config or self.config
        if config.draw == "argmax":
            return draw.argmax_log_weights(self.tree)
        if config.draw == "uniform":
            return draw.uniform_log_weights(self.tree)
        beta = config.draw_inv_temperature
        return draw.softmax_log_weights(self.tree, config.inv_temperature if beta is None else beta)

    def problem_of_nodes(self, first: int = 0) -> Int[np.ndarray, " nodes"]:
        """The problem that each node belongs to, from node ``first`` on."""
        return roots_of_nodes(self.tree.column("parent"), first)

    def _budgets(self) -> tuple[int, int]:
        """Simulations and evaluations. There are never more of the former than of the latter, or a tree that widens
        no further would be walked for ever without an evaluation."""
        max_nfe = self.config.max_nfe or NO_LIMIT
        return self.config.n_rollouts or max_nfe, max_nfe


def _plain(results: Results) -> Results:
    """With columns of the kind that the kernels are compiled for: what comes from another process may be read-only."""
    integers = ("id", "path_splits", "path_level", "nfe", "reward_calls")
    columns: dict[str, Any] = {name: np.require(getattr(results, name), np.int64, ("C", "W")) for name in integers}
    for name in ("value", "path_log_flow"):
        columns[name] = np.require(getattr(results, name), np.float64, ("C", "W"))
    return replace(results, **columns)


def _name_key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")


def _tickets_of(failures: Sequence[Failure]) -> Int[np.ndarray, " n"]:
    return np.array([failure.ticket for failure in failures], np.int64)
