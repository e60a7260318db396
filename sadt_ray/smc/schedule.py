"""Distribution of candidates and particles along the chain: more at positions where siblings differ more.

The tilt tau of a position is the standard deviation of log psi among siblings, in nats.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def num_candidates_at(position: int, average: int, tilt: Float[np.ndarray, " positions"] | None) -> int:
    """Number M of candidates for the states at a position.

    With tilt tau, the mean of psi over M siblings has the relative variance (exp(tau^2) - 1) / M. For a given total of
    candidates, the sum of these variances is smallest if M is proportional to sqrt(exp(tau^2) - 1).

    Args:
        position: position of the states.
        average: mean number of candidates over the chain. M is at most four times the average.
        tilt: tilt of each position; None gives the average everywhere.
    """
    if tilt is None or average == 1:
        return average
    spread = np.sqrt(np.expm1(np.square(np.minimum(tilt, 2.5))))
    share = spread[position] / max(spread[2:-1].mean(), 1e-9)  # the draws of x_T and x_0 have one candidate
    return int(np.clip(round(average * share), 1, 4 * average))


def split_position(start: int, tilt: Float[np.ndarray, " positions"] | None) -> int | None:
    """Position at which a particle system from ``start`` splits its particles.

    One eighth of the total squared tilt below ``start`` lies before this position. Before it siblings hardly differ, so
    few particles are enough, and the evaluations are spent further down. None if the tilt is not known or no position
    qualifies.
    """
    if tilt is None:
        return None
    passed = np.cumsum(np.where(np.arange(len(tilt)) > start, np.square(tilt), 0.0)[:-1])  # x_0 has no candidates
    position = int(np.searchsorted(passed, passed[-1] / 8))
    return position if start < position < len(tilt) - 2 else None
