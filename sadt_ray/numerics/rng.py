"""Counter-based randomness: every number is a pure function of (seed, stream, index).

A ticket's seed and a branch level address their own noise, so a rollout is the same in any batch, on any worker, in any
order. Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011), vectorised over rows that
each have a seed of their own; numpy's generators would need one Python object per row.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, UInt64
from numba import int64, uint32, uint64

from sadt_ray.numerics.compiled import compiled

_M0, _M1 = uint64(0xD2511F53), uint64(0xCD9E8D57)
_W0, _W1 = uint32(0x9E3779B9), uint32(0xBB67AE85)
_LOW = uint64(0xFFFFFFFF)
_TWO_POW_MINUS_53 = 2.0**-53
_BITS_OF_SQRT_HALF = int64(0x3FE6A09E667F3BCD)
_LOG_2 = math.log(2.0)


@compiled(inline="always")
def philox4x32(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds of Philox on the counter (c0..c3) under the key (k0, k1), all 32-bit words."""
    for _ in range(10):
        p0 = _M0 * uint64(c0)
        p1 = _M1 * uint64(c2)
        c0, c1, c2, c3 = (
            uint32((p1 >> uint64(32)) ^ uint64(c1) ^ uint64(k0)),
            uint32(p1 & _LOW),
            uint32((p0 >> uint64(32)) ^ uint64(c3) ^ uint64(k1)),
            uint32(p0 & _LOW),
        )
        k0 = uint32(k0 + _W0)
        k1 = uint32(k1 + _W1)
    return c0, c1, c2, c3


@compiled(inline="always")
def _unit(high, low):  # type: ignore[no-untyped-def]
    """A double in (0, 1) from 64 random bits: the 53 highest, centred in their cell so that neither end occurs."""
    bits = ((uint64(high) << uint64(32)) | uint64(low)) >> uint64(11)
    return min((float(bits) + 0.5) * _TWO_POW_MINUS_53, 1.0 - 2.0**-53)


@compiled(inline="always")
def uniform_at(seed, stream, index):  # type: ignore[no-untyped-def]
    """One double in (0, 1), for use inside compiled loops."""
    a, b, _, _ = philox4x32(
        uint32(index), uint32(uint64(index) >> uint64(32)), uint32(stream), uint32(1), uint32(seed),
        uint32(uint64(seed) >> uint64(32)),
    )  # fmt: skip
    return _unit(a, b)


@compiled
def _fill_uniforms(out, seeds, streams):  # type: ignore[no-untyped-def]
    for row in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[row, i] = uniform_at(seeds[row], streams[row], i)


@compiled(inline="always")
def _log_unit(word):  # type: ignore[no-untyped-def]
    """log((word + 1/2) 2^-32) to 1e-11, as e log 2 + 2 artanh((m - 1) / (m + 1)) with m in [sqrt(1/2), sqrt(2))."""
    bits = np.float64((float(word) + 0.5) * 2.0**-32).view(np.int64)
    exponent = (bits - _BITS_OF_SQRT_HALF) >> int64(52)
    m = np.int64(bits - (exponent << int64(52))).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    artanh = s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q / 13))))))
    return float(exponent) * _LOG_2 + 2.0 * artanh


@compiled(inline="always")
def _cos_sin_turns(word):  # type: ignore[no-untyped-def]
    """Cosine and sine of (word + 1/2) 2^-32 turns to 1e-11, from the nearest quarter turn."""
    quarter = (int64(word) + int64(1 << 29)) >> int64(30)
    t = (float(int64(word) - (quarter << int64(30))) + 0.5) * (2.0 * math.pi * 2.0**-32)
    q = t * t
    sin = t * (1 + q * (-1 / 6 + q * (1 / 120 + q * (-1 / 5040 + q * (1 / 362880 - q / 39916800)))))
    cos = 1 + q * (-1 / 2 + q * (1 / 24 + q * (-1 / 720 + q * (1 / 40320 + q * (-1 / 3628800 + q / 479001600)))))
    swapped = (quarter & 1) != 0
    x, y = (sin if swapped else cos), (cos if swapped else sin)
    return (-x if ((quarter + 1) & 2) != 0 else x), (-y if (quarter & 2) != 0 else y)


@compiled
def _fill_normals(out, seeds, streams):  # type: ignore[no-untyped-def]
    """Box-Muller, in two passes over a row so that the second is vectorised.

    Only +, -, *, / and sqrt, each correctly rounded: a number is the same bit for bit whatever its place in a vector
    register and whatever the machine's mathematics library, which log, cos and sin of that library would not be.
    32 bits reach |z| = 6.7, enough for float32 noise.
    """
    width = out.shape[1]
    quads = (width + 3) // 4
    radius_words, angle_words = np.empty(2 * quads, np.uint32), np.empty(2 * quads, np.uint32)
    normal = np.empty(4 * quads)
    for row in range(out.shape[0]):
        stream, k0, k1 = uint32(streams[row]), uint32(seeds[row]), uint32(seeds[row] >> uint64(32))
        for i in range(quads):
            a, b, c, d = philox4x32(uint32(i), uint32(0), stream, uint32(0), k0, k1)
            radius_words[2 * i], radius_words[2 * i + 1] = a, c
            angle_words[2 * i], angle_words[2 * i + 1] = b, d
        for i in range(2 * quads):
            radius = math.sqrt(-2.0 * _log_unit(radius_words[i]))
            cos, sin = _cos_sin_turns(angle_words[i])
            normal[2 * i], normal[2 * i + 1] = radius * cos, radius * sin
        for i in range(width):
            out[row, i] = normal[i]


def _plain(values: np.ndarray, dtype: type) -> np.ndarray:
    """The kind of array that the kernels are compiled for: what comes from another process may be read-only."""
    return np.require(values, dtype, ("C", "W"))


def uniforms(
    seeds: UInt64[np.ndarray, " B"], streams: Int[np.ndarray, " B"], width: int
) -> Float[np.ndarray, "B width"]:
    """Doubles in (0, 1): row b depends on (seeds[b], streams[b]) only."""
    out = np.empty((len(seeds), width))
    _fill_uniforms(out, _plain(seeds, np.uint64), _plain(streams, np.int64))
    return out


def normals(
    seeds: UInt64[np.ndarray, " B"], streams: Int[np.ndarray, " B"], width: int, dtype: type = np.float32
) -> Float[np.ndarray, "B width"]:
    """Standard normals: row b depends on (seeds[b], streams[b]) only. Streams are below 2^32."""
    out: np.ndarray = np.empty((len(seeds), width), dtype)
    _fill_normals(out, _plain(seeds, np.uint64), _plain(streams, np.int64))
    return out


@compiled(inline="always")
def derive_seed(seed, stream, number):  # type: ignore[no-untyped-def]
    """The 64-bit seed of one numbered thing under a parent seed, for use inside compiled loops."""
    a, b, _, _ = philox4x32(
        uint32(number), uint32(uint64(number) >> uint64(32)), uint32(stream), uint32(2), uint32(seed),
        uint32(uint64(seed) >> uint64(32)),
    )  # fmt: skip
    return (uint64(a) << uint64(32)) | uint64(b)


@compiled
def _derive(seed, stream, numbers):  # type: ignore[no-untyped-def]
    out = np.empty(numbers.shape[0], np.uint64)
    for i in range(numbers.shape[0]):
        out[i] = derive_seed(seed, stream, numbers[i])
    return out


def derive_seeds(seed: int, stream: int, numbers: Int[np.ndarray, " B"]) -> UInt64[np.ndarray, " B"]:
    """Independent 64-bit seeds of numbered things (problems, tickets) under one parent seed."""
    return _derive(np.uint64(seed & 0xFFFFFFFFFFFFFFFF), np.int64(stream), _plain(numbers, np.int64))


@compiled
def _derive_grid(seeds, stream, out):  # type: ignore[no-untyped-def]
    for row in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[row, i] = derive_seed(seeds[row], stream, i)


def derive_seed_grid(seeds: UInt64[np.ndarray, " B"], stream: int, width: int) -> UInt64[np.ndarray, "B width"]:
    """Seeds of ``width`` numbered things under each of B parent seeds."""
    out = np.empty((len(seeds), width), np.uint64)
    _derive_grid(_plain(seeds, np.uint64), np.int64(stream), out)
    return out
