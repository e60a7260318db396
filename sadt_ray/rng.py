"""Counter-based randomness: every number is a pure function of (seed, stream, index).

A ticket's seed and a branch level address their own noise, so a rollout is the same in any batch, on any worker, in any
order. Philox4x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011), vectorised over rows that
each have a seed of their own; numpy's generators would need one Python object per row.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, UInt64
from numba import uint32, uint64

from sadt_ray.compiled import compiled

_M0, _M1 = uint64(0xD2511F53), uint64(0xCD9E8D57)
_W0, _W1 = uint32(0x9E3779B9), uint32(0xBB67AE85)
_LOW = uint64(0xFFFFFFFF)
_TWO_POW_MINUS_53 = 2.0**-53


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
def _box_muller(word_a, word_b):  # type: ignore[no-untyped-def]
    """Two normals from two 32-bit words; 32 bits reach |z| = 6.7, enough for float32 noise."""
    radius = math.sqrt(-2.0 * math.log((float(word_a) + 0.5) * 2.0**-32))
    angle = 2.0 * math.pi * (float(word_b) + 0.5) * 2.0**-32
    return radius * math.cos(angle), radius * math.sin(angle)


@compiled
def _fill_normals(out, seeds, streams):  # type: ignore[no-untyped-def]
    width = out.shape[1]
    for row in range(out.shape[0]):
        k0, k1 = uint32(seeds[row]), uint32(seeds[row] >> uint64(32))
        for start in range(0, width, 4):
            a, b, c, d = philox4x32(uint32(start // 4), uint32(0), uint32(streams[row]), uint32(0), k0, k1)
            quad = (*_box_muller(a, b), *_box_muller(c, d))
            for i in range(min(4, width - start)):
                out[row, start + i] = quad[i]


def uniforms(
    seeds: UInt64[np.ndarray, " B"], streams: Int[np.ndarray, " B"], width: int
) -> Float[np.ndarray, "B width"]:
    """Doubles in (0, 1): row b depends on (seeds[b], streams[b]) only."""
    out = np.empty((len(seeds), width))
    _fill_uniforms(out, np.asarray(seeds, np.uint64), np.asarray(streams, np.int64))
    return out


def normals(
    seeds: UInt64[np.ndarray, " B"], streams: Int[np.ndarray, " B"], width: int, dtype: type = np.float32
) -> Float[np.ndarray, "B width"]:
    """Standard normals: row b depends on (seeds[b], streams[b]) only. Streams are below 2^32."""
    out = np.empty((len(seeds), width), dtype)
    _fill_normals(out, np.asarray(seeds, np.uint64), np.asarray(streams, np.int64))
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
    return _derive(np.uint64(seed & 0xFFFFFFFFFFFFFFFF), np.int64(stream), np.asarray(numbers, np.int64))
