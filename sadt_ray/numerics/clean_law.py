"""The law of x_0 given x_t: Gaussian in the coordinates of the states, in the units of the data after decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.numerics.rng import derive_seeds, normals

_STREAM = 3


@dataclass(frozen=True)
class CleanLaw:
    """x_0 given x_t of B rows at one position: x_0 = decode(mean + spread e), e standard normal.

    Attributes:
        mean: x0_hat in coordinates that are independent given x_t, [B, n]. Gradients may flow to it.
        spread: standard deviation of each coordinate, [B, n].
        decode: from coordinates [B, K, n] to samples [B, K, ...] in the units of the data; row b by the conditioning of
            row b. Gradients flow through it. It may be non-linear.
        linear: whether ``decode`` is affine.
        position: of the rows.
    """

    mean: Float[Tensor, "B n"]
    spread: Float[Tensor, "B n"]
    decode: Callable[[Tensor], Tensor]
    linear: bool
    position: int

    def draws(self, count: int) -> Float[Tensor, "B count ..."]:
        """``count`` draws of x_0 for every row. All rows of a position share the noise."""
        noise = noise_of(self.position, count, self.mean.shape[1]).to(self.mean)
        return self.decode(self.mean[:, None] + self.spread[:, None] * noise)


def noise_of(position: int, count: int, width: int) -> Float[Tensor, "count width"]:
    """Standard normal numbers that depend on the position alone, in pairs of opposite signs, so that their mean is 0."""
    half = -(-count // 2)
    seeds = derive_seeds(0, _STREAM, np.full(half, position))
    noise = torch.as_tensor(normals(seeds, np.arange(half), width))
    return torch.cat([noise, -noise])[:count]
