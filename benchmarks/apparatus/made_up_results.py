"""Results of rollouts that cost nothing: for benchmarks of ask and tell."""

from __future__ import annotations

import numpy as np

from sadt_ray.interfaces import Results, Tickets


def made_up_results(tickets: Tickets, num_levels: int, state_size: int, rng: np.random.Generator) -> Results:
    """What the rollouts of a process without cost would bring back: rewards N(0, 1), states and samples of ones.

    Args:
        tickets: their ``id`` and ``level`` are read, nothing else.
        state_size: float32 values of a state, and of a sample.
    """
    batch = len(tickets)
    lengths = num_levels - tickets.level
    splits = np.concatenate([[0], np.cumsum(lengths)])
    levels = np.arange(splits[-1]) - np.repeat(splits[:-1], lengths) + np.repeat(tickets.level, lengths) + 1
    rewards = rng.standard_normal(batch)
    return Results(
        id=tickets.id,
        value=rewards,
        path_splits=splits,
        path_level=levels,
        path_state=np.ones((splits[-1], state_size), np.float32),
        path_log_flow=np.zeros(splits[-1]),
        sample_splits=np.arange(batch + 1),
        samples=np.ones((batch, state_size), np.float32),
        rewards=rewards,
        sample_log_weight=np.zeros(batch),
        nfe=lengths,
        reward_calls=np.ones(batch, np.int64),
    )
