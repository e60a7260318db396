"""Where the tree branches along the denoising chain: presets, and the check of a custom choice.

A branch step counts denoising steps: the state after that many of them becomes a node. Step 0 is x_T itself, step
``num_steps`` is x_0 and always the last one. Fewer levels make cheaper trees; levels are worth having where the reward
is decided, which for a spectral reward on ETTh1 is late (algorithm notes: 68 % of its variance at sigma .45 -> .057).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

PRESETS = ("published", "every", "late", "none")
_LATE_SIGMAS = (0.05, 0.5)  # nodes at these noise levels have the children whose choice decides the reward


def branch_steps_by_name(name: str, sigmas: Float[np.ndarray, " levels"]) -> tuple[int, ...]:
    """The branch steps of a preset for a noise schedule.

    - ``published``: x_T and every quarter of the chain, the spacing of DTS (arXiv 2506.20701): five levels;
    - ``every``: all steps, x_T included;
    - ``late``: the steps at which sigma lies between 0.05 and 0.5, and x_0;
    - ``none``: x_0 alone, one level: search becomes importance sampling.

    Raises:
        ValueError: for another name, or for ``late`` when no step has such a noise level.
    """
    last = len(sigmas) - 1
    if name == "published":
        return checked_branch_steps(sorted({round(last * quarter / 4) for quarter in range(5)}), last)
    if name == "every":
        return tuple(range(last + 1))
    if name == "none":
        return (last,)
    if name == "late":
        low, high = _LATE_SIGMAS
        late = np.flatnonzero((sigmas >= low) & (sigmas <= high))
        if not len(late):
            raise ValueError(f"no step has a noise level within {low}..{high}; give branch steps as numbers")
        return checked_branch_steps([*late.tolist(), last], last)
    raise ValueError(f"there is no branching preset {name!r}; choose one of {', '.join(PRESETS)}, or give step numbers")


def checked_branch_steps(branch_steps: Sequence[int], num_steps: int) -> tuple[int, ...]:
    """The steps as a tuple. Raises ValueError unless they ascend within 0..num_steps and end with num_steps."""
    steps = tuple(int(step) for step in branch_steps)
    ascending = all(a < b for a, b in itertools.pairwise(steps))
    if not steps or steps[-1] != num_steps or steps[0] < 0 or not ascending:
        raise ValueError(
            f"branch steps {steps} must ascend within 0..{num_steps} and end with {num_steps}, which is x_0"
        )
    return steps
