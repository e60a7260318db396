"""Resampling: every scheme is unbiased, keeps its own promise about copies, and chooses nobody of weight 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sadt_ray.smc.resampling import SCHEMES, scheme_named

NAMES = (*SCHEMES, "siblings-2", "siblings-4")
each_scheme = pytest.mark.parametrize("name", NAMES)
WEIGHTS = np.array([0.0, 0.31, 0.02, 0.0, 0.17, 0.25, 0.25, 0.0])
ALMOST_ONE = 1 - 2.0**-53


def copies(name, weights, uniforms):
    """How often each particle goes on, a row a population."""
    ancestors = scheme_named(name)(weights, uniforms)
    assert ancestors.shape == weights.shape
    return (ancestors[:, :, None] == np.arange(weights.shape[1])).sum(1)


def weights_of(shares):
    return shares / shares.sum(-1, keepdims=True)


populations = arrays(
    float,
    st.tuples(st.integers(1, 4), st.sampled_from([1, 4, 8])),
    elements=st.sampled_from([0.0, 1e-17, 0.1, 1.0, 7.3]),
).filter(lambda shares: (shares.sum(1) > 0).all())


@each_scheme
def test_the_expected_number_of_copies_is_n_times_the_weight(name):
    batch = 20_000
    counts = copies(name, np.tile(WEIGHTS, (batch, 1)), np.random.default_rng(0).random((batch, 8)))
    error = counts.std(0) / np.sqrt(batch)
    assert (np.abs(counts.mean(0) - 8 * WEIGHTS) <= 4 * error + 1e-12).all()
    assert (error[[1, 2, 4]] > 0).all()


@pytest.mark.parametrize(
    ("name", "bound"), [("systematic", 1.0), ("stratified", 2.0), ("siblings-2", 2.0), ("siblings-4", 4.0)]
)
@given(shares=populations, u=st.floats(1e-9, ALMOST_ONE), seed=st.integers(0, 99))
def test_copies_stay_near_what_is_expected(name, bound, shares, u, seed):
    """Less than one from n W for systematic resampling, less than two for stratified; K for families of K."""
    if shares.shape[1] % 4:
        return
    weights = weights_of(shares)
    uniforms = np.random.default_rng(seed).random(weights.shape)
    uniforms[:, 0] = u
    assert (np.abs(copies(name, weights, uniforms) - weights.shape[1] * weights) < bound + 1e-9).all()


@given(shares=populations, seed=st.integers(0, 99))
def test_the_residual_scheme_gives_each_particle_the_whole_copies_that_it_is_owed(shares, seed):
    weights = weights_of(shares)
    counts = copies("residual", weights, np.random.default_rng(seed).random(weights.shape))
    assert (counts >= np.floor(weights.shape[1] * weights * (1 - 1e-12))).all()


@each_scheme
def test_equal_weights_leave_everybody_where_whole_copies_are_owed(name):
    counts = copies(name, np.full((50, 8), 1 / 8), np.random.default_rng(1).random((50, 8)))
    if name.startswith("siblings"):
        size = int(name[-1])
        assert (np.isin(counts, [0, size])).all()
        assert ((counts == size).sum(1) == 8 // size).all()
    elif name != "multinomial":
        np.testing.assert_array_equal(counts, 1)
    np.testing.assert_array_equal(counts.sum(1), 8)


@each_scheme
@given(shares=populations, extreme=st.sampled_from([None, 2.0**-54, ALMOST_ONE]), seed=st.integers(0, 99))
def test_a_particle_of_weight_zero_never_goes_on(name, shares, extreme, seed):
    weights = weights_of(shares)
    if name.startswith("siblings") and weights.shape[1] % int(name[-1]):
        return
    uniforms = np.random.default_rng(seed).random(weights.shape) if extreme is None else np.full(weights.shape, extreme)
    assert (copies(name, weights, uniforms)[weights == 0] == 0).all()


@each_scheme
def test_far_down_in_a_batch_too_nobody_of_weight_zero_goes_on(name):
    """One search serves all populations, each shifted by its number: what is close to the end must not fall over it."""
    weights = np.zeros((3_000, 4))
    weights[:, 1:3] = 0.5
    counts = copies(name, weights, np.full(weights.shape, ALMOST_ONE))
    assert (counts[:, [0, 3]] == 0).all()


@each_scheme
def test_populations_of_a_batch_do_not_know_of_each_other(name):
    rng = np.random.default_rng(2)
    weights, uniforms = rng.dirichlet(np.full(8, 0.3), 40), rng.random((40, 8))
    scheme = scheme_named(name)
    together = scheme(weights, uniforms)
    for row in (0, 17, 39):
        np.testing.assert_array_equal(scheme(weights[[row]], uniforms[[row]])[0], together[row])


@each_scheme
def test_one_particle_goes_on(name):
    if not name.startswith("siblings"):
        np.testing.assert_array_equal(scheme_named(name)(np.ones((3, 1)), np.full((3, 1), 0.7)), 0)


def test_schemes_of_less_spread_have_less_of_it():
    """Var of the copies: residual and stratified below multinomial, always (Douc, Cappe & Moulines 2005)."""
    batch = 20_000
    rng = np.random.default_rng(3)
    variance = {
        name: copies(name, np.tile(WEIGHTS, (batch, 1)), rng.random((batch, 8))).var(0).sum() for name in SCHEMES
    }
    assert variance["multinomial"] > 1.5 * variance["residual"]
    assert variance["multinomial"] > 1.5 * variance["stratified"]


def test_members_of_a_family_stand_side_by_side():
    ancestors = scheme_named("siblings-4")(np.full((5, 12), 1 / 12), np.random.default_rng(4).random((5, 12)))
    families = ancestors.reshape(5, 3, 4)
    np.testing.assert_array_equal(families, families[:, :, :1].repeat(4, axis=2))


@pytest.mark.parametrize("name", ["best", "siblings-", "siblings-0", "siblings-x", "siblings--2", ""])
def test_a_scheme_that_there_is_not_is_refused_with_those_that_there_are(name):
    with pytest.raises(ValueError, match="choose one of multinomial, stratified, systematic, residual, siblings-K"):
        scheme_named(name)


def test_families_that_do_not_divide_the_particles_are_refused():
    with pytest.raises(ValueError, match="8 particles do not divide into groups of 3 siblings"):
        scheme_named("siblings-3")(np.full((1, 8), 1 / 8), np.full((1, 8), 0.5))
