"""DTS, DTS* (arXiv 2506.20701) and S-ADT's selection in plain Python, from the algorithm: a simulation at a time.

Any number of them may be in flight: counted as visits and as children to come (WU-UCT, arXiv 1810.11755), held against
the children they went through by the virtual loss, and never part of a value.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from sadt_ray.numerics.rng import derive_seeds, uniform_at

TICKET_STREAM = 1


@dataclass(eq=False)
class Node:
    parent: "Node | None"
    level: int
    state: np.ndarray
    value: float
    log_flow: float = 0.0
    visits: int = 0
    in_flight: int = 0
    pending: int = 0
    children: list = field(default_factory=list)


class PlainSearch:
    """The tree of one problem; ``nodes`` in order of creation, the root first."""

    def __init__(self, config, chain, scorer, num_levels, seed, flow=None):
        self.config, self.chain, self.scorer, self.num_levels, self.seed = config, chain, scorer, num_levels, seed
        self.flow = flow or (lambda states, levels: np.zeros(1))
        self.nodes = [Node(None, 0, chain.root_states()[0], 0.0)]
        self.asked = self.forgotten = 0

    def ask(self):
        """The next simulation's node and seed; None at the end of the budget. One that reaches an x_0 is backed up."""
        while self.asked - self.forgotten < self.config.n_rollouts:
            node, simulation = self.nodes[0], self.asked
            self.asked += 1
            while node.level < self.num_levels and not may_expand(self.config, node):
                node = choose(self.config, node, uniform_at(np.uint64(self.seed), node.level, simulation))
            if node.level < self.num_levels:
                node.pending += 1
                for passed in path_to_root(node):
                    passed.in_flight += 1
                return node, derive_seeds(self.seed, TICKET_STREAM, [simulation])
            self._back_up(node)
        return None

    def tell(self, node, seed):
        """Roll out from a node that was asked, with its seed, and back the reward up."""
        self._land(node)
        self._back_up(expand(self.chain, self.scorer, self.flow, self.num_levels, node, seed, self.nodes))

    def forget(self, node):
        self._land(node)
        self.forgotten += 1

    def _land(self, node):
        node.pending -= 1
        for passed in path_to_root(node):
            passed.in_flight -= 1

    def _back_up(self, node):
        for passed in path_to_root(node):
            passed.visits += 1
            if passed.children:
                log_weights = self.config.inv_temperature * np.array([child.value for child in passed.children])
                log_mean = np.logaddexp.reduce(log_weights) - math.log(len(log_weights))
                passed.value = log_mean / self.config.inv_temperature


def path_to_root(node):
    while node is not None:
        yield node
        node = node.parent


def grow(config, chain, scorer, num_levels, seed, flow=None):
    """The nodes of a finished search that had one simulation in flight at a time."""
    search = PlainSearch(config, chain, scorer, num_levels, seed, flow)
    while (asked := search.ask()) is not None:
        search.tell(*asked)
    return search.nodes


def may_expand(config, node):
    """Widening; a node without a child always may, there is nothing to descend into."""
    bound = config.widen_c * (1 + node.visits + node.in_flight) ** config.widen_alpha
    return not node.children or len(node.children) + node.pending < bound


def choose(config, node, uniform):
    visits = np.array([child.visits for child in node.children])
    in_flight = np.array([child.in_flight for child in node.children])
    values = np.array([with_flow(config, child) for child in node.children])
    values = values - config.virtual_loss * in_flight / (visits + in_flight)
    if config.selection == "uct":
        exploration = np.sqrt(math.log(1 + node.visits + node.in_flight) / (1 + visits + in_flight))
        return node.children[np.argmax(values + config.c_uct * exploration)]
    beta = config.inv_temperature if config.selection_inv_temperature is None else config.selection_inv_temperature
    weights = np.exp(beta * values - max(beta * values)) if max(values) > -np.inf else np.ones(len(values))
    return node.children[np.searchsorted(np.cumsum(weights), uniform * np.sum(weights), side="right")]


def with_flow(config, child):
    """(1 - alpha) v + alpha F; alpha falls from its full value to nothing as the child is visited."""
    k = config.alpha_visits
    alpha = config.alpha if k is None else config.alpha * k / (k + child.visits)
    if alpha == 0:
        return child.value
    flow = child.log_flow / config.inv_temperature
    return flow if alpha == 1 else (1 - alpha) * child.value + alpha * flow


def expand(chain, scorer, flow, num_levels, node, seed, nodes):
    """Roll out from a node to x_0, keeping every state; returns the leaf."""
    here = np.zeros(1, np.int64)
    while node.level < num_levels:
        step = chain.advance(node.state[None], here + node.level, here, seed)
        node.children.append(Node(node, int(step.levels[0]), step.states[0], np.nan))
        node = node.children[-1]
        set_log_flow(node, flow(node.state[None], here + node.level)[0])
        nodes.append(node)
    node.value = float(scorer(chain.decode(node.state[None], here), here)[0])
    return node


def set_log_flow(node, log_flow):
    """As stored: in single precision."""
    node.log_flow = float(np.float32(log_flow))
