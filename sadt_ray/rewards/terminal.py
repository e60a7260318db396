"""Terminal values: the samples, rewards and soft values of states at x_0.

    V_i = (1/lambda) log sum_k p_k exp(lambda r_ik),        share of completion k = p_k exp(lambda (r_ik - V_i))

for a chain that enumerates its last step (``Completes``). The sum replaces a draw, so the value has less noise
(Rao-Blackwell) and the distribution of the samples is the same. With any other chain a state has one sample, and
V_i = r_i.
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
    """R samples of N states at x_0.

    Attributes:
        row: state of each sample, 0 to N - 1, ascending.
        samples: decoded samples [R, ...].
        rewards: reward of each sample; NaN if it could not be scored.
        log_share: log of the sample's share of its state; the shares of a state sum to one.
        value: value of each state, (1/lambda) log E[exp(lambda r) | state].
        nfe, reward_calls: function evaluations and reward evaluations per state.
        messages: reason of a failure, by state.
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
        """Samples, rewards and log-shares of the states in the mask, and the number of samples of each of them."""
        kept = states[self.row]
        counts = np.bincount(self.row, minlength=len(states))[states]
        return self.samples[kept], self.rewards[kept], self.log_share[kept], counts


def evaluate_terminal(
    chain: Chain, scorer: Scorer, states: States, problem: Int[np.ndarray, " N"], lam: float
) -> TerminalValues:
    """Decode and score N states at x_0.

    Args:
        chain, scorer: bound to the same problems.
        states: states at level ``num_levels``.
        problem: problem of each state.
        lam: inverse temperature lambda.
    """
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
