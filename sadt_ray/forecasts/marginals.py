"""The marginal laws of a forecast: one distribution function F per item, series and time step.

A score z ~ N(0, 1) becomes a value of the data by T(z) = F^-1(Phi(z)). T is stored as a table: knots z_1 < ... < z_M,
which all laws share, and a cubic between two knots. The cubics are monotone (Fritsch & Carlson, *Monotone piecewise
cubic interpolation*, SIAM J. Numer. Anal. 17, 1980), so T has a positive derivative and an inverse. In the score z, a
normal law is a straight line. So the interpolation of quantiles of a normal law is exact, and a straight line beyond
the last knot is a normal tail.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import special
from torch import Tensor, nn

Place = Callable[[int, int, int], str]  # item, series, step -> how an error names them
Limit = float | Sequence[float]  # one for all series, or one each

_TIE = 1e-6  # equal quantiles are spread by this share of the range
_LAW_KNOTS = np.linspace(-9.0, 9.0, 181)
_MOST_SAMPLE_KNOTS = 64
_BISECTIONS = 50


def _place(item: int, series: int, step: int) -> str:
    return f"item {item}, series {series}, step {step}"


class Marginals(nn.Module):
    """T and its inverse for N items of C series over T steps. Made by the functions of this module.

    Between knots T is a monotone cubic. Beyond them it is T(z) = x_1 + slope (z - z_1), a normal tail. With a finite
    lower limit a it is a + (x_1 - a) exp(slope (z - z_1) / (x_1 - a)) instead, a tail of a log-normal law above a, with
    the same slope at z_1; upper limits likewise. Every map is differentiable; its derivative is finite and positive.

    Args:
        knots: z_1 < ... < z_M, at least one.
        values: T at the knots, strictly increasing, [N, C, T, M].
        slopes: T' at the knots, [N, C, T, M].
        tail_slopes: T' at the lower and the upper end of the knots, [N, C, T, 2].
        lower, upper: limits of each series, [C]; infinite without one.
        how: where the laws come from, for people to read.
        notes: what was repaired, for people to read.
    """

    knots: Tensor
    values: Tensor
    origins: Tensor  # score from which each of the M + 1 pieces counts, [M + 1]
    pieces: Tensor  # coefficients of the powers 0..3, [N * C * T * (M + 1), 4]
    lower: Tensor
    upper: Tensor

    def __init__(
        self,
        knots: Float[np.ndarray, " M"],
        values: Float[np.ndarray, "N C T M"],
        slopes: Float[np.ndarray, "N C T M"],
        tail_slopes: Float[np.ndarray, "N C T 2"],
        lower: Float[np.ndarray, " C"],
        upper: Float[np.ndarray, " C"],
        how: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.how, self.notes = how, notes
        self.shape: tuple[int, int, int] = values.shape[:3]
        columns = {
            "knots": knots,
            "values": values,
            "origins": np.concatenate([knots[:1], knots]),
            "pieces": _pieces(knots, values, slopes, tail_slopes).reshape(-1, 4),
            "lower": lower,
            "upper": upper,
        }
        for name, column in columns.items():
            self.register_buffer(name, torch.from_numpy(np.array(column, np.float64)))
        self.bounded = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
        self.linear = len(knots) == 1 and not self.bounded

    def transform(self, z: Float[Tensor, "*n C T"], item: Int[Tensor, "*#n"] | None = None) -> Float[Tensor, "*n C T"]:
        """x = F^-1(Phi(z)) in the units of the data.

        Args:
            z: standard normal scores.
            item: item of each row, broadcast to the leading dimensions of ``z``. Without it there is one item, or
                ``z`` is [N, C, T].
        """
        piece = torch.searchsorted(self.knots.to(z.dtype), z.detach().contiguous())
        a, b, c, d = self._coefficients(self._cells(z.shape, item), piece, z.dtype)
        t = z - self.origins.to(z.dtype)[piece]
        x = a + t * (b + t * (c + t * d))
        return self._limited(x, t, piece, a, b) if self.bounded else x

    def as_series(self) -> Marginals:
        """The same laws, the items of one series each as the series of one item. Raises ValueError for several series.

        The shape is [1, N, T] then.
        """
        items, series, steps = self.shape
        if series != 1:
            raise ValueError(f"the items have {series} series each; only items of one series can be joined")
        joined = copy.deepcopy(self)
        joined.shape = (1, items, steps)
        joined.values = self.values.reshape(1, items, steps, -1)
        joined.lower, joined.upper = self.lower.expand(items).clone(), self.upper.expand(items).clone()
        return joined

    def quantile(self, u: Float[Tensor, "*n C T"], item: Int[Tensor, "*#n"] | None = None) -> Float[Tensor, "*n C T"]:
        """F^-1(u), u between 0 and 1."""
        return self.transform(torch.special.ndtri(u), item)

    def score(self, x: Float[Tensor, "*n C T"], item: Int[Tensor, "*#n"] | None = None) -> Float[Tensor, "*n C T"]:
        """z = Phi^-1(F(x)), the inverse of ``transform``. Values at or beyond a limit have an infinite score."""
        wide = x.double()
        cells = self._cells(x.shape, item)
        knots = self.values.reshape(-1, len(self.knots))[cells]
        piece = torch.searchsorted(knots, wide.detach()[..., None].contiguous())[..., 0]
        a, b, c, d = self._coefficients(cells, piece, torch.float64)
        outside = (piece == 0) | (piece == len(self.knots))
        inner = self._inner_offset(wide, piece.clamp(1, max(len(self.knots) - 1, 1)), outside, (a, b, c, d))
        t = torch.where(outside, self._tail_offset(wide, piece, a, b), inner)
        return (self.origins[piece] + t).to(x.dtype)

    def _cells(self, shape: torch.Size, item: Tensor | None) -> Int[Tensor, "*n C T"]:
        """Row of ``values`` of every number of a batch of this shape."""
        items, series, steps = self.shape
        if shape[-2:] != (series, steps):
            raise ValueError(f"scores or values have shape {tuple(shape)}; the last two must be ({series}, {steps})")
        device = self.knots.device
        if item is None:
            if items > 1 and (len(shape) < 3 or shape[-3] != items):
                raise ValueError(f"there are {items} items, but no item is given for a batch of shape {tuple(shape)}")
            item = torch.arange(items, device=device)
        inside = torch.arange(series * steps, device=device).reshape(series, steps)
        return (item[..., None, None] * (series * steps) + inside).expand(shape)

    def _coefficients(self, cells: Tensor, piece: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        index = cells * (len(self.knots) + 1) + piece
        if index.numel() > len(self.pieces):  # convert the smaller of the two
            return nn.functional.embedding(index, self.pieces.to(dtype)).unbind(-1)
        return nn.functional.embedding(index, self.pieces).to(dtype).unbind(-1)

    def _limited(self, x: Tensor, t: Tensor, piece: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """``x`` with the tails of the limited sides bent towards their limits."""
        for below, limit, last in ((True, self.lower, 0), (False, self.upper, len(self.knots))):
            bent, limit, gap = self._gap(limit.to(x.dtype), piece == last, a)
            offset = t.clamp(max=0) if below else t.clamp(min=0)
            x = torch.where(bent, limit + gap * torch.exp(b * offset / gap), x)
        return x

    @staticmethod
    def _gap(limit: Tensor, in_tail: Tensor, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where a tail is limited, the limit, and the signed distance of the last knot from it."""
        bent = in_tail & torch.isfinite(limit)[:, None]
        limit = torch.where(torch.isfinite(limit), limit, torch.zeros_like(limit))[:, None]
        return bent, limit, torch.where(bent, a - limit, torch.ones_like(a))

    def _tail_offset(self, x: Tensor, piece: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """z minus the last knot, in the tails."""
        t = (x - a) / b
        for limit, last in ((self.lower, 0), (self.upper, len(self.knots))):
            bent, limit, gap = self._gap(limit, piece == last, a)
            share = torch.where(bent, (x - limit) / gap, torch.ones_like(x)).clamp_min(0.0)
            t = torch.where(bent, gap / b * torch.log(share), t)
        return t

    def _inner_offset(
        self, x: Tensor, piece: Tensor, outside: Tensor, coefficients: tuple[Tensor, ...]
    ) -> Float[Tensor, "*n C T"]:
        """z minus the knot to the left: bisection, then one Newton step, which carries the gradient."""
        if len(self.knots) == 1:
            return torch.zeros_like(x)
        a, b, c, d = coefficients
        with torch.no_grad():
            low = torch.zeros_like(x)
            high = (self.knots[piece] - self.knots[piece - 1]).expand_as(x)
            for _ in range(_BISECTIONS):
                middle = (low + high) / 2
                above = a + middle * (b + middle * (c + middle * d)) < x
                low, high = torch.where(above, middle, low), torch.where(above, high, middle)
            t = (low + high) / 2
            slope = torch.where(outside, torch.ones_like(b), b + t * (2 * c + 3 * t * d))
            reached = a + t * (b + t * (c + t * d))
        return t + (torch.where(outside, reached, x) - reached) / slope


def _pieces(
    knots: Float[np.ndarray, " M"],
    values: Float[np.ndarray, "N C T M"],
    slopes: Float[np.ndarray, "N C T M"],
    tail_slopes: Float[np.ndarray, "N C T 2"],
) -> Float[np.ndarray, "N C T M+1 4"]:
    """Coefficients of the left tail, the M - 1 cubics and the right tail, each counted from the knot to its left."""
    pieces = np.zeros((*values.shape[:-1], len(knots) + 1, 4))
    pieces[..., 0, 0], pieces[..., 1:, 0] = values[..., 0], values
    pieces[..., 0, 1], pieces[..., -1, 1] = tail_slopes[..., 0], tail_slopes[..., 1]
    if len(knots) > 1:
        h = np.diff(knots)
        secant, left, right = np.diff(values) / h, slopes[..., :-1], slopes[..., 1:]
        pieces[..., 1:-1, 1] = left
        pieces[..., 1:-1, 2] = (3 * secant - 2 * left - right) / h
        pieces[..., 1:-1, 3] = (left + right - 2 * secant) / h**2
    return pieces


def normal_marginals(mean: Float[np.ndarray, "N C T"], sd: Float[np.ndarray, "N C T"]) -> Marginals:
    """N(mean, sd^2) at every step: T(z) = mean + sd z. Raises ValueError for an sd that is not positive."""
    mean, sd = np.broadcast_arrays(np.asarray(mean, float), np.asarray(sd, float))
    bad = np.argwhere(~(np.isfinite(mean) & np.isfinite(sd) & (sd > 0)))
    if len(bad):
        raise ValueError(
            f"{_place(*bad[0])}: mean {mean[tuple(bad[0])]:g} and sd {sd[tuple(bad[0])]:g}; the mean must be a number "
            "and the sd positive"
        )
    slopes = np.stack([sd, sd], -1)
    lower, upper = _limits(None, None, mean.shape[1])
    return Marginals(np.zeros(1), mean[..., None], sd[..., None], slopes, lower, upper, "normal laws")


def quantile_marginals(
    values: Float[np.ndarray, "N C T Q"],
    levels: Sequence[float],
    lower: Limit | None = None,
    upper: Limit | None = None,
    crossing: str = "refuse",
    place: Place = _place,
) -> Marginals:
    """Laws from their quantiles. Beyond the given levels the tails go on with the slope of the last stretch.

    Equal quantiles, which a law with an atom has, are spread by a millionth of the range, so that T has an inverse.

    Args:
        values: quantiles in the units of the data.
        levels: their levels, ascending between 0 and 1, at least two.
        lower, upper: limits that no value passes, such as 0 for counts; for all series or one each.
        crossing: what to do where a quantile is below one of a lower level: ``refuse``, or ``sort`` the quantiles of
            that step, which ``notes`` then says.
        place: names an item, series and step in errors.

    Raises:
        ValueError: for levels that do not fit, a quantile that is not a number, beyond a limit, or crossing.
    """
    known, values = _checked_levels(levels), np.asarray(values, float)
    if values.shape[-1] != len(known):
        raise ValueError(f"quantiles of shape {values.shape} need {values.shape[-1]} levels, got {len(known)}")
    _check_finite(values, place, [f"quantile {level:g}" for level in known])
    values, notes = _ordered(values, known, crossing, place)
    limits = _limits(lower, upper, values.shape[1])
    _check_limits(values, *limits, place)
    how = f"{len(known)} quantiles {known[0]:g}..{known[-1]:g}"
    return _interpolated(special.ndtri(known), values, limits, how, notes=notes)


def sample_marginals(
    samples: Float[np.ndarray, "N C T m"],
    lower: Limit | None = None,
    upper: Limit | None = None,
    place: Place = _place,
) -> Marginals:
    """Laws from m samples: the k-th smallest is the quantile of level (k - 1/2) / m.

    Of more than 64 samples, those nearest to 64 evenly spaced scores become knots, the extremes among them: spacings of
    neighbours are mostly noise. The slope of a tail is taken over the outer eighth of the knots.

    Raises:
        ValueError: for less than two samples, or a sample that is not a number or beyond a limit.
    """
    samples = np.asarray(samples, float)
    count = samples.shape[-1]
    if count < 2:
        raise ValueError(f"a law needs at least 2 samples, got {count}; bring more, or a mean and an sd")
    _check_finite(samples, place, [f"sample {number}" for number in range(count)])
    limits = _limits(lower, upper, samples.shape[1])
    _check_limits(samples, *limits, place)
    scores = special.ndtri((np.arange(count) + 0.5) / count)
    rows = np.arange(count)
    if count > _MOST_SAMPLE_KNOTS:
        wanted = np.linspace(scores[0], scores[-1], _MOST_SAMPLE_KNOTS)
        rows = np.unique(np.abs(scores[:, None] - wanted).argmin(0))
    stretch = max(1, len(rows) // 8)
    return _interpolated(scores[rows], np.sort(samples)[..., rows], limits, f"{count} samples", stretch)


def law_marginals(
    law: Any, shape: tuple[int, int, int], lower: Limit | None = None, upper: Limit | None = None
) -> Marginals:
    """Laws of a frozen continuous distribution of ``scipy.stats``, such as ``stats.t(df=4, loc=mean, scale=scale)``.

    Tabulated at 181 scores from -9 to 9, both tails by ``ppf`` and ``isf`` of the smaller probability, so events of
    probability 1e-12 keep it up to the interpolation.

    Args:
        law: its parameters broadcast to ``shape``.
        shape: N, C, T.
        lower, upper: limits beyond the table; the law itself is not cut.

    Raises:
        ValueError: for a discrete law, or quantiles that are not finite.
    """
    if not hasattr(law, "pdf"):
        raise ValueError(f"{law!r} has no density; bring quantiles or samples of a discrete law")
    z = _LAW_KNOTS.reshape(-1, 1, 1, 1)
    tail = special.ndtr(-np.abs(z))
    x = np.where(z <= 0, law.ppf(tail), law.isf(tail))
    values = np.moveaxis(np.broadcast_to(x, (len(z), *shape)), 0, -1)
    _check_finite(values, _place, [f"quantile at score {score:g}" for score in _LAW_KNOTS])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / law.pdf(x)
    slopes = np.moveaxis(np.broadcast_to(slope, (len(z), *shape)), 0, -1)
    limits = _limits(lower, upper, shape[1])
    _check_limits(values, *limits, _place)
    name = getattr(getattr(law, "dist", law), "name", type(law).__name__)
    return _interpolated(_LAW_KNOTS, values, limits, f"{name} laws", slopes=slopes)


def _interpolated(
    knots: Float[np.ndarray, " M"],
    values: Float[np.ndarray, "N C T M"],
    limits: tuple[np.ndarray, np.ndarray],
    how: str,
    stretch: int = 1,
    slopes: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> Marginals:
    """Monotone cubics through the values. The tails have the slope of the outer ``stretch`` intervals."""
    values = _apart(values, *limits, tie=_TIE if slopes is None else 0.0)
    ends = [
        (values[..., stretch] - values[..., 0]) / (knots[stretch] - knots[0]),
        (values[..., -1] - values[..., -1 - stretch]) / (knots[-1] - knots[-1 - stretch]),
    ]
    secant = np.diff(values) / np.diff(knots)
    found = _monotone_slopes(np.diff(knots), secant)
    if slopes is not None:
        most = 3 * np.minimum(
            np.concatenate([secant, secant[..., -1:]], -1), np.concatenate([secant[..., :1], secant], -1)
        )
        found = np.where(np.isfinite(slopes) & (slopes > 0), np.minimum(slopes, 0.999 * most), found)
        ends = [found[..., 0], found[..., -1]]
    return Marginals(knots, values, found, np.stack(ends, -1), *limits, how, notes)


def _monotone_slopes(h: Float[np.ndarray, " M-1"], secant: Float[np.ndarray, "*n M-1"]) -> Float[np.ndarray, "*n M"]:
    """Weighted harmonic means of the neighbouring secants (Fritsch & Butland 1984), at the ends the secants."""
    slopes = np.concatenate([secant[..., :1], secant], -1)
    left, right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    slopes[..., 1:-1] = (left + right) / (left / secant[..., :-1] + right / secant[..., 1:])
    return slopes


def _apart(
    values: Float[np.ndarray, "N C T M"], lower: Float[np.ndarray, " C"], upper: Float[np.ndarray, " C"], tie: float
) -> Float[np.ndarray, "N C T M"]:
    """The values, at least ``tie`` of their range, and some units of rounding, apart from each other and the limits."""
    spread = values[..., -1:] - values[..., :1]
    gap = tie * np.where(spread > 0, spread, np.maximum(np.abs(values[..., :1]), 1.0))
    middle = np.abs(values[..., values.shape[-1] // 2, None])
    gap = np.maximum(gap, 1e-14 * np.maximum(middle, np.finfo(float).tiny))
    rank = np.arange(values.shape[-1])
    inside = np.clip(
        values, lower[:, None, None] + gap * (rank + 1), upper[:, None, None] - gap * (values.shape[-1] - rank)
    )
    return np.maximum.accumulate(inside - gap * rank, axis=-1) + gap * rank


def _limits(lower: Limit | None, upper: Limit | None, series: int) -> tuple[np.ndarray, np.ndarray]:
    """The limits of each series. Raises ValueError unless they are one, or one each, and lower < upper."""
    given = []
    for name, limit, none in (("lower", lower, -np.inf), ("upper", upper, np.inf)):
        values = np.atleast_1d(np.asarray(none if limit is None else limit, float))
        if values.ndim > 1 or len(values) not in (1, series) or np.isnan(values).any():
            raise ValueError(f"the {name} limit is {limit}; give one number, or one for each of {series} series")
        given.append(np.broadcast_to(values, series))
    if (given[0] >= given[1]).any():
        raise ValueError(f"the lower limit {lower} must be below the upper limit {upper}")
    return given[0], given[1]


def _check_limits(values: np.ndarray, lower: np.ndarray, upper: np.ndarray, place: Place) -> None:
    for limit, word, wrong in (
        (lower, "below the lower", values < lower[:, None, None]),
        (upper, "above the upper", values > upper[:, None, None]),
    ):
        if wrong.any():
            item, series, step, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"{place(item, series, step)}: {values[item, series, step, column]:g} is {word} limit "
                f"{limit[series]:g}; change the limit, or cut the forecast to it"
            )


def _check_finite(values: np.ndarray, place: Place, columns: Sequence[str]) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        item, series, step, column = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise ValueError(
            f"{place(item, series, step)}: {columns[column]} is {values[tuple(bad[0])]}{more}; fill it in, or leave "
            "that step or level out"
        )


def _checked_levels(levels: Sequence[float]) -> Float[np.ndarray, " Q"]:
    found = np.asarray(levels, float)
    if found.ndim != 1 or len(found) < 2 or not ((found > 0) & (found < 1)).all() or not (np.diff(found) > 0).all():
        raise ValueError(
            f"quantile levels {list(levels)} must ascend strictly between 0 and 1, at least two of them; a level of 0 "
            "or 1 is a limit: pass it as lower or upper"
        )
    return found


def _ordered(
    values: Float[np.ndarray, "N C T Q"], levels: np.ndarray, crossing: str, place: Place
) -> tuple[Float[np.ndarray, "N C T Q"], tuple[str, ...]]:
    """The quantiles in ascending order. Rounding errors are no crossing."""
    if crossing not in ("refuse", "sort"):
        raise ValueError(f"crossing is {crossing!r}; choose refuse or sort")
    noise = 1e-9 * np.abs(values).max(-1, keepdims=True)
    crossed = (np.diff(values) < -noise).any(-1)
    if crossed.any() and crossing == "refuse":
        found = [_crossing_at(values, levels, where, place) for where in np.argwhere(crossed)[:5]]
        more = f"\n  and {crossed.sum() - 5} more steps" if crossed.sum() > 5 else ""
        raise ValueError(
            "quantiles cross; repair the forecast, or pass crossing='sort' to sort them step by step:\n  "
            + "\n  ".join(found)
            + more
        )
    notes = (f"quantiles sorted at {crossed.sum()} of {crossed.size} steps",) if crossed.any() else ()
    return np.sort(values), notes


def _crossing_at(values: np.ndarray, levels: np.ndarray, where: np.ndarray, place: Place) -> str:
    row = values[tuple(where)]
    first = int(np.argmin(np.diff(row)))
    return (
        f"{place(*where)}: quantile {levels[first]:g} is {row[first]:g}, "
        f"quantile {levels[first + 1]:g} is {row[first + 1]:g}"
    )
