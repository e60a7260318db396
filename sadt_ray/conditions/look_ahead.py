"""The look-ahead of a condition: an approximation of log P(condition | x_t) that is smooth, and small where it is rare.

Given x_t, x_0 follows a law that is Gaussian before decoding (``CleanLaw``). Of each comparison lower <= g <= upper

    linear g            the design point y* of the bound: the likeliest y with g(decode(y)) on the bound. With g
                        linearised there, g ~ N(m, s^2). Exact where decoding is affine. (First-order reliability
                        method: Hasofer & Lind 1974, Rackwitz & Fiessler 1978.)
    g = max_h x_h > u   a union of events: P = 1 - exp(-sum_h Phi((m_h - u) / s_h)), without any draw.
    other g             mean and standard deviation of g, or of its margin, over draws of x_0: P = Phi((m - u) / s).

A soft bound adds its variance to s^2. Parts that must all hold are joined one after the other, each given the ones
before it, as normal variables with the correlation that their draws have (Mendell & Elston 1974).

Any error of these approximations is corrected by the weights of the particles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.conditions.terms import All, Comparison, Condition, Extreme, General, Linear, Not, log_not, log_union
from sadt_ray.conditions.units import Units
from sadt_ray.numerics.clean_law import CleanLaw
from sadt_ray.numerics.normal import log_between, log_ndtr, score_of

NUM_DRAWS = 64
_MOST_STEPS, _RISE_STEPS = 10, 4  # towards a design point
_LONGEST_STEP, _SHORTEST_STEP = 2.0, 0.1  # of a search for a design point, in standard deviations
_CORRELATION_DRAWS = 512
_SMALLEST = 1e-6  # of a standard deviation, relative to the size of the bound


def log_probability(condition: Condition, law: CleanLaw, units: Units) -> Float[Tensor, " B"]:
    """An approximation of log E[L(x_0) | x_t] of each row, differentiable in ``law.mean``.

    Args:
        condition: resolved for the problem of the rows.
        law: of x_0 given x_t, of rows of one problem.
        units: of the condition.
    """
    return _Ahead(law, units).log_p(condition)


class _Ahead:
    """What the parts of a condition share: the law of x_0, and draws from it, made once."""

    def __init__(self, law: CleanLaw, units: Units, num_draws: int = NUM_DRAWS) -> None:
        self.law, self.units, self._num_draws = law, units, num_draws
        self._drawn: Tensor | None = None

    def log_p(self, condition: Condition) -> Float[Tensor, " B"]:
        """log P of a condition."""
        if isinstance(condition, Comparison):
            return self._comparison(condition)
        if isinstance(condition, Not):
            return log_not(self.log_p(condition.part))
        if not isinstance(condition, All) or len(condition.parts) == 1:
            return log_any([self.log_p(part) for part in condition.parts])
        parts, correlation = self._ordered(condition.parts)
        return log_all([self.log_p(part) for part in parts], correlation)

    def _ordered(self, parts: Sequence[Condition]) -> tuple[list[Condition], Float[Tensor, "parts parts"]]:
        """The parts, the rarest first, and the correlation of how well they hold, both at the origin of the law.

        They do not depend on the rows, so that a row comes to the same in every batch.
        """
        origin = _Ahead(self.law.at_origin(), self.units, _CORRELATION_DRAWS)
        order = sorted(range(len(parts)), key=lambda number: float(origin.log_p(parts[number]).detach()))
        ordered = [parts[number] for number in order]
        ranked = torch.cat([origin.ranking(part) for part in ordered])  # [parts, K]
        correlation = ranked @ ranked.T / ranked.shape[1]
        return ordered, torch.lerp(correlation, torch.eye(len(parts)).to(correlation), 1e-3)

    @torch.no_grad()
    def ranking(self, condition: Condition) -> Float[Tensor, "B K"]:
        """Per draw, a number that is larger the better the condition holds; of mean 0 and variance 1 per row."""
        if isinstance(condition, Comparison):
            return _standardised(self._ranking(condition))
        if isinstance(condition, Not):
            return -self.ranking(condition.part)
        each = torch.stack([self.ranking(part) for part in condition.parts])
        return _standardised(each.amin(0) if isinstance(condition, All) else each.amax(0))

    # ---- one comparison ---------------------------------------------------------------------------------------------

    def _comparison(self, c: Comparison) -> Float[Tensor, " B"]:
        statistic = c.statistic
        if isinstance(statistic, Extreme):
            beyond, within = (c.lower, c.upper) if statistic.largest else (c.upper, c.lower)
            if math.isfinite(beyond) and math.isinf(within):
                return self._union(statistic, beyond, c.sd or 0.0)
        if isinstance(statistic, General) and statistic.margin is not None and c.sd is None:
            return self._stepped(c, statistic)
        if isinstance(statistic, Linear):
            mean, sd = self._design(c, statistic)
        else:
            mean, sd = _moments(statistic(self.draws()))
        if c.equality:
            variance = sd.square() + (c.sd or 0.0) ** 2
            return -(mean - c.lower).square() / (2 * variance) + torch.log((c.sd or 0.0) / variance.sqrt())
        sd = torch.sqrt(sd.square() + (c.sd or 0.0) ** 2).clamp_min(_floor(c))
        return log_between((c.lower - mean) / sd, (c.upper - mean) / sd)

    def _stepped(self, c: Comparison, statistic: General) -> Float[Tensor, " B"]:
        """A count or a run, by its margins at both bounds."""
        log_p = torch.zeros_like(self.law.mean[:, 0])
        least = -math.inf if math.isinf(c.lower) else math.floor(c.lower) + 1 if c.strict else math.ceil(c.lower)
        most = math.inf if math.isinf(c.upper) else math.ceil(c.upper) - 1 if c.strict else math.floor(c.upper)
        if least >= 1:
            log_p = log_p + self._at_least(statistic, least)
        if most < math.inf:
            assert statistic.margin is not None
            mean, sd = _moments(statistic.margin(self._levelled(statistic), most + 1))
            log_p = log_p + log_ndtr(-mean / sd)
        return log_p

    def _at_least(self, statistic: General, least: float) -> Float[Tensor, " B"]:
        """P(a count or a run is at least so large): the larger of two tails, of its margin and of its ways together."""
        assert statistic.margin is not None
        draws = self._levelled(statistic)
        found = [] if statistic.complete else [log_ndtr(_ratio(statistic.margin(draws, least)))]
        if statistic.ways is not None:
            expected = torch.logsumexp(log_ndtr(_ratio(statistic.ways(draws, least))), dim=-1)
            found.append(_log_of_expected(expected))
        return torch.stack(found).amax(0)

    def _union(self, statistic: Extreme, bound: float, soft: float) -> Float[Tensor, " B"]:
        """P(an element is beyond the bound), the elements as rare events: 1 - exp(-expected number)."""
        mean, sd = self._elements(statistic, bound)
        sd = torch.sqrt(sd.square() + soft**2).clamp_min(_SMALLEST * max(abs(bound), 1e-6))
        beyond = (mean - bound) if statistic.largest else (bound - mean)
        return _log_of_expected(torch.logsumexp(log_ndtr(beyond / sd), dim=-1))

    def _elements(self, statistic: Extreme, bound: float) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every element given x_t."""
        law, units = self.law, self.units
        if law.linear:
            mean = statistic.elements(units(law.clean))
            columns = law.columns()
            origin = statistic.elements(units(torch.zeros_like(columns[:1])))
            return mean, (statistic.elements(units(columns)) - origin).square().sum(0).sqrt()
        if statistic.single and law.scores is not None:
            mean, columns = law.score_mean(), law.score_columns()
            level = law.score_at(units.back(bound, mean))
            sd = columns.square().sum(0).sqrt()[None]
            return statistic.elements(units.stacked(bound + mean - level)), statistic.elements(units.stacked(sd))
        if statistic.rise is not None and law.scores is not None:
            return self._rises(statistic.rise, bound)
        drawn = statistic.elements(self.draws())
        mean = drawn.mean(1)
        return mean, (drawn - mean[:, None]).square().mean(1).clamp_min(1e-20).sqrt()

    def _rises(self, rise: tuple[int, Sequence[int], Sequence[int]], bound: float) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of T(z_later) - T(z_earlier) and of its negative, each linearised at its own
        design point, which depends on these two scores alone."""
        mean, columns = self.law.score_mean(), self.law.score_columns()
        earlier, later = (self.units.stacked(columns)[..., rise[0], list(steps)] for steps in rise[1:])
        covariance = torch.stack([(earlier * earlier).sum(0), (earlier * later).sum(0), (later * later).sum(0)])
        centre = torch.stack([self.units.stacked(mean)[..., rise[0], list(steps)] for steps in rise[1:]])
        found = [self._rise(rise, centre, covariance, bound, sign) for sign in (1.0, -1.0)]
        return torch.cat([each[0] for each in found], -1), torch.cat([each[1] for each in found], -1)

    def _rise(
        self,
        rise: tuple[int, Sequence[int], Sequence[int]],
        centre: Float[Tensor, "2 B M"],
        covariance: Float[Tensor, "3 M"],
        bound: float,
        sign: float,
    ) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]:
        """Mean and standard deviation of sign * (T(z_later) - T(z_earlier))."""
        start = z = centre.detach()
        for _ in range(_RISE_STEPS):
            z, middle, slopes, variance = self._towards(rise, start, covariance, z, bound, sign)
        return middle + (slopes * (centre - start)).sum(0), variance.sqrt()

    def _towards(
        self,
        rise: tuple[int, Sequence[int], Sequence[int]],
        centre: Float[Tensor, "2 B M"],
        covariance: Float[Tensor, "3 M"],
        z: Float[Tensor, "2 B M"],
        bound: float,
        sign: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A step towards the design point; the rise linearised at z: its mean, its slopes and its variance."""
        values, slopes = self._at_places(rise, z)
        a = slopes * torch.tensor([-sign, sign]).to(slopes)[:, None, None]
        shared = torch.stack([a[0] * covariance[0] + a[1] * covariance[1], a[1] * covariance[2] + a[0] * covariance[1]])
        variance = (a * shared).sum(0).clamp_min(1e-30)
        middle = sign * (values[1] - values[0]) + (a * (centre - z)).sum(0)
        return centre + shared * ((bound - middle).clamp_min(0.0) / variance), middle, a, variance

    def _at_places(
        self, rise: tuple[int, Sequence[int], Sequence[int]], z: Float[Tensor, "2 B M"]
    ) -> tuple[Float[Tensor, "2 B M"], Float[Tensor, "2 B M"]]:
        """Values T(z) and slopes T'(z) at the earlier and at the later steps, in the units of the condition."""
        values, slopes, law = [], [], self.law
        conditioning = tuple(column[:1].expand(z.shape[1], *column.shape[1:]) for column in law.conditioning)
        for place, steps in enumerate(rise[1:]):
            whole = z.new_zeros(z.shape[1], *law.clean.shape[1:])
            self.units.stacked(whole)[..., rise[0], list(steps)] = z[place]
            with torch.enable_grad():
                whole = whole.requires_grad_(True)
                x = self.units(law.score_values(whole, conditioning))
                (slope,) = torch.autograd.grad(x.sum(), whole)
            values.append(x.detach()[..., rise[0], list(steps)])
            slopes.append(self.units.stacked(slope)[..., rise[0], list(steps)])
        return torch.stack(values), torch.stack(slopes)

    def _design(self, c: Comparison, statistic: Linear) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Mean and standard deviation of g, linearised at the design point of the nearer bound.

        Each row stops where its own steps have become short, whatever the others do.
        """
        law, spread = self.law, self.law.spread[:1]
        centre = law.mean.detach()
        y, slope = centre.clone(), torch.zeros_like(centre)
        at_centre, variance = torch.zeros_like(centre[:, 0]), torch.ones_like(centre[:, 0])
        open_rows = torch.arange(len(centre), device=centre.device)
        for _ in range(1 if law.linear else _MOST_STEPS):
            value, slopes = self._value_and_slope(statistic, y[open_rows])
            along = slopes * spread
            variances = along.square().sum(-1).clamp_min(1e-30)
            middle = value + (slopes * (centre[open_rows] - y[open_rows])).sum(-1)
            at_centre[open_rows], variance[open_rows], slope[open_rows] = middle, variances, slopes
            miss = (middle.clamp(c.lower, c.upper) - middle) / variances
            step = centre[open_rows] + spread * along * miss[:, None] - y[open_rows]
            length = (step / spread).norm(dim=1)
            y[open_rows] += step * (_LONGEST_STEP / length.clamp_min(1e-12)).clamp_max(1.0)[:, None]
            open_rows = open_rows[length > _SHORTEST_STEP]
            if len(open_rows) == 0:
                break
        return at_centre + (slope * (law.mean - centre)).sum(-1), variance.sqrt()

    def _value_and_slope(self, statistic: Linear, y: Float[Tensor, "B n"]) -> tuple[Tensor, Tensor]:
        law = self.law
        conditioning = tuple(column[:1].expand(len(y), *column.shape[1:]) for column in law.conditioning)
        with torch.enable_grad():
            y = y.detach().requires_grad_(True)
            value = statistic(self.units(law.decode(y[:, None], conditioning)[:, 0]))
            (slope,) = torch.autograd.grad(value.sum(), y)
        return value.detach(), slope

    def _ranking(self, c: Comparison) -> Float[Tensor, "B K"]:
        statistic, draws = c.statistic, self.draws()
        if isinstance(statistic, General) and statistic.margin is not None:
            bound = c.upper if math.isinf(c.lower) else c.lower
            g = statistic.margin(draws, max(bound, 1.0))
        else:
            g = statistic(draws)
        if math.isinf(c.lower):
            return -g
        return g if math.isinf(c.upper) else -(g - (c.lower + c.upper) / 2).abs()

    # ---- draws ------------------------------------------------------------------------------------------------------

    def draws(self) -> Float[Tensor, "B K C T"]:
        """Draws of x_0 in the units of the condition."""
        if self._drawn is None:
            self._drawn = self.units(self.law.draws(self._num_draws))
        return self._drawn

    def _levelled(self, statistic: General) -> Float[Tensor, "B K C T"]:
        """Draws of x_0; of a statistic that knows x by a level alone, of Gaussian v with v_h > level where x_h > level,
        where x_0 has scores."""
        law, level = self.law, statistic.level
        if law.linear or law.scores is None or level is None:
            return self.draws()
        at_level = law.score_at(self.units.back(level, law.mean))
        return self.units.stacked(level + law.score_draws(self._num_draws) - at_level[:, None])


def log_any(log_p: Sequence[Float[Tensor, " B"]]) -> Float[Tensor, " B"]:
    """log P of a union of events, as if they were independent: at most the sum of their probabilities."""
    return log_union([(each, log_not(each)) for each in log_p])


def log_all(log_p: Sequence[Float[Tensor, " B"]], correlation: Float[Tensor, "parts parts"]) -> Float[Tensor, " B"]:
    """log P of the intersection of events {b_i + e_i > 0}, e normal with a correlation.

    One event after the other, each given those before it. The normal variables that are left get the mean and the
    variance that a condition e_i > -b_i leaves them (Mendell & Elston, *Multifactorial qualitative traits*, Biometrics
    1974). The rarest event comes first.
    """
    if len(log_p) == 1:
        return log_p[0]
    order = torch.stack([each.detach().mean() for each in log_p]).argsort().tolist()
    means, count = [score_of(log_p[i]) for i in order], len(order)
    entries = {(i, j): correlation[order[i], order[j]] for i in range(count) for j in range(count)}
    total = torch.zeros_like(log_p[0])
    for i in range(count):
        variance = entries[i, i].clamp_min(1e-6)
        b = means[i] / variance.sqrt()
        log_each = log_ndtr(b)
        total = total + log_each
        hazard = torch.exp(-b.square() / 2 - 0.5 * math.log(2 * math.pi) - log_each)
        shrink = hazard * (hazard + b)  # variance of e given e > -b is 1 - shrink
        for j in range(i + 1, count):
            means[j] = means[j] + entries[i, j] / variance.sqrt() * hazard
        for j in range(i + 1, count):
            for k in range(j, count):
                entries[j, k] = entries[j, k] - entries[i, j] * entries[i, k] / variance * shrink
        for j in range(i + 1, count):
            for k in range(j):
                entries[j, k] = entries[k, j]
    return total


def _moments(g: Float[Tensor, "B K"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    mean = g.mean(1)
    return mean, (g - mean[:, None]).square().mean(1).clamp_min(1e-20).sqrt()


def _ratio(g: Tensor) -> Tensor:
    """Mean over standard deviation of draws [B, K, ...], [B, ...]."""
    mean, sd = _moments(g)
    return mean / sd


def _log_of_expected(expected: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """log(1 - exp(-m)) of log m, the expected number of rare events."""
    return torch.where(expected < -15, expected, torch.log(-torch.expm1(-expected.clamp_min(-15).exp())))


def _standardised(ranking: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    mean, sd = _moments(ranking)
    return (ranking - mean[:, None]) / sd[:, None]


def _floor(c: Comparison) -> float:
    """The smallest standard deviation that is told from 0."""
    size = max((abs(bound) for bound in (c.lower, c.upper) if math.isfinite(bound)), default=1.0)
    return _SMALLEST * max(size, 1e-6)
