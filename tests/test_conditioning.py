"""``condition``: the probability of a condition and scenarios in which it holds, against closed forms."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, truncnorm

from sadt_ray import ConditionError, Forecast, ParsedCondition, condition, parse_condition, read_forecast, snis
from sadt_ray.conditioning.pilot import Trial, best_of, method_of, systems_of
from sadt_ray.conditioning.scenarios import ConditionedForecast
from sadt_ray.conditions.marks import marks_of
from sadt_ray.interfaces import Scale
from sadt_ray.metrics.probability import binomial_interval, bound_without_hits, log_normal_interval
from sadt_ray.processes.diffusion import DiffusionProcess

STEPS, MEAN, SD = 6, 1000.0, 50.0


def forecast(items=1, **others):
    names = ["load"] if items == 1 else [f"item {k}" for k in range(items)]
    details = {"start": "2026-01-03", "step": "h", "unit": "MW", "names": names, "correlation": 0.9} | others
    return Forecast.from_normal(np.full((items, STEPS), MEAN), SD, **details)


SD_OF_MEAN = SD * math.sqrt(forecast().correlation.matrix.mean())


@pytest.fixture(scope="module")
def rare():
    """Three standard deviations above the mean."""
    return condition(forecast(), f"mean > {MEAN + 3 * SD_OF_MEAN}", 100, seed=1)


def test_the_probability_of_a_rare_mean_is_that_of_the_normal_law(rare):
    assert rare.method == "sadt"
    assert rare.log_probability == pytest.approx(norm.logsf(3), abs=0.3)
    assert rare.interval[0] < norm.sf(3) < rare.interval[1]
    assert rare.interval[1] / rare.interval[0] < 3


def test_every_scenario_satisfies_a_hard_condition(rare):
    scenarios = rare.scenarios()
    assert scenarios.shape == (STEPS, 100)
    assert (scenarios.mean() > MEAN + 3 * SD_OF_MEAN).all()
    assert rare.satisfied == pytest.approx(1)


def test_the_mean_given_the_condition_is_that_of_the_truncated_normal_law(rare):
    """E[x_h | g > u] = mu + cov(x_h, g) / sd(g) hazard(u)."""
    slope = SD**2 * forecast().correlation.matrix.mean(1) / SD_OF_MEAN
    expected = MEAN + slope * np.exp(norm.logpdf(3) - norm.logsf(3))
    found = rare.samples[:, 0].T @ rare.weights
    np.testing.assert_allclose(found, expected, atol=6)


def test_quantiles_given_a_bound_on_one_step_are_those_of_the_truncated_normal_law():
    independent = forecast(correlation="independent")
    found = condition(independent, f"x[step 1] > {MEAN + 2.5 * SD}", seed=2, n_rollouts=512)
    levels = [0.1, 0.5, 0.9]
    table = found.quantiles(levels)
    np.testing.assert_allclose(table.iloc[0], MEAN + SD * truncnorm.ppf(levels, 2.5, np.inf), atol=0.15 * SD)
    np.testing.assert_allclose(table.iloc[1:].mean(), MEAN + SD * norm.ppf(levels), atol=0.2 * SD)  # untouched
    assert found.probability == pytest.approx(norm.sf(2.5), rel=0.2)


def test_a_frequent_condition_is_answered_by_prior_samples_with_an_exact_interval():
    found = condition(forecast(), f"mean > {MEAN + SD_OF_MEAN}", 100)
    assert (found.method, found.evaluations) == ("snis", 2 * 4096 * 16)  # others than those that the choice rests on
    asked = condition(forecast(), f"mean > {MEAN + SD_OF_MEAN}", 100, method="snis")
    assert (asked.probability, asked.evaluations) == (found.probability, 4096 * 16)
    assert "which is enough" in found.why
    hits = round(found.probability * 4096)
    assert found.interval == binomial_interval(hits, 4096)
    assert found.interval[0] < norm.sf(1) < found.interval[1]


@pytest.mark.parametrize(("method", "z", "least"), [("snis", 1.5, 26), ("sadt", 3.0, 25)])
def test_intervals_cover_the_truth_as_often_as_they_say(method, z, least):
    """30 independent items at once: fewer than 25 hits have a probability below .4 % at 95 %."""
    many = condition(forecast(30), f"mean > {MEAN + z * SD_OF_MEAN}", method=method, n_rollouts=128, seed=5)
    covered = [each.interval[0] <= norm.sf(z) <= each.interval[1] for each in many.values()]
    assert sum(covered) >= least
    assert max(each.interval[1] for each in many.values()) < 10 * norm.sf(z)  # and they say something


def test_a_choice_at_its_edge_does_not_bias_the_probability():
    """Half of the items have enough hits, by chance; samples that decided so would be 13 % too many."""
    z = norm.isf(100 / 4096)
    found = condition(forecast(16), f"mean > {MEAN + z * SD_OF_MEAN}", 50, seed=6)
    sampled = [each.probability for each in found.values() if each.method == "snis"]
    assert 3 <= len(sampled) <= 13
    assert np.mean(sampled) == pytest.approx(100 / 4096, rel=2 * 0.1 / math.sqrt(len(sampled)))


def test_a_condition_that_nothing_satisfies_is_said_to_be_so_with_a_bound():
    found = condition(forecast(), "max > 90000", method="sadt", n_rollouts=64)
    assert (found.probability, found.ess, found.starts, found.satisfied) == (0, 0, 0, 0)
    assert found.log_probability == -math.inf
    assert found.interval == (0, bound_without_hits(4096))
    assert "none of 4,096 prior samples and none of 64 of sadt satisfies 'max > 90000'" in found.remark
    assert "MW; log P is below -7.2 (95 %)" in found.remark
    assert found.scenarios().shape == (STEPS, 0)
    assert not found.weights.any()
    assert found.quantiles([0.5]).isna().all(axis=None)
    assert found.remark in repr(found)
    assert len(found.to_frame()) == 0


def test_a_few_starts_that_carry_all_the_weight_are_counted_in_a_remark():
    found = condition(forecast(), f"mean > {MEAN + 2 * SD_OF_MEAN}", method="snis", n_rollouts=100, seed=3)
    assert 0 < found.starts < 5
    assert f"{found.starts:.1f} independent starts carry all the weight" in found.remark
    assert any("scenarios of 200" in note for note in found.notes)


def test_items_are_judged_one_by_one():
    means = np.stack([np.full(STEPS, MEAN), np.full(STEPS, MEAN - 3 * SD)])
    two = Forecast.from_normal(means, SD, names=["high", "low"], start="2026-01-03", step="h", correlation=0.9)
    found = condition(two, f"mean > {MEAN}", 50)
    assert [found[name].method for name in ("high", "low")] == ["snis", "sadt"]
    assert found["high"].probability == pytest.approx(0.5, abs=0.03)
    assert found["low"].log_probability == pytest.approx(norm.logsf(3 * SD / SD_OF_MEAN), abs=0.3)
    with pytest.raises(AttributeError, match=r"there are 2 items; name one, as in found\['high'\].probability"):
        _ = found.probability
    with pytest.raises(KeyError, match="there are high, low"):
        _ = found["middle"]
    assert set(found.to_frame()["item_id"]) == {"high", "low"}


def test_the_same_seed_gives_the_same_scenarios_and_another_seed_others(rare):
    text = f"mean > {MEAN + 3 * SD_OF_MEAN}"
    again = condition(forecast(), parse_condition(text), 100, seed=1)
    pd.testing.assert_frame_equal(again.scenarios(), rare.scenarios())
    assert again.probability == rare.probability
    other = condition(forecast(), text, 100, seed=2)
    assert other.probability != rare.probability


def test_a_soft_condition_has_the_mean_of_its_likelihood_as_probability():
    """E exp(-(g - b)^2 / 2 s^2) of a normal g = s / sqrt(s^2 + v) exp(-(mu - b)^2 / 2 (s^2 + v))."""
    s, b = 20.0, MEAN + SD_OF_MEAN
    found = condition(forecast(), f"mean = {b} ~ {s}")
    v = SD_OF_MEAN**2
    expected = s / math.sqrt(s**2 + v) * math.exp(-((MEAN - b) ** 2) / (2 * (s**2 + v)))
    assert found.interval[0] < expected < found.interval[1]
    assert found.interval[1] / found.interval[0] < 1.2


def test_a_budget_in_evaluations_is_kept_by_every_method():
    for method in ("snis", "sadt"):
        found = condition(forecast(), f"mean > {MEAN + SD_OF_MEAN}", method=method, max_nfe=2048)
        prior = 0 if method == "snis" else 4096 * 16
        assert 1024 <= found.evaluations - prior <= 2048


def test_a_method_of_ones_own_must_estimate_the_probability_without_bias():
    found = condition(forecast(), "mean > 1000", method=snis(n_rollouts=64))
    assert found.method == "snis"
    with pytest.raises(ValueError, match="must have inv_temperature 1"):
        condition(forecast(), "mean > 1000", method=snis(n_rollouts=64, inv_temperature=2))
    with pytest.raises(ValueError, match="there is no method 'dts' for conditions; choose auto"):
        condition(forecast(), "mean > 1000", method="dts")
    with pytest.raises(ValueError, match="n_rollouts or max_nfe, not both"):
        condition(forecast(), "mean > 1000", n_rollouts=8, max_nfe=8)


def test_what_does_not_fit_is_refused_before_anything_is_sampled(tmp_path):
    with pytest.raises(ConditionError, match="load: 2027-01-01 is outside") as caught:
        condition(forecast(), "max[2027-01-01] > 5")
    assert "^^^" in str(caught.value)
    with pytest.raises(ValueError, match="num_scenarios must be at least 1, got 0"):
        condition(forecast(), "max > 5", 0)
    (tmp_path / "old").write_text("kept")
    with pytest.raises(ValueError, match="is not empty"):
        condition(forecast(), "max > 5", out=tmp_path)


# scenarios


def conditioned(samples, weights):
    problem = forecast().problems()[0]
    samples = np.asarray(samples, float)[:, None]
    return ConditionedForecast(
        problem=problem, text="", words="", samples=samples, weights=np.asarray(weights, float), prior_samples=samples,
        log_probability=-1.0, interval=(0, 1), interval_method="", satisfied=1.0, starts=9.0, evaluations=0,
        reward_calls=0, method="snis", why="",
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any), st.integers(1, 60), st.integers(1, 4))
def test_no_path_comes_more_often_than_allowed_and_each_in_proportion_to_its_weight(counts, n, most):
    weights = np.array(counts) / sum(counts)
    paths = np.repeat(np.arange(len(counts))[:, None] // 2, STEPS, axis=1)  # every path is there twice
    found = conditioned(paths, weights).scenarios(n, max_repeats=most)
    drawn = found.iloc[0].value_counts()
    assert drawn.max() <= most
    assert found.shape[1] == n or found.attrs["note"].startswith(f"{found.shape[1]} scenarios of {n}")
    for path, count in drawn.items():
        share = weights[[k for k in range(len(counts)) if k // 2 == path]].sum()
        assert abs(count - found.shape[1] * share) < 1 + 1e-9
        assert share > 0


def test_weighted_scenarios_come_with_their_weights(rare):
    frame = rare.scenarios(10, equal_weights=False)
    assert frame.attrs["weights"] == sorted(rare.weights, reverse=True)[:10]
    assert frame.shape == (STEPS, 10)


def test_a_long_frame_is_a_forecast_again(rare):
    again = read_forecast(rare.to_frame())
    assert again.names == ("load",)
    assert list(again.dates()) == list(rare.dates)
    problem = again.problems()[0]
    assert (problem.time.start, again.horizon) == (forecast().problems()[0].time.start, STEPS)


def test_several_series_have_columns_of_their_own():
    both = forecast(2).joined("both")
    found = condition(both, 'max("item 0" - "item 1") < 20', 30)
    scenarios = found.scenarios()
    assert list(scenarios.columns.names) == ["series", "scenario"]
    assert ((scenarios["item 0"] - scenarios["item 1"]).max() < 20).all()
    assert found.quantiles([0.5])["item 1"].shape == (STEPS, 1)
    assert set(found.to_frame()["series"]) == {"item 0", "item 1"}
    long = found.to_frame()
    one = long[(long["series"] == "item 1") & (long["sample"] == 3)]
    np.testing.assert_array_equal(one["value"], scenarios["item 1"][3])


@pytest.mark.parametrize(
    "details",
    [
        {
            "start": "2026-03-28T20:00",
            "zone": "Europe/Berlin",
            "history": np.arange(40.0),
            "truth": np.full(STEPS, 990.0),
        },
        {"start": None, "step": None},
    ],
)
def test_a_picture_shows_history_truth_and_the_condition(details):
    found = condition(forecast(**details), "max[first 3 steps] < 1060 and x[step 5] = 1000 +- 30", 10)
    (axes,) = found.plot().axes
    drawn = [line.get_ydata() for line in axes.lines]
    assert any(np.array_equal(y, np.full(3, 1060.0)) for y in drawn)
    assert any(np.array_equal(y, [970.0]) for y in drawn)
    assert any(np.array_equal(y, [1030.0]) for y in drawn)
    assert any(len(y) == STEPS and np.allclose(y, found.before[0.5]) for y in drawn)
    if "truth" in details:
        assert any(np.array_equal(y, details["truth"]) for y in drawn)
        assert any(np.array_equal(y, details["history"][-STEPS:]) for y in drawn)
        assert str(found.dates.tz) == "Europe/Berlin"
    else:
        assert list(found.scenarios().index) == list(range(1, STEPS + 1))
        assert list(found.to_frame().columns) == ["item_id", "step", "sample", "value"]


def test_a_prior_that_is_no_forecast_is_conditioned_in_the_units_of_its_file():
    process = forecast().process()
    problem = replace(forecast().problems()[0], scale=Scale((-10.0,), (0.5,), ("load",), "GW"))
    found = condition((DiffusionProcess(process.denoiser, process.sampler), problem), "mean > 490", seed=1)
    assert found.prior_samples.mean() == pytest.approx(490, abs=5)
    assert found.probability == pytest.approx(0.5, abs=0.1)
    assert found.evaluations % 16 == 0
    assert (found.scenarios().mean() > 490).all()
    assert len(found.prior_samples) == 128 or found.method == "snis"


# the interval, the choice, the marks


@pytest.mark.parametrize("n", [5, 50])
def test_the_exact_interval_covers_at_least_as_often_as_it_says(n):
    for p in (0.02, 0.3, 0.9):
        probabilities = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
        ends = [binomial_interval(k, n) for k in range(n + 1)]
        assert sum(q for q, (a, b) in zip(probabilities, ends, strict=True) if a <= p <= b) >= 0.95 - 1e-9


def test_the_bound_without_hits_is_where_all_samples_miss_with_five_per_cent():
    for n in (1, 10, 4096):
        assert (1 - bound_without_hits(n)) ** n == pytest.approx(0.05)
    assert bound_without_hits(4096) == pytest.approx(3 / 4096, rel=0.01)


def test_an_interval_without_a_standard_error_says_nothing():
    assert log_normal_interval(-3.0, math.inf, 3) == (0.0, 1.0)
    low, high = log_normal_interval(-0.01, 0.1, 3)
    assert low < math.exp(-0.01)
    assert high == 1.0


def trial(method, se=0.1, starts=40.0, log_z=-5.0, evaluations=1000):
    return Trial(method, log_z, se, starts, evaluations, 0)


def test_sadt_is_taken_unless_it_is_uneven_and_another_method_is_much_cheaper_or_it_is_lost():
    assert best_of([trial("sadt"), trial("tempered", 0.01)]).method == "sadt"  # even
    uneven = trial("sadt", starts=20.0)
    assert best_of([uneven, trial("tempered", 0.04)]).method == "sadt"
    assert best_of([uneven, trial("tempered", 0.03)]).method == "tempered"
    assert best_of([trial("sadt", starts=3.0), trial("tempered", 0.4)]).method == "tempered"
    nothing = trial("sadt", math.inf, 0.0, -math.inf)
    assert best_of([nothing, trial("surrogate", math.inf, 1.0)]).method == "surrogate"
    assert best_of([nothing, trial("tempered", math.inf, 0.0, -math.inf)]).method == "sadt"


def test_a_budget_is_divided_into_independent_systems():
    assert [systems_of(n) for n in (64, 256, 512, 2048)] == [(4, 16), (4, 64), (4, 128), (16, 128)]
    method = method_of("sadt", 256, 3)
    assert (method.search.n_rollouts, method.smc.particles, method.search.seed) == (4, 64, 3)


def test_levels_and_bands_are_drawn_where_they_hold():
    problem = forecast().problems()[0]

    def marks(text):
        return [mark[:5] for mark in marks_of(ParsedCondition.resolve(parse_condition(text), problem, (1, STEPS)))]

    assert marks("max[steps 2..3] < 5") == [(0, (1, 2), -math.inf, 5, "all")]
    assert marks("max > 5") == [(0, tuple(range(STEPS)), 5, math.inf, "any")]
    assert marks("sum[first 2 steps] = 100 +- 10") == [(0, (0, 1), 45, 55, "mean")]
    assert marks("x[step 4] = 7 ~ 2") == [(0, (3,), 5, 9, "all")]
    assert marks("not max > 5 and ramp < 3") == []
