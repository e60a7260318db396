"""From tickets to results: run each ticket's chain down to x_0, keep the states on the way, score what comes out."""

from __future__ import annotations

import time

import numpy as np

from sadt_ray.interfaces import Chain, Failure, Results, Scorer, Tickets
from sadt_ray.processes.sampling import run_down
from sadt_ray.rewards.terminal import evaluate_terminal


def rollout(chain: Chain, scorer: Scorer, num_levels: int, tickets: Tickets, lam: float = 1.0) -> Results:
    """Continue every ticket from its state to x_0 and score the samples.

    A sample that the scorer cannot score (it raised, or gave NaN, +inf or a wrong shape) comes back as a ``Failure``,
    the others as results.

    Args:
        lam: lambda, for a chain whose last step is listed: its endings are weighed by exp(lambda r).
    """
    started = time.perf_counter()
    path = run_down(chain, num_levels, tickets.state, tickets.level, tickets.problem, tickets.seed)
    order = np.argsort(path.rows, kind="stable")  # ticket by ticket, each from the top down
    lengths = np.bincount(path.rows, minlength=len(tickets))
    ends = evaluate_terminal(chain, scorer, path.states[order[np.cumsum(lengths) - 1]], tickets.problem, lam)
    good, nfe = np.ones(len(tickets), bool), path.nfe + ends.nfe
    good[list(ends.messages)] = False
    samples, rewards, log_share, counts = ends.samples_of(good)
    if ends.messages:
        order, lengths = order[np.repeat(good, lengths)], lengths[good]
    return Results(
        id=tickets.id[good],
        value=ends.value[good],
        path_splits=np.concatenate([[0], np.cumsum(lengths)]),
        path_level=path.levels[order],
        path_state=path.states[order],
        path_log_flow=np.zeros(len(order)),
        sample_splits=np.concatenate([[0], np.cumsum(counts)]),
        samples=samples,
        rewards=rewards,
        sample_log_weight=log_share,
        nfe=nfe[good],
        reward_calls=ends.reward_calls[good],
        seconds=time.perf_counter() - started,
        failures=tuple(
            Failure(int(tickets.id[row]), int(tickets.problem[row]), message, int(nfe[row]))
            for row, message in sorted(ends.messages.items())
        ),
    )
