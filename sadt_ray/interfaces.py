"""The contracts of the package: process, reward, problem, tickets and results.

A *process* is a frozen Markov chain x_T -> ... -> x_0. The search sees it only at its branch levels. Level 0 is the
root, where nothing is sampled yet (the dummy x_{T+1} of DTS, or a prompt). Level ``num_levels`` is x_0. The chain alone
knows what happens between two levels: sixteen denoising steps, or the tokens of a sentence. A state is one numpy row of
fixed shape (a language model pads its tokens), so trees, tickets and trajectories are plain arrays.

``bind`` gives a process or a reward its list of problems, once. It is the place to encode contexts, to prefill prompts
and to estimate reference spectra. Every later call takes a batch whose rows may belong to any of these problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, UInt64

States = np.ndarray  # [B, *state_shape], dtype state_dtype


@dataclass(frozen=True)
class TimeAxis:
    """The time steps of a sample.

    Attributes:
        start: the first time step of a sample, ISO 8601, such as ``"2026-01-03T00:00"``, as local time of ``zone``.
        step: from one time step to the next, an offset alias of pandas: ``"h"``, ``"30min"``, ``"D"``, ``"MS"``.
        zone: IANA name of the time zone; None for dates without one.
    """

    start: str
    step: str
    zone: str | None = None


@dataclass(frozen=True)
class Scale:
    """From the units of the samples to those of the file: value = mean + std * x, per channel.

    Attributes:
        mean, std: one number per channel, in the units of the file. ``std`` is positive.
        channels: names of the channels.
        unit: of the file, such as ``"MW"``; empty if not known.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: tuple[str, ...] = ("x",)
    unit: str = ""


@dataclass(frozen=True)
class Problem:
    """One conditional sampling task: what is known, and what is needed to score a sample.

    Attributes:
        name: unique within a search, for example ``"ETTh1/test/0007/OT"``.
        context: the observed series [context_length, ...], in the units of the samples.
        conditioning: the input of the process; ``None`` means the context.
        truth: the realised outcome, in the units of the samples. Only metrics and *oracle* rewards read it.
        extras: further named values that a reward or a process needs.
        time: time steps of a sample; None if they are not known.
        scale: units of the file; by default those of the samples.
    """

    name: str
    context: np.ndarray
    conditioning: Any = None
    truth: np.ndarray | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    time: TimeAxis | None = None
    scale: Scale = field(default_factory=Scale)


class Step(NamedTuple):
    """The result of one ``advance`` for a batch of B rows."""

    states: States
    levels: Int[np.ndarray, " B"]  # usually the old level + 1; num_levels if the chain ended early
    nfe: Int[np.ndarray, " B"]  # function evaluations per row


class Path(NamedTuple):
    """The R states that B rows passed at branch levels. The states of one row are ordered by level."""

    rows: Int[np.ndarray, " R"]  # row of the batch, 0 to B - 1
    levels: Int[np.ndarray, " R"]
    states: States  # [R, *state_shape]
    nfe: Int[np.ndarray, " B"]  # function evaluations per row


@runtime_checkable
class Chain(Protocol):
    """A process bound to P problems. Row b of every batch belongs to problem ``problem[b]``.

    ``advance`` draws the noise of row b from ``seeds[b]`` and its level alone. So the result of a row depends neither
    on the rest of its batch nor on the machine that ran it (up to the rounding of batched matrix products).
    """

    def root_states(self) -> States:
        """Root states, one per problem: [P, *state_shape]."""

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Sample each row's state at its next branch level from the prior. Rows may be at any level above x_0."""

    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> np.ndarray:
        """Turn states at level ``num_levels`` into samples [B, ...] in the units of the data."""

    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """Features of the states, the input of a flow network. They cost no function evaluations."""


@runtime_checkable
class GenerativeProcess(Protocol):
    """A frozen prior p(x_0 | c) as a Markov chain: one interface for diffusion and for language models."""

    @property
    def num_levels(self) -> int:
        """Number of branch levels below the root, at least 1. Level ``num_levels`` is x_0."""

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one state."""

    @property
    def state_dtype(self) -> np.dtype:
        """Type of one state."""

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> GenerativeProcess:
        """Return the same prior with other branch levels.

        Args:
            branch_steps: steps of the chain at which a state becomes a tree node, ascending, the last one x_0; or the
                name of a preset. Every process knows ``"none"`` (x_0 alone: independent samples), ``"start"`` (x_0 and
                one early state), ``"published"`` and ``"late"``.
        """

    def bind(self, problems: Sequence[Problem]) -> Chain:
        """Encode all conditioning, once. Raises ValueError with the name of a problem that does not fit."""


@runtime_checkable
class MovesToDevice(Protocol):
    """A process that can be copied to an accelerator."""

    def with_device(self, device: str) -> GenerativeProcess:
        """Return a copy of the prior on another device. The original stays on its own device."""


@runtime_checkable
class RunsDown(Protocol):
    """A chain that runs to x_0 faster in one call than level by level: inputs are gathered once, caches stay warm."""

    def run_down(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Path:
        """Run every row to x_0. The path is the one that ``advance`` gives level by level with the same seeds."""


@runtime_checkable
class Enumerable(Protocol):
    """A chain whose next states can be listed with their probabilities (top-k tokens, a finite Markov chain)."""

    def children(self, state: np.ndarray, level: int, problem: int) -> tuple[States, Float[np.ndarray, " K"]]:
        """The K next states and their log-probabilities. They may sum to less than one if some are left out."""


class Completions(NamedTuple):
    """All completions of B states at x_0: R samples with their probabilities, ordered by row."""

    rows: Int[np.ndarray, " R"]  # row of the batch, ascending; every row has at least one completion
    samples: np.ndarray  # [R, ...] decoded
    log_probs: Float[np.ndarray, " R"]  # log p(completion | state); the probabilities of a row sum to one
    nfe: Int[np.ndarray, " B"]  # function evaluations per row


@runtime_checkable
class Completes(Protocol):
    """A chain whose last step has finitely many outcomes, for example the answer at the end of a text.

    Rollouts enumerate that step instead of sampling it. The value of x_0 is then (1/lambda) log sum_k p_k
    exp(lambda r_k), see ``soft_backup_enumerated``. Outcomes that cannot be listed share one further sample, which
    carries the remaining probability.
    """

    def complete(self, states: States, problem: Int[np.ndarray, " B"]) -> Completions:
        """List the completions of each state."""


@runtime_checkable
class PredictsClean(Protocol):
    """A chain that can predict the clean sample x0_hat = E[x_0 | x_t]."""

    def predict_clean(self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]) -> States:
        """x0_hat of each row. Costs one function evaluation per row."""


@runtime_checkable
class Scorer(Protocol):
    """A reward bound to problems."""

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Reward of each sample: finite, higher is better. -inf gives a sample the probability zero."""


@runtime_checkable
class Reward(Protocol):
    """A black box r(x_0, problem). An *oracle* reward reads the truth, so its results are not deployable."""

    oracle: bool

    def bind(self, problems: Sequence[Problem]) -> Scorer:
        """Precompute what the problems need. Raises ValueError with the name of a problem that does not fit."""


@dataclass(frozen=True)
class Tickets:
    """B units of work, as a struct of arrays. One ticket says: continue from ``state`` to x_0 and score it."""

    id: Int[np.ndarray, " B"]  # unique within a search, ascending
    problem: Int[np.ndarray, " B"]
    node: Int[np.ndarray, " B"]  # the node that gets a new child
    level: Int[np.ndarray, " B"]  # level of the node
    state: States  # state of the node
    seed: UInt64[np.ndarray, " B"]  # belongs to the ticket, so the result does not depend on the worker

    def __len__(self) -> int:
        return len(self.id)

    def take(self, rows: Any) -> Tickets:
        """The tickets at ``rows`` (indices, mask or slice)."""
        return Tickets(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True)
class ParticleRecord:
    """The particles of particle systems, recorded to train a flow: R rows, parents before children.

    They form a forest below the nodes of the tickets. They are not nodes of the tree.
    """

    ticket: Int[np.ndarray, " R"]  # row of the batch of results, not the ticket's id
    parent: Int[np.ndarray, " R"]  # row of this record; -1: the ticket's node, -2: the first new node of its path
    level: Int[np.ndarray, " R"]  # position on the walk (``Walk.position``); each branch level has a position
    state: States  # [R, *state_shape]
    log_flow: Float[np.ndarray, " R"]  # lambda F_phi(state)
    log_ratio: Float[np.ndarray, " R"]  # log p / q of the step from the parent; 0 if it was drawn from the prior
    reward: Float[np.ndarray, " R"]  # NaN above x_0

    def __len__(self) -> int:
        return len(self.ticket)


@dataclass(frozen=True)
class Results:
    """The results of B tickets. Ragged columns are flat with row splits: ticket b owns rows splits[b]:splits[b+1].

    A plain rollout has one sample with log-weight 0, and its ``value`` is the reward. A particle system has n weighted
    samples, and its ``value`` is log Z_hat / lambda, an estimate of the soft value of its first new node. The weights
    of a ticket's samples sum to one (logsumexp = 0). A particle system that lost all its weight has the value -inf and
    may have no sample.
    """

    id: Int[np.ndarray, " B"]
    value: Float[np.ndarray, " B"]  # backed up from the last node of the path
    path_splits: Int[np.ndarray, " B+1"]
    path_level: Int[np.ndarray, " R"]
    path_state: States  # [R, *state_shape]; only the new nodes, from the top down
    path_log_flow: Float[np.ndarray, " R"]  # lambda F_phi(state), 0 without a flow
    sample_splits: Int[np.ndarray, " B+1"]
    samples: np.ndarray  # [M, ...] decoded
    rewards: Float[np.ndarray, " M"]
    sample_log_weight: Float[np.ndarray, " M"]  # log of the sample's share of its ticket
    nfe: Int[np.ndarray, " B"]
    reward_calls: Int[np.ndarray, " B"]
    seconds: float = 0.0  # wall-clock time of the batch
    weights_version: int = 0  # version of the flow's weights
    failures: tuple[Failure, ...] = ()  # tickets without a result
    particle_record: ParticleRecord | None = None  # particles beside the paths, if they are recorded
    sample_start: Int[np.ndarray, " M"] | None = None  # which x_T of its ticket a sample descends from; None: one each

    def __len__(self) -> int:
        return len(self.id)


class Failure(NamedTuple):
    """A ticket without a result, and the reason. A failed rollout is a result, not an exception."""

    ticket: int
    problem: int
    message: str
    nfe: int = 0  # evaluations spent before the failure
