"""Counter-based randomness: published Philox vectors, right distributions, and nothing but (seed, stream, index)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import uint32
from scipy import stats

from sadt_ray.numerics import rng

RANDOM123_VECTORS = [  # kat_vectors of Random123, philox4x32 with 10 rounds: counter, key, result
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
SEEDS = rng.derive_seeds(11, 0, np.arange(200))
STREAMS = np.arange(200) % 5


def words(text):
    return [int(word, 16) for word in text.split()]


def philox(counter, key):
    return [int(word) for word in rng.philox4x32(*(uint32(word) for word in (*counter, *key)))]


@pytest.mark.parametrize(("counter", "key", "result"), RANDOM123_VECTORS)
def test_philox_gives_the_published_vectors(counter, key, result):
    assert philox(words(counter), words(key)) == words(result)


def test_normals_are_box_muller_of_the_words_that_seed_and_stream_address():
    seed, stream = 0x299F31D0A4093822, 9
    key = [seed & 0xFFFFFFFF, seed >> 32]
    quads = [philox([block, 0, stream, 0], key) for block in range(3)]
    expected = []
    for a, b, c, d in quads:
        for radius_word, angle_word in ((a, b), (c, d)):
            radius = np.sqrt(-2 * np.log((radius_word + 0.5) / 2**32))
            angle = 2 * np.pi * (angle_word + 0.5) / 2**32
            expected += [radius * np.cos(angle), radius * np.sin(angle)]
    got = rng.normals(np.array([seed], np.uint64), np.array([stream]), 11, np.float64)
    np.testing.assert_allclose(got[0], expected[:11], atol=1e-9)


def test_uniforms_are_the_upper_53_of_64_bits():
    seed, stream = 0x299F31D0A4093822, 9
    key = [seed & 0xFFFFFFFF, seed >> 32]
    expected = []
    for index in range(4):
        high, low, _, _ = philox([index, 0, stream, 1], key)
        expected.append((((high << 32 | low) >> 11) + 0.5) / 2**53)
    got = rng.uniforms(np.array([seed], np.uint64), np.array([stream]), 4)
    np.testing.assert_array_equal(got[0], expected)


def test_uniforms_are_uniform_and_normals_normal():
    uniforms, normals = rng.uniforms(SEEDS, STREAMS, 500), rng.normals(SEEDS, STREAMS, 500)
    assert stats.kstest(uniforms.ravel(), "uniform").pvalue > 0.01
    assert stats.kstest(normals.ravel().astype(float), "norm").pvalue > 0.01
    assert uniforms.min() > 0
    assert uniforms.max() < 1


def test_normals_have_the_moments_and_tails_of_a_normal_and_no_correlation():
    z = rng.normals(rng.derive_seeds(3, 1, np.arange(4_000)), np.zeros(4_000, int), 96).astype(float)
    count = z.size
    assert abs(z.mean()) < 4 / np.sqrt(count)
    assert abs(np.mean(z**2) - 1) < 4 * np.sqrt(2 / count)
    assert abs(np.mean(z**4) - 3) < 4 * np.sqrt(96 / count)
    beyond_four = 2 * stats.norm.sf(4.0) * count
    assert abs(np.sum(np.abs(z) > 4) - beyond_four) < 4 * np.sqrt(beyond_four)
    correlation = np.corrcoef(z[:, :8].T) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(z))
    squares = np.corrcoef(np.square(z[:, :8]).T) - np.eye(8)
    assert np.abs(squares).max() < 4.5 / np.sqrt(len(z))


def test_streams_seeds_and_the_two_kinds_of_numbers_are_independent():
    same_seed = rng.normals(np.full(2, SEEDS[0]), np.array([0, 1]), 20_000).astype(float)
    neighbours = rng.normals(np.array([7, 8], np.uint64), np.zeros(2, int), 20_000).astype(float)
    assert abs(np.corrcoef(same_seed)[0, 1]) < 4 / np.sqrt(20_000)
    assert abs(np.corrcoef(neighbours)[0, 1]) < 4 / np.sqrt(20_000)
    uniform = rng.uniforms(SEEDS[:1], np.zeros(1, int), 20_000)[0]
    assert abs(np.corrcoef(uniform, same_seed[0])[0, 1]) < 4 / np.sqrt(20_000)


@given(st.permutations(range(12)), st.integers(1, 40), st.integers(1, 12))
def test_a_row_is_the_same_bit_for_bit_in_any_batch_order_and_width(order, width, size):
    rows = np.array(order[:size])
    for draw in (rng.normals, rng.uniforms):
        everything = draw(SEEDS[:12], STREAMS[:12], 40)
        np.testing.assert_array_equal(draw(SEEDS[rows], STREAMS[rows], width), everything[rows, :width])


def test_single_precision_is_the_rounded_double():
    double = rng.normals(SEEDS, STREAMS, 96, np.float64)
    np.testing.assert_array_equal(rng.normals(SEEDS, STREAMS, 96), double.astype(np.float32))


def test_seeds_derived_for_different_things_differ_and_do_not_depend_on_their_companions():
    ids = np.arange(100_000)
    derived = rng.derive_seeds(5, 2, ids)
    assert len(np.unique(derived)) == len(ids)
    assert rng.derive_seeds(5, 2, np.array([4_321]))[0] == derived[4_321]
    assert len({int(rng.derive_seeds(seed, stream, ids[:1])[0]) for seed in (5, 6, -1) for stream in (2, 3)}) == 6
    bits = np.unpackbits(derived.view(np.uint8)).mean()
    assert abs(bits - 0.5) < 4 * 0.5 / np.sqrt(64 * len(ids))


def test_no_rows_and_no_width_are_empty():
    assert rng.normals(SEEDS[:0], STREAMS[:0], 5).shape == (0, 5)
    assert rng.normals(SEEDS[:3], STREAMS[:3], 0).shape == (3, 0)
