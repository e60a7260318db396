"""The enumerable chain as examples: families of siblings drawn from it, features that identify a state."""

import itertools

import numpy as np

from sadt_ray.flow.examples import NO_PARENT, Examples
from sadt_ray.processes.markov_chain import MarkovChainProcess

TOKENS, DEPTH = 3, 4
PROCESS = MarkovChainProcess.random(TOKENS, DEPTH, seed=3)
PREFIXES = [prefix for d in range(DEPTH + 1) for prefix in itertools.product(range(TOKENS), repeat=d)]
ROW = {prefix: row for row, prefix in enumerate(PREFIXES)}


def reward(sequence):
    return float(np.sin(3.0 * sum((i + 1) * token for i, token in enumerate(sequence))))


def exact_examples(names=("a", "b", "c", "d"), first_id=0):
    """The whole tree, once a problem; probabilities enter as ratios to a uniform proposal."""
    count = len(PREFIXES)
    parent = np.array([ROW[prefix[:-1]] if prefix else NO_PARENT for prefix in PREFIXES])
    log_ratio = np.array([np.log(TOKENS * _probability(prefix)) if prefix else 0.0 for prefix in PREFIXES])
    which = np.repeat(np.arange(len(names)), count)
    shift = first_id + which * count
    all_parents = np.tile(parent, len(names))
    return Examples(
        node=np.tile(np.arange(count), len(names)) + shift,
        parent=np.where(all_parents == NO_PARENT, NO_PARENT, all_parents + shift),
        problem=which,
        names=tuple(names),
        position=np.tile([len(prefix) for prefix in PREFIXES], len(names)),
        reward=np.tile([reward(p) if len(p) == DEPTH else np.nan for p in PREFIXES], len(names)),
        log_ratio=np.tile(log_ratio, len(names)),
        features=np.tile(np.eye(count, dtype=np.float32), (len(names), 1)),
        base=np.zeros(count * len(names), np.float32),
    )


def _probability(prefix):
    return PROCESS.probability(prefix) / PROCESS.probability(prefix[:-1])
