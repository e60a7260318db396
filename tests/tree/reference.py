"""DTS and DTS* (arXiv 2506.20701) in plain Python, written from the algorithm: one simulation at a time."""

import math
from dataclasses import dataclass, field

import numpy as np

from sadt_ray.rng import derive_seeds, uniform_at

TICKET_STREAM = 1


@dataclass(eq=False)
class Node:
    parent: "Node | None"
    level: int
    state: np.ndarray
    value: float
    visits: int = 0
    children: list = field(default_factory=list)


def grow(config, chain, scorer, num_levels, seed, simulations):
    """The nodes of one problem's tree in order of creation, the root first."""
    nodes = [Node(None, 0, chain.root_states()[0], 0.0)]
    for simulation in range(simulations):
        node = nodes[0]
        while node.level < num_levels and not may_expand(config, node):
            node = choose(config, node, uniform_at(np.uint64(seed), node.level, simulation))
        if node.level < num_levels:
            node = expand(chain, scorer, num_levels, node, derive_seeds(seed, TICKET_STREAM, [simulation]), nodes)
        while node is not None:
            node.visits += 1
            if node.children:
                log_weights = config.inv_temperature * np.array([child.value for child in node.children])
                node.value = (np.logaddexp.reduce(log_weights) - math.log(len(log_weights))) / config.inv_temperature
            node = node.parent
    return nodes


def may_expand(config, node):
    return len(node.children) < config.widen_c * (node.visits + 1) ** config.widen_alpha


def choose(config, node, uniform):
    values = np.array([child.value for child in node.children])
    if config.selection == "uct":
        counts = np.array([child.visits + 1 for child in node.children])
        return node.children[np.argmax(values + config.c_uct * np.sqrt(math.log(node.visits + 1) / counts))]
    beta = config.inv_temperature if config.selection_inv_temperature is None else config.selection_inv_temperature
    weights = np.exp(beta * values - max(beta * values)) if max(values) > -np.inf else np.ones(len(values))
    return node.children[np.searchsorted(np.cumsum(weights), uniform * np.sum(weights), side="right")]


def expand(chain, scorer, num_levels, node, seed, nodes):
    """Roll out from a node to x_0, keeping every state; returns the leaf."""
    here = np.zeros(1, np.int64)
    while node.level < num_levels:
        step = chain.advance(node.state[None], here + node.level, here, seed)
        node.children.append(Node(node, int(step.levels[0]), step.states[0], np.nan))
        node = node.children[-1]
        nodes.append(node)
    node.value = float(scorer(chain.decode(node.state[None], here), here)[0])
    return node
