"""The truth about rare events of a copula forecast: importance sampling of the scores about their design points.

The scores z of a forecast are N(0, R). They are drawn from a mixture of N(R v_k, R), one per way in which the event can
come about, and weighted by

    p(z) / q(z) = 1 / sum_k a_k exp(v_k' z - v_k' R v_k / 2).

It knows nothing of a chain, of noise levels or of look-aheads, so it shares nothing with the methods that it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import log_ndtr, logsumexp

from sadt_ray.forecasts.forecast import Forecast

_CHUNK = 20_000


@dataclass(frozen=True)
class Truth:
    """An event of a forecast.

    Attributes:
        log_p: log of its probability.
        log_p_se: standard error of ``log_p``.
        mean, sd: of every time step given the event.
    """

    log_p: float
    log_p_se: float
    mean: Float[np.ndarray, " T"]
    sd: Float[np.ndarray, " T"]


class Scores:
    """The scores of a forecast of one item and one series, and its values as functions of them."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.correlation = np.asarray(forecast.correlation.matrix, float).reshape(forecast.horizon, forecast.horizon)
        self.root = np.linalg.cholesky(self.correlation)

    @property
    def horizon(self) -> int:
        return self.forecast.horizon

    def values(self, z: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "N T"]:
        found: np.ndarray = self.forecast.marginals.transform(torch.as_tensor(z)[:, None]).numpy()[:, 0]
        return found

    def slopes(self, z: Float[np.ndarray, "N T"]) -> Float[np.ndarray, "N T"]:
        """Derivative of every value with respect to its score."""
        tensor = torch.as_tensor(z).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.forecast.marginals.transform(tensor[:, None]).sum(), tensor)
        return np.asarray(slope.numpy())

    def of_value(self, value: float) -> Float[np.ndarray, " T"]:
        """The score of a value at every time step."""
        same = torch.full((1, 1, self.horizon), value, dtype=torch.float64)
        return np.asarray(self.forecast.marginals.score(same).numpy()[0, 0])


def truth_of(
    scores: Scores,
    holds: Callable[[np.ndarray], Bool[np.ndarray, " N"]],
    directions: Float[np.ndarray, "K T"],
    draws: int,
    seed: int = 0,
) -> Truth:
    """Probability of an event and what follows from it.

    Args:
        scores: of the forecast.
        holds: values [N, T] -> whether the event holds.
        directions: v_k, one per way in which it can come about.
        draws: N, in all.
        seed: of the draws.
    """
    rng, correlation = np.random.default_rng(seed), scores.correlation
    shifted = directions @ correlation
    half = np.einsum("kt,kt->k", shifted, directions) / 2
    log_share = log_ndtr(-np.sqrt(2 * half))
    log_share -= logsumexp(log_share)
    sums = np.zeros((2, scores.horizon))
    total = squares = 0.0
    for begin in range(0, draws, _CHUNK):
        count = min(_CHUNK, draws - begin)
        which = rng.choice(len(directions), count, p=np.exp(log_share))
        z = rng.standard_normal((count, scores.horizon)) @ scores.root.T + shifted[which]
        x = scores.values(z)
        weight = np.where(holds(x), np.exp(-logsumexp(log_share + z @ directions.T - half, axis=1)), 0.0)
        total, squares = total + weight.sum(), squares + np.square(weight).sum()
        sums += weight @ x, weight @ np.square(x)
    mean = sums[0] / total
    p = total / draws
    se = np.sqrt(max(squares / draws - p**2, 0.0) / draws) / p
    return Truth(float(np.log(p)), float(se), mean, np.sqrt(np.maximum(sums[1] / total - np.square(mean), 0.0)))


def single_directions(scores: Scores, level: float, steps: Sequence[int], above: bool = True) -> np.ndarray:
    """One direction per time step: its value reaches the level."""
    directions = np.zeros((len(steps), scores.horizon))
    at = scores.of_value(level)
    for k, step in enumerate(steps):
        directions[k, step] = max(at[step], 0.0) if above else min(at[step], 0.0)
    return directions


def design_directions(
    scores: Scores, weights: Float[np.ndarray, "M K T"], bounds: Float[np.ndarray, " M"], turns: int = 60
) -> np.ndarray:
    """Directions in which M linear statistics of the values reach their bounds together, for K ways.

    The likeliest scores with a_mk . x(z) = b_m for all m, found by linearising x(z) again and again (Hasofer & Lind
    1974; Rackwitz & Fiessler 1978), half a step at a time.
    """
    ways = weights.shape[1]
    z, directions = np.zeros((ways, scores.horizon)), np.zeros((ways, scores.horizon))
    for _ in range(turns):
        x, slope = scores.values(z), scores.slopes(z)
        along = weights * slope  # [M, K, T]
        values = np.einsum("mkt,kt->mk", weights, x)
        target = bounds[:, None] - values + np.einsum("mkt,kt->mk", along, z)
        gram = np.einsum("mkt,tu,nku->kmn", along, scores.correlation, along)
        solved = np.linalg.solve(gram, target.T[..., None])[..., 0]
        directions = np.einsum("km,mkt->kt", np.maximum(solved, 0.0), along)
        z = (z + directions @ scores.correlation) / 2
    return directions


def split_truth(
    scores: Scores,
    margin: Callable[[Float[np.ndarray, "N T"]], Float[np.ndarray, " N"]],
    particles: int,
    runs: int = 4,
    moves: int = 20,
    share: float = 0.2,
    seed: int = 0,
) -> Truth:
    """The event {margin(values) > 0} by subset simulation of the scores (Au & Beck 2001), several runs.

    Each level is the quantile that a share of the particles exceeds. Those go on as the start of new ones, which are
    moved by Crank-Nicolson steps that never fall below the level. For events without a few likeliest points, such as
    counts, where importance sampling has heavy weights.

    Args:
        scores: of the forecast.
        margin: of values [N, T].
        particles: N, per run.
        runs: independent ones; their scatter gives the error.
        moves: steps of every particle per level.
        share: of the particles that exceed the next level.
        seed: of all random numbers.
    """
    found, values = [], []
    for number in range(runs):
        rng = np.random.default_rng([seed, number])
        e, log_p, step = rng.standard_normal((particles, scores.horizon)), 0.0, 0.5
        x = scores.values(e @ scores.root.T)
        height = margin(x)
        while True:
            level = min(float(np.quantile(height, 1 - share)), 0.0)
            alive = np.flatnonzero(height > level)
            log_p += np.log(len(alive) / particles)
            rows = rng.choice(alive, particles)
            e, x, height = e[rows], x[rows], height[rows]
            for _ in range(moves):
                proposed = np.sqrt(1 - step**2) * e + step * rng.standard_normal(e.shape)
                y = scores.values(proposed @ scores.root.T)
                new = margin(y)
                better = new > level
                e[better], x[better], height[better] = proposed[better], y[better], new[better]
                step = float(np.clip(step * np.exp(0.3 * (better.mean() - 0.3)), 0.01, 1.0))
            if level == 0.0:
                break
        found.append(log_p)
        values.append(x)
    every = np.concatenate(values)
    error = float(np.std(found, ddof=1) / np.sqrt(runs)) if runs > 1 else float("nan")
    return Truth(float(np.mean(found)), error, every.mean(0), every.std(0))
