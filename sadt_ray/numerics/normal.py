"""Logarithms of normal probabilities far out in the tails, with gradients that stay finite."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_DEEPEST = -1e5  # argument of log Phi; below it a float32 square would lose all digits


def log_ndtr(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """log Phi(x)."""
    return torch.special.log_ndtr(x.clamp_min(_DEEPEST))


def log_between(lower: Float[Tensor, "*s"], upper: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """log(Phi(upper) - Phi(lower)) for lower < upper; infinite bounds are allowed.

    An interval above 0 is mirrored to below 0, where log Phi(b) + log(1 - exp(log Phi(a) - log Phi(b))) is exact.
    """
    mirrored = lower + upper > 0
    low, high = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
    log_high = log_ndtr(high.clamp_max(40.0))
    open_below = torch.isinf(low)
    log_low = log_ndtr(torch.where(open_below, -1.0, low))
    gap = (log_low - log_high).clamp_max(-1e-7)
    inside = torch.where(gap > -0.6931, torch.log(-torch.expm1(gap)), torch.log1p(-torch.exp(gap)))
    return log_high + torch.where(open_below, 0.0, inside)


def score_of(log_p: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """b with log Phi(b) = log_p, by Newton's method; gradients follow from the last step."""
    log_p = log_p.clamp_max(-1e-6)
    with torch.no_grad():
        b = torch.where(log_p < -1.0, -torch.sqrt((-2 * log_p).clamp_min(0)) + 0.5, 1.0)
        for _ in range(12):
            b = b - _newton(b, log_p)
    return b - _newton(b, log_p)


def _newton(b: Tensor, log_p: Tensor) -> Tensor:
    log_phi = log_ndtr(b)
    slope = torch.exp(-b.square() / 2 - 0.5 * math.log(2 * math.pi) - log_phi)
    return ((log_phi - log_p) / slope.clamp_min(1e-12)).clamp(-3, 3)
