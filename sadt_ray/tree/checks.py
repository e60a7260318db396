"""What a search refuses at its door, before anything of it is touched. Kernels index without bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from sadt_ray.interfaces import Results, States


def check_forest(names: Sequence[str], root_states: States, num_levels: int) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ValueError(f"problem names must differ, but {twice!r} occurs more than once")
    if len(names) != len(root_states):
        raise ValueError(f"{len(names)} problems but {len(root_states)} root states")
    if num_levels < 1:
        raise ValueError(f"a process has at least one level below its root, got num_levels={num_levels}")


def check_asked(ids: Int[np.ndarray, " n"], num_tickets: int) -> None:
    unknown = (ids < 0) | (ids >= num_tickets)
    if unknown.any():
        raise ValueError(f"ticket {ids[unknown][0]} was never asked")


def check_columns(results: Results, state_shape: tuple[int, ...], sample_shape: tuple[int, ...] | None) -> None:
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


def check_results(results: Results, num_tickets: int, num_levels: int) -> None:
    if len(results) == 0:
        return
    check_asked(results.id, num_tickets)
    bad = np.isnan(results.value) | (results.value == np.inf)
    if bad.any():
        raise ValueError(f"ticket {results.id[bad][0]} was told the value {results.value[bad][0]}")
    if (np.diff(results.path_splits) < 1).any() or (
        results.path_level[results.path_splits[1:] - 1] != num_levels
    ).any():
        raise ValueError(f"every path must have at least one node and end at level {num_levels}")
