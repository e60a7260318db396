"""The marginal laws of a forecast, against laws that are known in closed form."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sadt_ray.forecasts.marginals import law_marginals, normal_marginals, quantile_marginals, sample_marginals

DECILES = np.arange(1, 10) / 10
FAR = torch.linspace(-7, 7, 141, dtype=torch.float64)[:, None, None]


def _at(laws, scores, dtype=torch.float64):
    """T at scores [n] of a single step."""
    return laws.transform(torch.as_tensor(scores, dtype=dtype).reshape(-1, 1, 1), torch.tensor(0)).ravel().numpy()


def _slope(laws, z):
    z = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(laws.transform(z, torch.tensor(0)).sum(), z)
    return slope


def _quantile_laws(values, levels=DECILES, **options):
    return quantile_marginals(np.reshape(values, (1, 1, 1, -1)), levels, **options)


def test_quantiles_of_a_normal_law_give_that_law_at_every_level():
    laws = _quantile_laws(stats.norm(50, 7).ppf(DECILES))
    probabilities = np.array([1e-12, 1e-3, 0.07, 0.5, 0.77, 0.999])
    found = laws.quantile(torch.as_tensor(probabilities)[:, None, None], torch.tensor(0)).ravel().numpy()
    np.testing.assert_allclose(found, stats.norm(50, 7).ppf(probabilities), rtol=1e-12)


def test_the_quantiles_that_were_given_are_kept():
    values = np.array([0.0, 0.1, 5, 5.2, 5.3, 40, 41, 41.5, 300])
    np.testing.assert_allclose(_at(_quantile_laws(values), stats.norm.ppf(DECILES)), values, rtol=1e-9, atol=1e-9)


def test_tails_go_on_with_the_slope_of_the_last_stretch():
    values = np.array([0.0, 0.1, 5, 5.2, 5.3, 40, 41, 41.5, 300])
    laws, z = _quantile_laws(values), stats.norm.ppf(DECILES)
    slope = (300 - 41.5) / (z[-1] - z[-2])
    np.testing.assert_allclose(_at(laws, [z[-1] + 3]), 300 + 3 * slope)
    np.testing.assert_allclose(_at(laws, [z[0] - 3]), -3 * 0.1 / (z[1] - z[0]))


def test_a_limited_tail_is_log_normal_above_its_limit_and_smooth_at_the_last_quantile():
    laws, z = _quantile_laws([2.0, 3, 4], [0.1, 0.5, 0.9], lower=0, upper=10), stats.norm.ppf(0.1)
    slope = 1 / -z
    np.testing.assert_allclose(_at(laws, [z - 2]), 2 * np.exp(-2 * slope / 2))
    np.testing.assert_allclose(_at(laws, [-z + 2]), 10 - 6 * np.exp(-2 * slope / 6))
    beside = torch.tensor([z - 1e-7, z + 1e-7], dtype=torch.float64).reshape(-1, 1, 1)
    below, above = _slope(laws, beside).ravel().tolist()
    assert below == pytest.approx(above, rel=1e-5)
    assert 0 < _at(laws, [-9]) < _at(laws, [9]) < 10


@pytest.mark.parametrize(
    "law",
    [stats.lognorm(s=0.8, scale=np.exp(3)), stats.t(df=4, loc=10, scale=2), stats.gamma(a=3), stats.norm(-3, 0.2)],
    ids=["lognormal", "student-t", "gamma", "normal"],
)
def test_a_law_keeps_its_probabilities_far_into_both_tails(law):
    laws = law_marginals(law, (1, 1, 1))
    for x, z in ((law.isf(1e-12), stats.norm.isf(1e-12)), (law.ppf(1e-6), stats.norm.ppf(1e-6)), (law.ppf(0.3), None)):
        expected = stats.norm.ppf(0.3) if z is None else z
        found = laws.score(torch.tensor(x, dtype=torch.float64).reshape(1, 1, 1), torch.tensor(0))
        assert found.item() == pytest.approx(expected, abs=2e-4)


def test_samples_give_their_empirical_quantiles():
    drawn = np.random.default_rng(0).gamma(2, size=(1, 1, 1, 20_000))
    found = _at(sample_marginals(drawn), stats.norm.ppf([0.01, 0.1, 0.5, 0.9, 0.99]))
    np.testing.assert_allclose(found, np.quantile(drawn, [0.01, 0.1, 0.5, 0.9, 0.99]), rtol=0.01)


def test_two_samples_are_enough_and_one_is_not():
    laws = sample_marginals(np.array([[[[3.0, 1.0]]]]))
    np.testing.assert_allclose(_at(laws, stats.norm.ppf([0.25, 0.5, 0.75])), [1, 2, 3])
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        sample_marginals(np.ones((1, 1, 1, 1)))


@st.composite
def quantiles(draw):
    """Ascending quantiles with ties, and with stretches of very different lengths."""
    steps = draw(st.lists(st.sampled_from([0.0, 1e-4, 0.3, 1.0, 50.0]), min_size=1, max_size=11))
    start = draw(st.floats(-1e4, 1e4))
    return np.cumsum([start, *steps])


@given(values=quantiles(), limited=st.booleans())
@settings(max_examples=60)
def test_the_map_is_monotone_with_a_finite_positive_slope_and_an_inverse(values, limited):
    levels = np.arange(1, len(values) + 1) / (len(values) + 1)
    limits = {"lower": values[0] - 1, "upper": values[-1] + 1} if limited else {}
    laws = _quantile_laws(values, levels, **limits)
    slope = _slope(laws, FAR)
    assert torch.isfinite(slope).all()
    x = laws.transform(FAR, torch.tensor(0))
    reach = torch.ones_like(FAR, dtype=torch.bool)
    if limited:  # closer to a limit than a double tells apart, the way back is lost
        reach = (x - limits["lower"] > 1e-6) & (limits["upper"] - x > 1e-6)
    assert (slope[reach] > 0).all()
    assert (torch.diff(x, dim=0) >= 0).all()
    back = laws.score(x, torch.tensor(0))
    error = ((back - FAR).abs() * slope)[reach]
    assert (error <= 1e-9 * (1 + x.abs()[reach])).all()


def test_the_score_has_the_reciprocal_slope():
    laws = _quantile_laws([2.0, 3, 4.5, 4.6], [0.1, 0.4, 0.6, 0.9], lower=0)
    z = torch.tensor([-3.0, -1.0, 0.1, 0.7, 2.0], dtype=torch.float64).reshape(-1, 1, 1)
    x = laws.transform(z, torch.tensor(0)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(laws.score(x, torch.tensor(0)).sum(), x)
    torch.testing.assert_close(slope, 1 / _slope(laws, z))


def test_values_at_or_beyond_a_limit_have_an_infinite_score():
    laws = _quantile_laws([2.0, 3], [0.1, 0.9], lower=0, upper=5)
    x = torch.tensor([-1.0, 0.0, 5.0, 7.0]).reshape(-1, 1, 1)
    assert laws.score(x, torch.tensor(0)).ravel().tolist() == [-np.inf, -np.inf, np.inf, np.inf]


def test_counts_with_many_zeros_have_an_inverse_and_stay_above_zero():
    laws = _quantile_laws([0, 0, 0, 0, 0, 1, 1, 2, 5], lower=0)
    x = laws.transform(FAR, torch.tensor(0))
    assert (torch.diff(x, dim=0) > 0).all()
    assert x.min() >= 0
    assert laws.score(torch.tensor([[[0.5]]]), torch.tensor(0)).item() == pytest.approx(stats.norm.ppf(0.55), abs=0.1)


def test_rows_use_the_laws_of_their_item_series_and_step_in_both_precisions():
    mean = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    laws = quantile_marginals(mean[..., None] + stats.norm.ppf(DECILES), DECILES)
    z = torch.randn(5, 7, 3, 4)
    item = torch.tensor([0, 1, 1, 0, 1])[:, None]
    expected = torch.as_tensor(mean)[item] + z.double()
    torch.testing.assert_close(laws.transform(z.double(), item), expected)
    found = laws.transform(z, item)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float())
    torch.testing.assert_close(laws.score(found, item), z, atol=1e-5, rtol=0)
    torch.testing.assert_close(laws.transform(z[:2, 0]), torch.as_tensor(mean).float() + z[:2, 0])


def test_a_copy_and_a_pickle_say_the_same():
    laws = _quantile_laws([1.0, 2, 4], [0.1, 0.5, 0.9], lower=0)
    for other in (copy.deepcopy(laws), pickle.loads(pickle.dumps(laws))):
        np.testing.assert_array_equal(_at(other, [-2, 0.3, 2]), _at(laws, [-2, 0.3, 2]))


def test_normal_laws_are_linear_and_others_are_not():
    assert normal_marginals(np.zeros((1, 1, 2)), np.ones((1, 1, 2))).linear
    assert not _quantile_laws([1.0, 2], [0.1, 0.9]).linear


def test_crossing_quantiles_are_refused_with_their_place_or_sorted_and_counted():
    values = np.array([[[[1.0, 2, 3], [1, 3, 2]]]])
    with pytest.raises(ValueError, match=r"step 1: quantile 0.5 is 3, quantile 0.9 is 2") as refused:
        quantile_marginals(values, [0.1, 0.5, 0.9])
    assert "crossing='sort'" in str(refused.value)
    laws = quantile_marginals(values, [0.1, 0.5, 0.9], crossing="sort")
    assert laws.notes == ("quantiles sorted at 1 of 2 steps",)
    z = torch.full((1, 1, 2), stats.norm.ppf(0.9), dtype=torch.float64)
    assert laws.transform(z).ravel().tolist() == pytest.approx([3, 3])


@pytest.mark.parametrize(
    ("values", "levels", "options", "said"),
    [
        ([1, 2], [0.1], {}, "2 levels, got 1|at least two"),
        ([1, 2], [0.5, 0.5], {}, "ascend strictly"),
        ([1, 2], [0.5, 1.0], {}, "pass it as lower or upper"),
        ([1, np.nan], [0.1, 0.9], {}, "step 0: quantile 0.9 is nan"),
        ([-1, 2], [0.1, 0.9], {"lower": 0}, "-1 is below the lower limit 0"),
        ([1, 2], [0.1, 0.9], {"upper": 1.5}, "2 is above the upper limit 1.5"),
        ([1, 2], [0.1, 0.9], {"lower": 3, "upper": 3}, "must be below"),
        ([1, 2], [0.1, 0.9], {"crossing": "ignore"}, "choose refuse or sort"),
    ],
)
def test_what_is_wrong_with_quantiles_is_said(values, levels, options, said):
    with pytest.raises(ValueError, match=said):
        _quantile_laws(values, levels, **options)


def test_a_discrete_law_and_an_sd_that_is_not_positive_are_refused():
    with pytest.raises(ValueError, match="bring quantiles or samples"):
        law_marginals(stats.poisson(3), (1, 1, 1))
    with pytest.raises(ValueError, match=r"step 1: mean 0 and sd 0"):
        normal_marginals(np.zeros((1, 1, 2)), np.array([[[1.0, 0.0]]]))


def test_an_item_must_be_given_where_there_are_several():
    laws = normal_marginals(np.zeros((2, 1, 3)), np.ones((2, 1, 3)))
    with pytest.raises(ValueError, match="2 items, but no item"):
        laws.transform(torch.zeros(5, 1, 3))
    with pytest.raises(ValueError, match="the last two must be"):
        laws.transform(torch.zeros(2, 3, 1))
