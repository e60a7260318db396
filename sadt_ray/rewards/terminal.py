"""What states at x_0 are worth: one sample and its reward each, or all the ways in which they can still end.

    V_i = (1/lambda) log sum_k p_k exp(lambda r_ik),        share of ending k = p_k exp(lambda (r_ik - V_i))

for a chain that lists its last step (``Completes``): that step is summed over instead of drawn, which takes its noise
out of every value above (Rao-Blackwell) and leaves the law of the samples. With any other chain a state ends in one
way, and V_i = r_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import logsumexp

from sadt_ray.interfaces import Chain, Completes, Scorer, States
from sadt_ray.rewards.checked import score_checked


@dataclass(frozen=True)
class TerminalValues:
    """R samples that N states end in.

    Attributes:
        row: state of each sample, ascending.
        samples: [R, ...] decoded.
        rewards: of the samples; NaN for one that could not be scored.
        log_share: of a sample among those of its state, whose shares sum to one.
        value: of the states, (1/lambda) log E[exp(lambda r) | state].
        nfe, reward_calls: that each state cost here.
        messages: by state, why one of its samples could not be scored.
    """

    row: Int[np.ndarray, " R"]
    samples: np.ndarray
    rewards: Float[np.ndarray, " R"]
    log_share: Float[np.ndarray, " R"]
    value: Float[np.ndarray, " N"]
    nfe: Int[np.ndarray, " N"]
    reward_calls: Int[np.ndarray, " N"]
    messages: dict[int, str]

    def samples_of(self, states: Bool[np.ndarray, " N"]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Samples, rewards and log-shares of the states that ``states`` is true for, and the number of each state's."""
        kept = states[self.row]
        counts = np.bincount(self.row, minlength=len(states))[states]
        return self.samples[kept], self.rewards[kept], self.log_share[kept], counts


def endings(chain: Chain, scorer: Scorer, states: States, problem: Int[np.ndarray, " N"], lam: float) -> TerminalValues:
    """Decode and score states at x_0."""
    number = len(states)
    if not isinstance(chain, Completes):
        samples = chain.decode(states, problem)
        rewards, messages = score_checked(scorer, samples, problem)
        none, one = np.zeros(number, np.int64), np.ones(number, np.int64)
        return TerminalValues(np.arange(number), samples, rewards, np.zeros(number), rewards, none, one, messages)
    row, samples, log_probs, nfe = chain.complete(states, problem)
    rewards, failures = score_checked(scorer, samples, problem[row])
    first = np.searchsorted(row, np.arange(number + 1))
    with np.errstate(invalid="ignore"):
        log_weights = log_probs + lam * rewards
    value, log_share = np.empty(number), np.empty(len(row))
    for i, (begin, end) in enumerate(pairwise(first)):
        mine = slice(begin, end)
        log_total = logsumexp(log_weights[mine])
        value[i] = log_total / lam
        log_share[mine] = log_weights[mine] - log_total if np.isfinite(log_total) else log_probs[mine]
    messages = {int(row[sample]): message for sample, message in reversed(failures.items())}
    return TerminalValues(row, samples, rewards, log_share, value, nfe, np.diff(first), messages)
