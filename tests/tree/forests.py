"""Small processes, rewards and searches for the tests of the tree."""

from dataclasses import replace

import numpy as np

from sadt_ray.config import SearchConfig
from sadt_ray.executor import SerialExecutor, run_search
from sadt_ray.interfaces import Problem, Results
from sadt_ray.processes.gaussian_mixture import (
    DensityRatioReward,
    GaussianMixtureProcess,
    grid_prior,
    nine_mode_posterior,
)
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.tree.search import Search


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


def searched(config, process, reward, count=1, batch_size=1):
    """A finished search over ``count`` independent problems."""
    search = new_search(config, process, count)
    run_search(search, SerialExecutor(process, reward, problems(count), batch_size))
    return search


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


def columns(search):
    """Every per-node number of a search that a simulation can change, states included."""
    names = ("parent", "level", "visits", "in_flight", "pending", "value", "num_children", "slot")
    return {name: search.tree.column(name).copy() for name in names} | {"states": search.states.values.copy()}


def assert_same_tree(one, other):
    a, b = columns(one), columns(other)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
