"""The final draw: descend again without expanding. Here exactly, as the probability of ending at each node."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from sadt_ray.numerics.compiled import compiled
from sadt_ray.tree.tree import Columns, Tree


def softmax_log_weights(tree: Tree, inv_temperature: float) -> Float[np.ndarray, " nodes"]:
    """Log-probability that the DTS draw passes through each node of its tree: product of softmax(lambda v) on the way.

    Over the leaves of one root the probabilities sum to one; at the search's own lambda a leaf has
    exp(lambda r) / (exp(lambda V_root) prod |C|), DTS's self-normalised estimate of its share of the target.
    """
    log_weight = np.zeros(len(tree))
    _softmax_down(tree.columns, tree.num_roots, inv_temperature, log_weight)
    return log_weight


def argmax_log_weights(tree: Tree) -> Float[np.ndarray, " nodes"]:
    """The DTS* draw: 0 along the path of the largest soft values (first among equals), -inf elsewhere."""
    log_weight = np.full(len(tree), -np.inf)
    for root in range(tree.num_roots):
        node = root
        while True:
            log_weight[node] = 0.0
            children = tree.children(node)
            if len(children) == 0:
                break
            node = children[np.argmax(tree.columns.value[children])]
    return log_weight


def uniform_log_weights(tree: Tree) -> Float[np.ndarray, " nodes"]:
    """Each child of a node equally likely: on a tree of one level, the prior itself."""
    return softmax_log_weights(tree, 0.0)


@compiled
def _softmax_down(t: Columns, num_roots, beta, log_weight):  # type: ignore[no-untyped-def]
    """Parents come before children, so three passes over the nodes do: largest, sum, descent."""
    n = log_weight.shape[0]
    top = np.full(n, -np.inf)
    total = np.zeros(n)
    score = np.empty(n)
    for node in range(num_roots, n):
        score[node] = beta * t.value[node] if beta > 0.0 else 0.0
        if t.log_prior.shape[0] > 0:
            score[node] += t.log_prior[node]
        top[t.parent[node]] = max(top[t.parent[node]], score[node])
    for node in range(num_roots, n):
        parent = t.parent[node]
        if top[parent] == -np.inf:  # no child has a finite value: all alike
            score[node] = 0.0
        else:
            score[node] -= top[parent]
        total[parent] += math.exp(score[node])
    for node in range(num_roots, n):
        parent = t.parent[node]
        log_weight[node] = log_weight[parent] + score[node] - math.log(total[parent])
