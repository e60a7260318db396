"""The law of x_0 given x_t: Gaussian in the coordinates of the states, in the units of the data after decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.numerics.rng import derive_seeds, normals

_STREAM = 3
_LARGEST = 2048  # rows of one part of ``by_problem``
Columns = tuple[Tensor, ...]


@dataclass(frozen=True)
class Scores:
    """Values of a sample as monotone functions of Gaussian *scores*: x_h = T_h(z_h).

    Attributes:
        of: coordinates [B, K, n] and the conditioning of B rows -> scores z [B, K, ...], in the shape of samples.
        at: a value per place of a sample (broadcast), in the units of the data, and the conditioning of B rows ->
            its scores T_h^-1(value) [B, ...].
        values: scores [B, ...] of whole samples, and the conditioning of B rows -> T_h(z_h) [B, ...], differentiable.
    """

    of: Callable[[Tensor, Columns], Tensor]
    at: Callable[[Tensor, Columns], Tensor]
    values: Callable[[Tensor, Columns], Tensor]


@dataclass(frozen=True)
class CleanLaw:
    """x_0 given x_t of B rows at one position: x_0 = decode(mean + spread e), e standard normal.

    Attributes:
        mean: x0_hat in coordinates that are independent given x_t. Gradients may flow to it.
        spread: standard deviation of each coordinate.
        clean: decode(mean), in the units of the data.
        decode: coordinates [B, K, n] and the conditioning of B rows -> samples [B, K, ...]. Gradients flow through it.
            It may be non-linear.
        conditioning: columns of B rows.
        position: of the rows.
        linear: whether ``decode`` is affine.
        scores: where every value of a sample is a monotone function of a Gaussian; None otherwise.
        alike: whether all rows have the same spread and conditioning.
    """

    mean: Float[Tensor, "B n"]
    spread: Float[Tensor, "B n"]
    clean: Float[Tensor, "B ..."]
    decode: Callable[[Tensor, Columns], Tensor]
    conditioning: Columns
    position: int
    linear: bool = False
    scores: Scores | None = None
    alike: bool = False

    def __len__(self) -> int:
        return len(self.mean)

    def by_problem(self, problem: Int[np.ndarray, " B"]) -> Iterator[tuple[int, Int[Tensor, " rows"], CleanLaw]]:
        """The rows of one problem at a time, some thousand at most: problem, row numbers, and their law."""
        for found in np.unique(problem):
            index = torch.as_tensor(np.flatnonzero(problem == found), device=self.mean.device)
            for rows in index.split(_LARGEST):
                yield int(found), rows, self._take(rows)

    def _take(self, rows: Int[Tensor, " rows"]) -> CleanLaw:
        if len(rows) == len(self):
            return replace(self, alike=True)
        conditioning = tuple(column[rows] for column in self.conditioning)
        mean, spread, clean = self.mean[rows], self.spread[rows], self.clean[rows]
        return replace(self, mean=mean, spread=spread, clean=clean, conditioning=conditioning, alike=True)

    def noise(self, count: int) -> Float[Tensor, "count n"]:
        """Standard normal numbers that depend on the position alone, in pairs of opposite signs: their mean is 0."""
        half = -(-count // 2)
        seeds = derive_seeds(0, _STREAM, np.full(half, self.position))
        drawn = torch.as_tensor(normals(seeds, np.arange(half), self.mean.shape[1])).to(self.mean)
        return torch.cat([drawn, -drawn])[:count]

    def draws(self, count: int) -> Float[Tensor, "B count ..."]:
        """``count`` draws of x_0 for every row. All rows of a position share the noise."""
        if self.linear and self.alike:
            return self.clean[:, None] + self._moved(self.decode, self.noise(count))
        return self.decode(self.mean[:, None] + self.spread[:, None] * self.noise(count), self.conditioning)

    def score_draws(self, count: int) -> Float[Tensor, "B count ..."]:
        """Draws of the scores of x_0; of rows that are ``alike``."""
        return self.score_mean()[:, None] + self._moved(self._known_scores.of, self.noise(count))

    def score_mean(self) -> Float[Tensor, "B ..."]:
        """Mean of every score, exact."""
        return self._known_scores.of(self.mean[:, None], self.conditioning)[:, 0]

    def score_at(self, value: Tensor) -> Float[Tensor, "1 ..."]:
        """Score of a value at every place of a sample; of rows that are ``alike``. ``value`` broadcasts to a sample."""
        return self._known_scores.at(value, tuple(column[:1] for column in self.conditioning))

    def score_values(self, z: Float[Tensor, "B ..."], conditioning: Columns) -> Float[Tensor, "B ..."]:
        """Values of whole samples of scores."""
        return self._known_scores.values(z, conditioning)

    def at_origin(self) -> CleanLaw:
        """One row with all coordinates 0 as its mean, of rows that are ``alike``: the same for every batch."""
        first, mean = tuple(column[:1] for column in self.conditioning), torch.zeros_like(self.mean[:1].detach())
        clean = self.decode(mean[:, None], first)[:, 0]
        return replace(self, mean=mean, spread=self.spread[:1], clean=clean, conditioning=first)

    def columns(self) -> Float[Tensor, "n ..."]:
        """Change of x_0 with each coordinate by one standard deviation; of rows that are ``alike`` and ``linear``."""
        return self._moved(self.decode, torch.eye(self.mean.shape[1]).to(self.mean))[0]

    def score_columns(self) -> Float[Tensor, "n ..."]:
        """Change of the scores with each coordinate by one standard deviation; of rows that are ``alike``."""
        return self._moved(self._known_scores.of, torch.eye(self.mean.shape[1]).to(self.mean))[0]

    @property
    def _known_scores(self) -> Scores:
        assert self.scores is not None
        return self.scores

    @torch.no_grad()
    def _moved(self, function: Callable[[Tensor, Columns], Tensor], noise: Float[Tensor, "K n"]) -> Tensor:
        """What noise adds to an affine function of the coordinates, [1, K, ...]."""
        first, y = tuple(column[:1] for column in self.conditioning), self.spread[:1, None] * noise
        return function(y, first) - function(torch.zeros_like(y[:, :1]), first)
