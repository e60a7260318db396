"""Run a chain to x_0, and draw independent samples from a prior, without tree and reward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, UInt64

from sadt_ray.interfaces import Chain, GenerativeProcess, Path, Problem, RunsDown, States
from sadt_ray.numerics.rng import derive_seeds


def run_down(
    chain: Chain,
    num_levels: int,
    states: States,
    levels: Int[np.ndarray, " B"],
    problem: Int[np.ndarray, " B"],
    seeds: UInt64[np.ndarray, " B"],
) -> Path:
    """Run every row to x_0, in one call if the chain can (``RunsDown``), else level by level.

    Rows may start at any level above x_0.
    """
    if isinstance(chain, RunsDown):
        return chain.run_down(states, levels, problem, seeds)
    states, levels = states.copy(), np.array(levels)
    nfe = np.zeros(len(states), np.int64)
    live = np.flatnonzero(levels < num_levels)
    rows, row_levels, row_states = [live[:0]], [levels[:0]], [states[:0]]
    while len(live):
        step = chain.advance(states[live], levels[live], problem[live], seeds[live])
        states[live], levels[live] = step.states, step.levels
        nfe[live] += step.nfe
        rows.append(live)
        row_levels.append(step.levels)
        row_states.append(step.states)
        live = live[step.levels < num_levels]
    return Path(np.concatenate(rows), np.concatenate(row_levels), np.concatenate(row_states), nfe)


def sample_prior(
    process: GenerativeProcess, problems: Sequence[Problem], num_samples: int, seed: int = 0, batch_size: int = 1024
) -> np.ndarray:
    """Draw samples [P, num_samples, ...] of P problems, in the units of their contexts.

    Args:
        process: prior.
        problems: the problems.
        num_samples: number of samples per problem.
        seed: seed of all draws.
        batch_size: number of rows that run together.

    Raises:
        ValueError: if ``num_samples`` is not positive, or a problem does not fit the process.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
    process = process.with_branch_steps("none")
    chain = process.bind(problems)
    problem = np.repeat(np.arange(len(problems)), num_samples)
    seeds = derive_seeds(seed, 0, np.arange(len(problem)))
    roots, level = chain.root_states(), np.zeros(batch_size, np.int64)
    parts = []
    for start in range(0, len(problem), batch_size):
        rows = problem[start : start + batch_size]
        path = run_down(
            chain, process.num_levels, roots[rows], level[: len(rows)], rows, seeds[start : start + batch_size]
        )
        states = np.empty_like(path.states)
        states[path.rows] = path.states  # one level, so one state per row
        parts.append(chain.decode(states, rows))
    samples = np.concatenate(parts)
    return samples.reshape(len(problems), num_samples, *samples.shape[1:])
