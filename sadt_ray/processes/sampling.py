"""Independent samples straight from a prior: no tree, no reward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt64

from sadt_ray.interfaces import Chain, GenerativeProcess, Problem, States
from sadt_ray.rng import derive_seeds


def run_to_end(
    chain: Chain, num_levels: int, problem: Int[np.ndarray, " B"], seeds: UInt64[np.ndarray, " B"]
) -> tuple[States, Int[np.ndarray, " B"]]:
    """States at x_0, each row from its problem's root under one seed, and the function evaluations each row cost.

    A row whose chain ends early keeps its state while the others go on.
    """
    states = chain.root_states()[problem]
    levels = np.zeros(len(problem), np.int64)
    nfe = np.zeros(len(problem), np.int64)
    while (moving := np.flatnonzero(levels < num_levels)).size:
        step = chain.advance(states[moving], levels[moving], problem[moving], seeds[moving])
        states[moving], levels[moving] = step.states, step.levels
        nfe[moving] += step.nfe
    return states, nfe


def sample_prior(
    process: GenerativeProcess, problems: Sequence[Problem], num_samples: int, seed: int = 0, batch_size: int = 1024
) -> np.ndarray:
    """Samples [P, num_samples, ...] of each problem, in the units of its context.

    Raises:
        ValueError: if num_samples is not positive, or a problem does not fit the process.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
    chain = process.bind(problems)
    problem = np.repeat(np.arange(len(problems)), num_samples)
    seeds = derive_seeds(seed, 0, np.arange(len(problem)))
    parts = []
    for start in range(0, len(problem), batch_size):
        rows = slice(start, start + batch_size)
        states, _ = run_to_end(chain, process.num_levels, problem[rows], seeds[rows])
        parts.append(chain.decode(states, problem[rows]))
    samples = np.concatenate(parts)
    return samples.reshape(len(problems), num_samples, *samples.shape[1:])
