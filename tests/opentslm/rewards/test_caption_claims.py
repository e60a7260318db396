"""Claims of captions against the measured series."""

import math

import numpy as np
import pytest
from stage_questions import question

from sadt_ray.opentslm.rewards.claims import Claims, ClaimsReward, measure, read_claims

TIME = np.arange(240.0)
NOISE = np.random.default_rng(0).standard_normal(240)
DAILY = np.sin(2 * np.pi * TIME / 24)


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("The series shows an upward trend with a seasonal pattern of period 24.", Claims(1, True, 24.0)),
        ("There is no clear trend. It repeats every 24 hours.", Claims(0, True, 24.0)),
        ("The series has no trend and no seasonality.", Claims(0, False, None)),
        ("A steady decline overall; no obvious seasonal pattern.", Claims(-1, False, None)),
        ("The values rise in the morning. Overall it stays level with a 24-hour cycle.", Claims(0, True, 24.0)),
        ("The long-term trend is decreasing, then increasing again.", Claims(-1, None, None)),
        ("The period is about 12.5 steps.", Claims(None, True, 12.5)),
        ("Aperiodic and without any trend.", Claims(0, False, None)),
        (
            "The series falls slightly from beginning to end. There is a clear cycle of 24 samples.",
            Claims(-1, True, 24.0),
        ),
        ("Over the window the series stays level. It does not repeat itself.", Claims(0, False, None)),
        ("Prices of electricity in Sweden.", Claims()),
    ],
)
def test_claims_are_read_from_plain_words(text, claims):
    assert read_claims(text) == claims


def test_a_line_is_all_trend_and_a_sine_is_all_season():
    line, sine, noise = measure(0.1 * TIME), measure(DAILY), measure(NOISE)
    assert (line.trend_share, line.direction) == (pytest.approx(1.0), 1)
    assert measure(-TIME).direction == -1
    assert sine.season_share > 0.99
    assert sine.trend_share < 0.05
    assert noise.season_share < 0.25
    assert noise.trend_share < 0.05


def test_shares_are_those_of_the_variance():
    """Half line, half sine of whole periods: the line explains what it brings."""
    line = (TIME - TIME.mean()) / TIME.std()
    cosine = np.sqrt(2) * np.cos(2 * np.pi * (TIME + 0.5) / 24)  # even about the middle: no slope of its own
    assert measure(line + cosine).trend_share == pytest.approx(0.5, abs=1e-6)


def test_the_measured_period_is_the_best_claim_and_one_that_does_not_fit_the_worst():
    shares = [measure(DAILY + 0.1 * NOISE).power_share(period) for period in (24, 12, 50, 1000, 0.5)]
    assert shares[0] == 1.0
    assert max(shares[1:]) < 0.05
    assert shares[3] == shares[4] == 0.0


def test_the_reward_is_the_mean_log_probability_of_the_claims():
    problem = question(context=0.02 * TIME + DAILY, label=None, answers=())
    measured = measure(problem.context)
    samples = np.array(["An upward trend.", "A downward trend with a period of 24.", "A trend. Seasonal.", "Data."])
    rewards = ClaimsReward().bind([problem])(samples, np.zeros(4, int))
    low, season = math.log(0.02), math.log(measured.season_share)
    expected = [math.log(measured.trend_share), (low + season + 0.0) / 3, season, math.log(0.5)]
    np.testing.assert_allclose(rewards, expected)
    assert not ClaimsReward().oracle


def test_true_claims_beat_silence_and_silence_beats_false_ones():
    problems = [question(context=context, label=None, answers=()) for context in (DAILY, NOISE, TIME)]
    scorer = ClaimsReward().bind(problems)
    right = np.array(["Seasonal with a period of 24. No trend.", "No trend, no seasonality.", "An upward trend."])
    wrong = np.array(["No seasonality and a falling trend.", "A rising trend.", "No trend."])
    assert (scorer(right, np.arange(3)) > math.log(0.5)).all()
    assert (scorer(wrong, np.arange(3)) < math.log(0.5)).all()


def test_a_constant_series_and_one_that_cannot_be_measured():
    for level in (0.0, 0.1, 3.0):
        assert (measure(np.full(50, level)).trend_share, measure(np.full(50, level)).season_share) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"'q': claims are checked against a finite series .* got \(64, 3\)"):
        ClaimsReward().bind([question(context=np.zeros((64, 3)))])
    with pytest.raises(ValueError, match="claims need a floor"):
        ClaimsReward(floor=0.0)
