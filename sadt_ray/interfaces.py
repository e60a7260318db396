"""The contracts every floor above is written against: process, reward, problem, tickets, results.

A *process* is a frozen Markov chain x_T -> ... -> x_0 seen only at its branch levels. Level 0 is the root (nothing
sampled yet: the dummy x_{T+1} of DTS, or a prompt), level ``num_levels`` is x_0. What lies between two levels, sixteen
denoising steps or a sentence of tokens, is the chain's own affair. A state is one fixed-shape numpy row (a language
model pads its tokens), so that trees, tickets and trajectories are plain arrays that travel anywhere.

Processes and rewards are *bound* to a list of problems once (``bind``) and are then called with a batch whose rows may
belong to any of them: that is where contexts are encoded, prompts prefilled and reference spectra estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt64

States = np.ndarray  # [B, *state_shape], dtype state_dtype


@dataclass(frozen=True)
class Problem:
    """One conditional sampling task: what is known, and what is needed to score answers to it.

    Attributes:
        name: unique within a search, for example ``"ETTh1/test/0007/OT"``.
        context: the observed series [context_length, ...], in the units of the samples.
        conditioning: what the process is conditioned on; ``None`` means the context.
        truth: the realised answer in the units of the samples; read by metrics and *oracle* rewards only.
        extras: further named values that a reward or a process asks for.
    """

    name: str
    context: np.ndarray
    conditioning: Any = None
    truth: np.ndarray | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)


class Step(NamedTuple):
    """Where one ``advance`` leaves a batch of B rows."""

    states: States
    levels: Int[np.ndarray, " B"]  # usually levels + 1; num_levels at once if the chain ended early
    nfe: Int[np.ndarray, " B"]  # function evaluations that each row cost


class Path(NamedTuple):
    """The states of B rows at the branch levels they passed, in any order but each row's own from the top down."""

    rows: Int[np.ndarray, " R"]  # row of the batch, 0 to B - 1
    levels: Int[np.ndarray, " R"]
    states: States  # [R, *state_shape]
    nfe: Int[np.ndarray, " B"]


@runtime_checkable
class Chain(Protocol):
    """A process bound to problems. Row b of every batch belongs to problem ``problem[b]``.

    ``advance`` draws its noise from ``seeds[b]`` and the level alone, so that the result of a row depends neither on
    the rest of its batch nor on the machine that ran it (up to the rounding of batched matrix products).
    """

    def root_states(self) -> States:
        """States of the roots, one per problem: [P, *state_shape]."""

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Sample each row's next branch level from the prior. Rows may stand at different levels, none at x_0."""

    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> np.ndarray:
        """Samples [B, ...] in the units of the data from states at level ``num_levels``."""

    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """What a flow network may know of a state; free of function evaluations."""


@runtime_checkable
class GenerativeProcess(Protocol):
    """A frozen prior p(x_0 | c) as a Markov chain, identical for diffusion and for language models."""

    @property
    def num_levels(self) -> int:
        """Levels below the root, at least 1; level ``num_levels`` is x_0."""

    @property
    def state_shape(self) -> tuple[int, ...]: ...

    @property
    def state_dtype(self) -> np.dtype: ...

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> GenerativeProcess:
        """The same prior with tree nodes elsewhere: steps of the chain, the last being x_0, or the name of a preset.

        Every process knows ``"none"`` (x_0 alone: independent samples), ``"start"`` (x_0 and a first state, at which
        little is decided), ``"published"`` and ``"late"``.
        """

    def bind(self, problems: Sequence[Problem]) -> Chain:
        """Encode the problems' conditioning once. Raises ValueError naming a problem that does not fit."""


@runtime_checkable
class MovesToDevice(Protocol):
    """A process whose replica can live on an accelerator."""

    def with_device(self, device: str) -> GenerativeProcess:
        """The same prior on another device; this one stays where it is."""


@runtime_checkable
class RunsDown(Protocol):
    """A chain that is faster in one go than level by level: nothing is gathered twice, a cache of keys stays warm."""

    def run_down(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Path:
        """Run every row to x_0: the same path, from the same seeds, as ``advance`` level after level."""


@runtime_checkable
class Enumerable(Protocol):
    """A chain whose next states can be listed with their probabilities (top-k tokens, a finite Markov chain)."""

    def children(self, state: np.ndarray, level: int, problem: int) -> tuple[States, Float[np.ndarray, " K"]]:
        """The K next states and their log-probabilities; what sums to less than one was not enumerated."""


class Completions(NamedTuple):
    """The ways in which the x_0 of B rows can end, row by row: R samples with their probabilities."""

    rows: Int[np.ndarray, " R"]  # of the batch, ascending; every row has at least one
    samples: np.ndarray  # [R, ...] decoded
    log_probs: Float[np.ndarray, " R"]  # given the row's state; they sum to one over a row
    nfe: Int[np.ndarray, " B"]  # evaluations that listing them cost


@runtime_checkable
class Completes(Protocol):
    """A chain whose x_0 leaves a last, finite step open: the answer at the end of a text.

    Rollouts list that step instead of drawing it, so that a value is (1/lambda) log sum_k p_k exp(lambda r_k)
    (``soft_backup_enumerated``). What cannot be listed is one sample more, with the probability that is left.
    """

    def complete(self, states: States, problem: Int[np.ndarray, " B"]) -> Completions: ...


@runtime_checkable
class PredictsClean(Protocol):
    """A chain that can look ahead: x0_hat = E[x_0 | x_t]. Costs one function evaluation a row."""

    def predict_clean(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> States: ...


@runtime_checkable
class Scorer(Protocol):
    """A reward bound to problems."""

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Reward of each sample, higher is better, finite, -inf allowed for a sample of probability zero."""


@runtime_checkable
class Reward(Protocol):
    """A black box r(x_0, problem). ``oracle`` says that it reads the truth, so its results are never deployable."""

    oracle: bool

    def bind(self, problems: Sequence[Problem]) -> Scorer:
        """Precompute what the problems need. Raises ValueError naming a problem that does not fit."""


@dataclass(frozen=True)
class Tickets:
    """B units of work, as a struct of arrays: continue from ``state`` at ``level`` down to x_0 and score it."""

    id: Int[np.ndarray, " B"]  # unique within a search, ascending
    problem: Int[np.ndarray, " B"]
    node: Int[np.ndarray, " B"]  # the node that gets a new child
    level: Int[np.ndarray, " B"]
    state: States
    seed: UInt64[np.ndarray, " B"]  # of the ticket, not of the worker: who runs it does not matter

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: Any) -> Tickets:
        """The tickets at ``rows`` (indices, mask or slice)."""
        return Tickets(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True)
class ParticleRecord:
    """Particles of sweeps, for whoever learns from them: R rows, parents before children, in a forest below the nodes
    of the tickets. They are no nodes of the tree."""

    ticket: Int[np.ndarray, " R"]  # row of the batch of results, not the ticket's id
    parent: Int[np.ndarray, " R"]  # row of the harvest; -1: the ticket's node, -2: the first new node of its path
    level: Int[np.ndarray, " R"]  # in the chain's finest steps (``Walk.position``); branch levels are some of them
    state: States  # [R, *state_shape]
    log_flow: Float[np.ndarray, " R"]  # lambda F_phi(state)
    log_ratio: Float[np.ndarray, " R"]  # log p / q of the step from the parent; 0 where it was drawn from the prior
    reward: Float[np.ndarray, " R"]  # NaN above x_0

    def __len__(self) -> int:
        return len(self.ticket)


@dataclass(frozen=True)
class Results:
    """What B tickets brought back. Ragged columns are flat with row splits: ticket b owns rows splits[b]:splits[b+1].

    A plain rollout has one sample of log-weight 0 and ``value`` = its reward. A particle sweep has n weighted samples
    and ``value`` = log Z_hat / lambda, an estimate of the soft value of its first new node. The weights of a ticket's
    samples sum to one (logsumexp = 0); a sweep that lost all its weight has the value -inf and may have no sample.
    """

    id: Int[np.ndarray, " B"]
    value: Float[np.ndarray, " B"]  # backed up from the last node of the path
    path_splits: Int[np.ndarray, " B+1"]
    path_level: Int[np.ndarray, " R"]
    path_state: States  # [R, *state_shape]; new nodes only, from the ticket's node downward
    path_log_flow: Float[np.ndarray, " R"]  # lambda F_phi(state), 0 without a flow
    sample_splits: Int[np.ndarray, " B+1"]
    samples: np.ndarray  # [M, ...] decoded
    rewards: Float[np.ndarray, " M"]
    sample_log_weight: Float[np.ndarray, " M"]  # log share of its ticket
    nfe: Int[np.ndarray, " B"]
    reward_calls: Int[np.ndarray, " B"]
    seconds: float = 0.0
    weights_version: int = 0
    path_features: Float[np.ndarray, "R F"] | None = None
    failures: tuple[Failure, ...] = ()  # tickets of the batch that brought no result
    particle_record: ParticleRecord | None = None  # particles beside the paths

    def __len__(self) -> int:
        return len(self.id)


class Failure(NamedTuple):
    """A ticket that brought nothing, and why: a failed rollout is a result, not an exception."""

    ticket: int
    problem: int
    message: str
    nfe: int = 0  # evaluations it cost all the same
