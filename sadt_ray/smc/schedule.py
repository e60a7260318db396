"""Where along a chain a sweep spends what it has: candidates and particles, by how much siblings differ.

The tilt tau of a position is the standard deviation of log psi among siblings there, in nats.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def num_candidates_at(position: int, average: int, tilt: Float[np.ndarray, " positions"] | None) -> int:
    """Candidates for the states at a position: more where siblings differ more, ``average`` over the chain.

    With tilt tau, the standard deviation of log psi among siblings, the mean of psi over M of them has the relative
    variance (exp(tau^2) - 1) / M; for a given total of candidates the sum of these is least with M in proportion to its
    square root. At most four times the average.
    """
    if tilt is None or average == 1:
        return average
    spread = np.sqrt(np.expm1(np.square(np.minimum(tilt, 2.5))))
    share = spread[position] / max(spread[2:-1].mean(), 1e-9)  # the draws of x_T and x_0 choose nothing
    return int(np.clip(round(average * share), 1, 4 * average))


def split_position(start: int, tilt: Float[np.ndarray, " positions"] | None) -> int | None:
    """Where a sweep from ``start`` gets its other particles: an eighth of its tilt, in squared nats, lies before.

    Where siblings hardly differ, few particles do: evaluations are worth more further down. None if the tilt is not
    known, or if all that there is lies further up.
    """
    if tilt is None:
        return None
    passed = np.cumsum(np.where(np.arange(len(tilt)) > start, np.square(tilt), 0.0)[:-1])  # x_0 is chosen by nobody
    position = int(np.searchsorted(passed, passed[-1] / 8))
    return position if start < position < len(tilt) - 2 else None
