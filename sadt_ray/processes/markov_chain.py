"""A finite Markov chain over token sequences, small enough for exhaustive sums: the ground truth of the tests.

A state holds the tokens so far, padded with -1. Exhaustive sums give every soft value, log Z and the target.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, UInt64

from sadt_ray.interfaces import Problem, States, Step
from sadt_ray.numerics.logspace import soft_backup_enumerated
from sadt_ray.numerics.rng import uniforms
from sadt_ray.processes.branching import checked_branch_steps

_PAD = -1
Prefix = tuple[int, ...]


class MarkovChainProcess:
    """Tokens drawn one after the other from p(token | earlier tokens), the same for every problem.

    Args:
        probs: one table per step. Table d has shape [num_tokens^d, num_tokens]. Its row index is the prefix, read as a
            number in base num_tokens. Each row sums to one.
        branch_steps: numbers of tokens at which a state becomes a node; by default 1, 2, ..., all tokens.

    Raises ValueError for a table of another shape, rows that are no probabilities, or branch step 0.
    """

    def __init__(self, probs: Sequence[np.ndarray], branch_steps: Sequence[int] | None = None) -> None:
        self.probs = [np.asarray(table, float) for table in probs]
        self.num_tokens = self.probs[0].shape[1]
        for d, table in enumerate(self.probs):
            wanted = (self.num_tokens**d, self.num_tokens)
            if table.shape != wanted or not np.allclose(table.sum(1), 1) or (table < 0).any():
                raise ValueError(f"table {d} must have shape {wanted} and rows that are probabilities")
        steps = range(1, len(probs) + 1) if branch_steps is None else branch_steps
        self.branch_steps = checked_branch_steps(steps, len(probs))
        if self.branch_steps[0] == 0:
            raise ValueError("branch step 0 is the root itself; begin with 1 or more tokens")

    @classmethod
    def random(cls, num_tokens: int, depth: int, seed: int) -> MarkovChainProcess:
        """Transition probabilities drawn from a flat Dirichlet distribution."""
        rng = np.random.default_rng(seed)
        return cls([rng.dirichlet(np.ones(num_tokens), num_tokens**d) for d in range(depth)])

    @property
    def num_levels(self) -> int:
        return len(self.branch_steps)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (len(self.probs),)

    @property
    def state_dtype(self) -> np.dtype:
        return np.dtype(np.int32)

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> MarkovChainProcess:
        """Return the same chain with other branch levels.

        Presets: ``"none"`` is the whole sequence at once, ``"published"`` every token, ``"late"`` the second half of
        the tokens, ``"start"`` the first token and then all others.
        """
        depth = len(self.probs)
        presets: dict[str, Sequence[int]] = {
            "none": (depth,),
            "published": range(1, depth + 1),
            "late": range((depth + 1) // 2, depth + 1),
        }
        presets["start"] = sorted({1, depth})
        if isinstance(branch_steps, str):
            if branch_steps not in presets:
                raise ValueError(f"there is no branching preset {branch_steps!r}; choose one of {', '.join(presets)}")
            branch_steps = tuple(presets[branch_steps])
        return MarkovChainProcess(self.probs, branch_steps)

    def bind(self, problems: Sequence[Problem]) -> MarkovChain:
        return MarkovChain(self, len(problems))

    def sequences(self) -> list[Prefix]:
        """All complete sequences."""
        return list(itertools.product(range(self.num_tokens), repeat=len(self.probs)))

    def probability(self, prefix: Prefix) -> float:
        """The probability p(prefix)."""
        return float(np.prod([self.probs[d][self._row(prefix[:d]), token] for d, token in enumerate(prefix)]))

    def soft_values(self, reward: Callable[[Prefix], float], lam: float) -> dict[Prefix, float]:
        """V(prefix) = (1/lambda) log E[exp(lambda r) | prefix] of every prefix, by exhaustive backward sums."""
        values = {sequence: float(reward(sequence)) for sequence in self.sequences()}
        for d in reversed(range(len(self.probs))):
            for prefix in itertools.product(range(self.num_tokens), repeat=d):
                below = np.array([values[(*prefix, token)] for token in range(self.num_tokens)])
                values[prefix] = float(soft_backup_enumerated(below, np.log(self.probs[d][self._row(prefix)]), lam))
        return values

    def _row(self, prefix: Prefix) -> int:
        return int(sum(token * self.num_tokens**i for i, token in enumerate(reversed(prefix))))


class MarkovChain:
    """The process bound to problems. Samples are the token sequences themselves."""

    def __init__(self, process: MarkovChainProcess, num_problems: int) -> None:
        self._process = process
        self._num_problems = num_problems
        self._steps = np.array((0, *process.branch_steps))

    def root_states(self) -> States:
        return np.full((self._num_problems, *self._process.state_shape), _PAD, np.int32)

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Draw the tokens up to the next branch level. Token d uses index d of stream 0 of the row's seed."""
        states = states.copy()
        first, last = self._steps[levels], self._steps[levels + 1]
        uniform = uniforms(seeds, np.zeros(len(seeds), np.int64), len(self._process.probs))
        base = self._process.num_tokens
        for d, table in enumerate(self._process.probs):
            rows = np.flatnonzero((first <= d) & (d < last))
            if len(rows) == 0:
                continue
            prefix = states[rows, :d] @ base ** np.arange(d - 1, -1, -1) if d else np.zeros(len(rows), np.int64)
            cumulative = np.cumsum(table[prefix], axis=1)
            states[rows, d] = np.minimum((uniform[rows, d, None] > cumulative).sum(1), base - 1)
        return Step(states, levels + 1, last - first)

    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> np.ndarray:
        return states

    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """One-hot tokens."""
        return (states[:, :, None] == np.arange(self._process.num_tokens)).reshape(len(states), -1).astype(float)

    def children(self, state: np.ndarray, level: int, problem: int) -> tuple[States, Float[np.ndarray, " K"]]:
        """All states of the next branch level with their log-probabilities."""
        first, last = self._steps[level], self._steps[level + 1]
        prefix = tuple(int(token) for token in state[:first])
        tails = list(itertools.product(range(self._process.num_tokens), repeat=int(last - first)))
        states = np.full((len(tails), len(state)), _PAD, np.int32)
        states[:, :first] = state[:first]
        states[:, first:last] = tails
        probability = np.array([self._process.probability((*prefix, *tail)) for tail in tails])
        return states, np.log(probability / self._process.probability(prefix))
