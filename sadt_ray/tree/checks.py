"""What a search refuses at its door, before anything of it is touched. Kernels index without bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

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
    starts = r.sample_log_weight if r.sample_start is None else r.sample_start
    lengths += [len(c) for c in (r.samples, r.rewards, r.sample_log_weight, starts)]
    if lengths != 5 * [tickets] + 3 * [nodes] + 4 * [samples]:
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
    splits = results.path_splits
    if splits[0] != 0 or (np.diff(splits) < 1).any() or (results.path_level[splits[1:] - 1] != num_levels).any():
        raise ValueError(f"every path must have at least one node and end at level {num_levels}")
    check_log_flow(results.path_log_flow)
    check_shares(results)


def check_log_flow(log_flow: Float[np.ndarray, " n"]) -> None:
    """-inf is allowed: at an x_0 of reward -inf the flow is the reward."""
    if not (log_flow < np.inf).all():
        raise ValueError(f"a log flow is a number below infinity, got {log_flow[~(log_flow < np.inf)][0]}")


def check_flow_of_nodes(nodes: Int[np.ndarray, " n"], log_flow: Float[np.ndarray, " n"], num_nodes: int) -> None:
    if np.shape(nodes) != np.shape(log_flow) or np.ndim(nodes) != 1:
        raise ValueError(f"nodes of shape {np.shape(nodes)} but log flows of shape {np.shape(log_flow)}")
    unknown = (nodes < 0) | (nodes >= num_nodes)
    if unknown.any():
        raise ValueError(f"node {nodes[unknown][0]} is not in the tree of {num_nodes} nodes")
    check_log_flow(log_flow)


def check_shares(results: Results) -> None:
    """A leaf's share of the draw is split among its samples by their weights, which must sum to one."""
    splits, log_weight = results.sample_splits, results.sample_log_weight
    counts = np.diff(splits)
    if splits[0] == 0 and (counts == 1).all() and not log_weight.any():
        return
    if splits[0] != 0 or (counts < 0).any():
        raise ValueError(f"sample_splits must rise from 0, got {splits}")
    with np.errstate(over="ignore"):
        sums = np.bincount(np.repeat(np.arange(len(counts)), counts), np.exp(log_weight), len(counts))
    wrong = ~(np.abs(sums - 1) < 1e-6) & ~((counts == 0) & (results.value == -np.inf))
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"ticket {results.id[row]} of value {results.value[row]} was told {counts[row]} samples whose weights sum "
            f"to {sums[row]}; normalise sample_log_weight over each ticket (only a value of -inf may have no sample)"
        )
