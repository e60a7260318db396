"""What a figure of a conditioned forecast needs. Without matplotlib, so that results can be made where it is absent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sadt_ray.conditions.marks import Mark


class Picture(NamedTuple):
    """One item: C series over T time steps in the units of the file. Quantiles are at .05, .25, .5, .75 and .95.

    Attributes:
        dates: of the time steps, or their numbers.
        history: [C, L].
        before, after: quantiles without and with the condition; ``after`` is None where nothing satisfies it.
        marks: the condition, where it can be drawn.
        paths: [k, C, T], some scenarios.
    """

    name: str
    dates: Any
    channels: tuple[str, ...]
    unit: str
    history: Float[np.ndarray, "C L"]
    before: Float[np.ndarray, "C 5 T"]
    after: Float[np.ndarray, "C 5 T"] | None
    truth: Float[np.ndarray, "C T"] | None
    marks: tuple[Mark, ...]
    paths: Float[np.ndarray, "k C T"]
