"""Resampling: which particles go on, from their weights. Every scheme keeps E[copies of i] = n W_i.

Douc, Cappé & Moulines, *Comparison of resampling schemes for particle filtering*, ISPA 2005. All work on a batch of
populations at once, one a row, and take their uniforms as arguments.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.config import load_function, name_of
from sadt_ray.smc.config import Scheme


def multinomial(weights: Float[np.ndarray, "B n"], uniforms: Float[np.ndarray, "B n"]) -> Int[np.ndarray, "B n"]:
    """Independent draws."""
    return _inverse(weights, np.sort(uniforms, axis=1))


def stratified(weights: Float[np.ndarray, "B n"], uniforms: Float[np.ndarray, "B n"]) -> Int[np.ndarray, "B n"]:
    """One draw from each n-th part of the unit interval."""
    n = weights.shape[1]
    return _inverse(weights, (np.arange(n) + uniforms) / n)


def systematic(weights: Float[np.ndarray, "B n"], uniforms: Float[np.ndarray, "B n"]) -> Int[np.ndarray, "B n"]:
    """One uniform for all parts: the copies of i differ from n W_i by less than one."""
    n = weights.shape[1]
    return _inverse(weights, (np.arange(n) + uniforms[:, :1]) / n)


def residual(weights: Float[np.ndarray, "B n"], uniforms: Float[np.ndarray, "B n"]) -> Int[np.ndarray, "B n"]:
    """floor(n W_i) copies of each for sure, the others by independent draws from what is left."""
    n = weights.shape[1]
    ancestors = np.empty(weights.shape, np.int64)
    for b, row in enumerate(weights):
        expected = n * row
        sure = np.floor(expected * (1 + 1e-12)).astype(np.int64)
        fixed = np.repeat(np.arange(n), sure)[:n]
        ancestors[b, : len(fixed)] = fixed
        open_slots = n - len(fixed)
        if open_slots:
            left = np.maximum(expected - sure, 0)
            left = left if left.sum() > 0 else np.ones(n)
            draws = np.sort(uniforms[b, :open_slots])[None]
            ancestors[b, len(fixed) :] = _inverse((left / left.sum())[None], draws)[0]
    return ancestors


def siblings(size: int) -> Scheme:
    """n / size systematic draws, each copied ``size`` times: every particle gets siblings that share its parent.

    More variance than ``systematic``, but every parent's expectation over children can be estimated afterwards, which
    is what a flow is trained on.
    """

    def scheme(weights: Float[np.ndarray, "B n"], uniforms: Float[np.ndarray, "B n"]) -> Int[np.ndarray, "B n"]:
        n = weights.shape[1]
        if n % size:
            raise ValueError(f"{n} particles do not divide into groups of {size} siblings; take a multiple of it")
        parents = n // size
        return np.repeat(_inverse(weights, (np.arange(parents) + uniforms[:, :1]) / parents), size, axis=1)

    return scheme


SCHEMES: dict[str, Scheme] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
}


def scheme_named(name: str | Scheme) -> Scheme:
    """``multinomial``, ``stratified``, ``systematic``, ``residual``, ``siblings-K``, or a scheme of a user's own, whose
    answers are then checked at every call.

    Args:
        name: of a built-in scheme; or ``module:function``; or the function itself.

    Raises ValueError for a name that does not exist.
    """
    if not isinstance(name, str):
        return _checked(name, name_of(name))
    if ":" in name:
        return _checked(load_function(name, "scheme"), name)
    prefix, _, size = name.partition("-")
    if prefix in ("siblings", "families") and size.isdigit() and int(size) >= 1:
        return siblings(int(size))
    if name not in SCHEMES:
        raise ValueError(
            f"unknown resampling scheme {name!r}; choose one of {', '.join(SCHEMES)}, siblings-K, module:function"
        )
    return SCHEMES[name]


def _checked(scheme: Scheme, name: str) -> Scheme:
    """The scheme, with a ValueError that names it for an answer that is no ancestors."""

    def checked(weights: Float[np.ndarray, "B n"], uniforms: Float[np.ndarray, "B n"], /) -> Int[np.ndarray, "B n"]:
        ancestors, n = np.asarray(scheme(weights, uniforms)), weights.shape[1]
        if ancestors.shape != weights.shape or ancestors.dtype.kind not in "iu":
            raise ValueError(
                f"the resampling scheme {name} must return integers of shape {weights.shape}, as the weights are; it "
                f"returned {ancestors.dtype} of shape {ancestors.shape}"
            )
        wrong = (ancestors < 0) | (ancestors >= n)
        if wrong.any():
            raise ValueError(
                f"the resampling scheme {name} must return particles from 0 to {n - 1}, it returned "
                f"{ancestors[wrong][0]}"
            )
        return ancestors.astype(np.int64, copy=False)

    return checked


def _inverse(weights: Float[np.ndarray, "B n"], points: Float[np.ndarray, "B m"]) -> Int[np.ndarray, "B m"]:
    """For each point in (0, 1) the particle in whose share of the unit interval it lies; none of weight 0."""
    cumulative = np.cumsum(weights, axis=1)
    cumulative /= cumulative[:, -1:]
    rows, n = weights.shape
    shift = np.arange(rows)[:, None]  # one search for all populations: row b lies in [b, b + 1]
    index = np.searchsorted((cumulative + shift).ravel(), (points + shift).ravel(), side="right")
    last = n - 1 - (weights[:, ::-1] > 0).argmax(axis=1)[:, None]  # where a point is rounded up to 1
    return np.minimum(index.reshape(points.shape) - shift * n, last)
