"""From tickets to results: run each ticket's chain down to x_0, keep the states on the way, score what comes out."""

from __future__ import annotations

import time

import numpy as np

from sadt_ray.interfaces import Chain, Failure, Results, Scorer, States, Tickets
from sadt_ray.rewards.checked import score_checked


def rollout(chain: Chain, scorer: Scorer, num_levels: int, tickets: Tickets) -> Results:
    """Continue every ticket from its state to x_0, one branch level at a time, and score the samples.

    Rows need not stand at the same level; those that have arrived leave the batch. A sample that the scorer cannot
    score (it raised, or gave NaN, +inf or a wrong shape) comes back as a ``Failure``, the others as results.
    """
    started = time.perf_counter()
    states, nfe, path = _run_down(chain, num_levels, tickets)
    samples = chain.decode(states, tickets.problem)
    rewards, messages = score_checked(scorer, samples, tickets.problem)
    failures = tuple(
        Failure(int(tickets.id[row]), int(tickets.problem[row]), message) for row, message in sorted(messages.items())
    )
    good = np.ones(len(tickets), bool)
    good[list(messages)] = False
    path_rows, path_levels, path_states = path
    order = np.argsort(path_rows, kind="stable")
    order = order[good[path_rows[order]]]
    lengths = np.bincount(path_rows, minlength=len(tickets))[good]
    ones = np.ones(int(good.sum()), np.int64)
    return Results(
        id=tickets.id[good],
        value=rewards[good],
        path_splits=np.concatenate([[0], np.cumsum(lengths)]),
        path_level=path_levels[order],
        path_state=path_states[order],
        path_log_flow=np.zeros(len(order)),
        sample_splits=np.arange(len(ones) + 1),
        samples=samples[good],
        rewards=rewards[good],
        sample_log_weight=np.zeros(len(ones)),
        nfe=nfe[good],
        reward_calls=ones,
        seconds=time.perf_counter() - started,
        failures=failures,
    )


def _run_down(
    chain: Chain, num_levels: int, tickets: Tickets
) -> tuple[States, np.ndarray, tuple[np.ndarray, np.ndarray, States]]:
    """Final states, evaluations, and the path as flat (ticket row, level, state), level by level."""
    states, levels = tickets.state.copy(), tickets.level.copy()
    nfe = np.zeros(len(tickets), np.int64)
    live = np.flatnonzero(levels < num_levels)
    rows, row_levels, row_states = [], [], []
    while len(live):
        step = chain.advance(states[live], levels[live], tickets.problem[live], tickets.seed[live])
        states[live], levels[live] = step.states, step.levels
        nfe[live] += step.nfe
        rows.append(live)
        row_levels.append(step.levels)
        row_states.append(step.states)
        live = live[step.levels < num_levels]
    return states, nfe, (np.concatenate(rows), np.concatenate(row_levels), np.concatenate(row_states))
