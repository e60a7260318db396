"""From samples in the units of a chain to [..., C, T] in the units of the file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.interfaces import Problem


@dataclass(frozen=True)
class Units:
    """value = mean_c + std_c x for series c.

    Attributes:
        mean, std: per series, double.
        several: whether samples are [C, T]; otherwise they are [T].
    """

    mean: Float[Tensor, " C"]
    std: Float[Tensor, " C"]
    several: bool

    @classmethod
    def of_problem(cls, problem: Problem, several: bool, channels: int = 1) -> Units:
        """Units of a problem whose samples have so many channels; a scale of one channel holds for all."""
        mean, std = (torch.as_tensor(values, dtype=torch.float64) for values in (problem.scale.mean, problem.scale.std))
        return cls(mean.expand(channels), std.expand(channels), several)

    def stacked(self, x: Tensor) -> Float[Tensor, "*n C T"]:
        """Samples with an axis of series."""
        return x if self.several else x.unsqueeze(-2)

    def __call__(self, x: Tensor) -> Float[Tensor, "*n C T"]:
        """Samples in the units of the file."""
        return self.stacked(x) * self.std.to(x)[:, None] + self.mean.to(x)[:, None]

    def back(self, value: float, like: Tensor) -> Tensor:
        """A value of the file in the units of the chain, per series: [C, 1], or [1] for a single one."""
        found = ((value - self.mean) / self.std).to(like)
        return found[:, None] if self.several else found
