"""From tickets to results: run each ticket's chain down to x_0, keep the states on the way, score what comes out."""

from __future__ import annotations

import time

import numpy as np

from sadt_ray.interfaces import Chain, Failure, Results, Scorer, Tickets
from sadt_ray.processes.sampling import run_down
from sadt_ray.rewards.checked import score_checked


def rollout(chain: Chain, scorer: Scorer, num_levels: int, tickets: Tickets) -> Results:
    """Continue every ticket from its state to x_0 and score the samples.

    A sample that the scorer cannot score (it raised, or gave NaN, +inf or a wrong shape) comes back as a ``Failure``,
    the others as results.
    """
    started = time.perf_counter()
    path = run_down(chain, num_levels, tickets.state, tickets.level, tickets.problem, tickets.seed)
    order = np.argsort(path.rows, kind="stable")  # ticket by ticket, each from the top down
    lengths = np.bincount(path.rows, minlength=len(tickets))
    samples = chain.decode(path.states[order[np.cumsum(lengths) - 1]], tickets.problem)
    rewards, messages = score_checked(scorer, samples, tickets.problem)
    good = np.ones(len(tickets), bool)
    good[list(messages)] = False
    if messages:
        order, lengths = order[np.repeat(good, lengths)], lengths[good]
    return Results(
        id=tickets.id[good],
        value=rewards[good],
        path_splits=np.concatenate([[0], np.cumsum(lengths)]),
        path_level=path.levels[order],
        path_state=path.states[order],
        path_log_flow=np.zeros(len(order)),
        sample_splits=np.arange(len(lengths) + 1),
        samples=samples[good],
        rewards=rewards[good],
        sample_log_weight=np.zeros(len(lengths)),
        nfe=path.nfe[good],
        reward_calls=np.ones(len(lengths), np.int64),
        seconds=time.perf_counter() - started,
        failures=tuple(
            Failure(int(tickets.id[row]), int(tickets.problem[row]), message, int(path.nfe[row]))
            for row, message in sorted(messages.items())
        ),
    )
