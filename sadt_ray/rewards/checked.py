"""Safe calls of a reward: every sample gets a number, or a message that says why it has none."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Scorer


def score_checked(
    scorer: Scorer, samples: np.ndarray, problem: Int[np.ndarray, " B"]
) -> tuple[Float[np.ndarray, " B"], dict[int, str]]:
    """Score a batch. Returns the rewards and, by row, the messages of the failures; a failed row has the reward NaN.

    A reward must be a finite number or -inf. If the scorer raises or returns another shape, it is called again for each
    row, so that only the rows at fault fail. KeyboardInterrupt and SystemExit are not caught.
    """
    if len(samples) == 0:
        return np.empty(0), {}
    rewards, message = _attempt(scorer, samples, problem)
    if message and len(samples) > 1:
        pairs = [_attempt(scorer, samples[b : b + 1], problem[b : b + 1]) for b in range(len(samples))]
        rewards = np.concatenate([one for one, _ in pairs])
        messages = [text for _, text in pairs]
    else:
        messages = [message] * len(samples)
    failures = {}
    for row in np.flatnonzero(np.isnan(rewards) | (rewards == np.inf)):
        reason = messages[row] or f"the reward returned {rewards[row]}, but it must be a finite number or -inf"
        failures[int(row)] = f"sample {row} (of problem {problem[row]}{_remark(samples[row])}): {reason}"
        rewards[row] = np.nan
    return rewards, failures


def _attempt(
    scorer: Scorer, samples: np.ndarray, problem: Int[np.ndarray, " B"]
) -> tuple[Float[np.ndarray, " B"], str]:
    """Rewards and an empty message, or NaNs and a message."""
    nothing = np.full(len(samples), np.nan)
    try:
        rewards = np.array(scorer(samples, problem), dtype=float)
    except Exception as error:
        return nothing, f"the reward raised {type(error).__name__}: {error}"
    if rewards.shape != nothing.shape:
        return nothing, f"the reward returned shape {rewards.shape} for {len(samples)} samples"
    return rewards, ""


def _remark(sample: np.ndarray) -> str:
    """Remark for the message if the sample itself is not finite, else empty."""
    numeric = np.issubdtype(np.asarray(sample).dtype, np.number)
    return ", which is not finite itself" if numeric and not np.isfinite(sample).all() else ""
