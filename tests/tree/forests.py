"""Small processes, rewards and searches for the tests of the tree."""

from dataclasses import replace

import numpy as np

from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem, Results
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixtureProcess,
    grid_prior,
    nine_mode_posterior,
)
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.tree.search import Search
from sadt_ray.tree.tree import UCT


class TokenReward:
    """r = a fixed standard normal number a token sequence, times ``scale``."""

    oracle = False

    def __init__(self, process, scale=1.0, seed=0):
        self._base = process.num_tokens ** np.arange(process.state_shape[0])
        numbers = np.random.default_rng(seed).standard_normal(process.num_tokens ** process.state_shape[0])
        self.table = scale * numbers

    def __call__(self, sequence):
        return self.table[np.asarray(sequence) @ self._base]

    def bind(self, problems):
        return lambda samples, problem: self(samples)


def markov(num_tokens=3, depth=4, seed=1, scale=1.0):
    process = MarkovChainProcess.random(num_tokens, depth, seed)
    return process, TokenReward(process, scale)


def mixture(branch_steps="published"):
    return (
        GaussianMixtureProcess(grid_prior(), branch_steps=branch_steps),
        DensityRatioReward(grid_prior(), nine_mode_posterior()),
    )


def problems(count):
    return [Problem(f"problem {i}", np.zeros(0)) for i in range(count)]


def new_search(config, process, count=1):
    names = [problem.name for problem in problems(count)]
    return Search(config, names, process.bind(problems(count)).root_states(), process.num_levels)


class WithFlow(SerialExecutor):
    """Looks up the flow of every new node: ``flow(states, levels)`` gives lambda F."""

    def __init__(self, process, reward, problems, batch_size, flow):
        super().__init__(process, reward, problems, batch_size)
        self.flow = flow

    def collect(self):
        (finished,) = super().collect()
        results = finished.results
        log_flow = self.flow(results.path_state, results.path_level)
        return [finished._replace(results=replace(results, path_log_flow=log_flow))]


def no_flow(states, levels):
    return np.zeros(len(levels))


def searched(config, process, reward, count=1, batch_size=1, flow=no_flow):
    """A finished search over ``count`` independent problems."""
    search = new_search(config, process, count)
    run_search(search, WithFlow(process, reward, problems(count), batch_size, flow))
    return search


def exact_flow(process, reward, lam, scale=1.0):
    """``scale`` lambda V of every prefix of a Markov chain, by exhaustive sums."""
    base = (process.num_tokens + 1) ** np.arange(process.state_shape[0])
    table = np.full(base[-1] * (process.num_tokens + 1), np.nan)
    for prefix, value in process.soft_values(reward, lam).items():
        table[(np.array([*prefix], int) + 1) @ base[: len(prefix)]] = scale * lam * value
    return lambda states, levels: table[(np.asarray(states) + 1) @ base]


def noise_flow(process, scale=1.0, seed=0):
    """A fixed normal number a prefix, which knows nothing of the reward."""
    base = (process.num_tokens + 1) ** np.arange(process.state_shape[0])
    table = scale * np.random.default_rng(seed).standard_normal(base[-1] * (process.num_tokens + 1))
    return lambda states, levels: table[(np.asarray(states) + 1) @ base]


def made_up(tickets, rewards, num_levels, nfe=None, width=1):
    """Results of rollouts that never happened: every new state is the ticket's id."""
    lengths = num_levels - tickets.level
    splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    of_ticket = np.repeat(np.arange(len(tickets)), lengths)
    levels = np.arange(splits[-1]) - splits[of_ticket] + tickets.level[of_ticket] + 1
    rewards = np.asarray(rewards, float)
    return Results(
        id=tickets.id,
        value=rewards,
        path_splits=splits,
        path_level=levels,
        path_state=np.tile(tickets.id[of_ticket, None].astype(float), (1, width)),
        path_log_flow=np.zeros(len(levels)),
        sample_splits=np.arange(len(tickets) + 1),
        samples=np.tile(tickets.id[:, None].astype(float), (1, width)),
        rewards=rewards,
        sample_log_weight=np.zeros(len(tickets)),
        nfe=lengths if nfe is None else np.full(len(tickets), nfe),
        reward_calls=np.ones(len(tickets), np.int64),
    )


def made_up_sweeps(tickets, values, num_levels, log_shares):
    """Results of sweeps that never happened: ticket b has the samples ``log_shares[b]``, of its value as reward."""
    counts = [len(shares) for shares in log_shares]
    of_ticket = np.repeat(np.arange(len(tickets)), counts)
    return replace(
        made_up(tickets, values, num_levels),
        sample_splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        samples=tickets.id[of_ticket, None].astype(float),
        rewards=np.asarray(values, float)[of_ticket],
        sample_log_weight=np.concatenate([np.asarray(shares, float) for shares in log_shares]),
        reward_calls=np.asarray(counts, np.int64),
    )


def bare_search(num_levels=3, count=1, **settings):
    """A search without a process, for made-up results."""
    names = [f"problem {i}" for i in range(count)]
    return Search(SearchConfig(**settings), names, np.zeros((count, 1)), num_levels)


def part(results, rows):
    """Some rows of made-up results, in the order given."""
    rows = np.asarray(rows, np.int64)
    lengths = np.diff(results.path_splits)[rows]
    path = np.concatenate([np.arange(*results.path_splits[row : row + 2]) for row in rows] or [[]]).astype(np.int64)
    per_ticket = ("id", "value", "samples", "rewards", "sample_log_weight", "nfe", "reward_calls")
    return replace(
        results,
        **{name: getattr(results, name)[rows] for name in per_ticket},
        **{name: getattr(results, name)[path] for name in ("path_level", "path_state", "path_log_flow")},
        path_splits=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        sample_splits=np.arange(len(rows) + 1),
    )


def plain_selection_values(search):
    """(1 - alpha) v + alpha F - virtual_loss O / (N + O) of every node, alpha = alpha k / (k + N)."""
    names = ("value", "log_flow", "visits", "in_flight")
    value, log_flow, visits, in_flight = (search.tree.column(name) for name in names)
    config = search.config
    k = config.alpha_visits
    alpha = np.full(len(value), config.alpha) if k is None else config.alpha * k / (k + visits)
    mixed = alpha * (log_flow / config.inv_temperature)
    mixed[alpha < 1] += (1 - alpha[alpha < 1]) * value[alpha < 1]
    return mixed - config.virtual_loss * in_flight / np.maximum(visits + in_flight, 1)


def assert_keys_follow(search):
    """What selection reads of every child is the formula: softmax weights, or the value and the bonus of UCT.

    A total may fall to 1e-200 before its weights are recomputed, and shares below 1e-108 of it are then zero.
    """
    t, params, values = search.tree.columns, search._params, plain_selection_values(search)
    for node in np.flatnonzero(search.tree.column("num_children")):
        children = search.tree.children(node)
        slots = slice(t.first_slot[node], t.first_slot[node] + len(children))
        if params.selection == UCT:
            np.testing.assert_allclose(t.key[slots], values[children], rtol=1e-14, atol=1e-14)
            counts = 1.0 + t.visits[children] + t.in_flight[children]
            np.testing.assert_allclose(t.bonus[slots], 1 / np.sqrt(counts), rtol=1e-14)
        elif np.max(values[children]) == -np.inf:
            np.testing.assert_array_equal(t.key[slots], 0)
        else:
            plain = np.exp(params.select_beta * (values[children] - np.max(values[children])))
            np.testing.assert_allclose(t.key[slots] / t.key[slots].sum(), plain / plain.sum(), rtol=1e-9, atol=1e-100)


def columns(search):
    """Every per-node number of a search that a simulation can change, states included."""
    names = ("parent", "level", "visits", "in_flight", "pending", "value", "num_children", "slot")
    return {name: search.tree.column(name).copy() for name in names} | {"states": search.states.values.copy()}


def assert_same_tree(one, other):
    a, b = columns(one), columns(other)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
