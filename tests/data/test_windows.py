"""Windows: split sizes, what a context may see, and problems that keep the future to themselves."""

import numpy as np
import pandas as pd
import pytest

from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.data.windows import split_rows, standardised

DATASET = synthetic_hourly(seed=3)


def test_a_file_as_long_as_ettH1_is_split_into_12_4_and_4_months_of_30_days():
    assert split_rows(17_420, 336, 96) == {"train": (0, 8640), "val": (8640, 11_520), "test": (11_520, 14_400)}


def test_any_other_length_is_split_in_the_same_proportion():
    assert split_rows(2000, 336, 96) == {"train": (0, 1200), "val": (1200, 1600), "test": (1600, 2000)}


def test_the_test_part_has_59_windows_at_stride_48_and_its_targets_stay_inside():
    windows = DATASET.windows("test", 48)
    assert windows.contexts.shape == (59, 336, 7)
    assert windows.futures.shape == (59, 96, 7)
    assert windows.starts[0] == 11_520
    assert windows.starts[-1] + 96 <= 14_400


def test_training_windows_never_reach_into_the_validation_part():
    assert DATASET.window_starts("train", 1)[-1] + 96 == 8640
    assert DATASET.window_starts("train", 1)[0] == 336


def test_a_window_is_the_values_before_and_after_its_start():
    contexts, futures, starts = DATASET.windows("val", 100)
    for context, future, start in zip(contexts, futures, starts, strict=True):
        np.testing.assert_array_equal(context, DATASET.values[start - 336 : start])
        np.testing.assert_array_equal(future, DATASET.values[start : start + 96])


def test_the_training_part_alone_decides_the_standardisation():
    raw = np.random.default_rng(0).normal(5, 3, (2000, 2))
    changed = raw.copy()
    changed[1200:] *= 100
    before, after = standardised("x", ("a", "b"), raw), standardised("x", ("a", "b"), changed)
    np.testing.assert_array_equal(before.values[:1200], after.values[:1200])
    np.testing.assert_allclose(before.values[:1200].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(before.values[:1200].std(0), 1, atol=1e-6)
    np.testing.assert_allclose(before.values * before.std + before.mean, raw, atol=1e-5)


def test_a_constant_channel_keeps_its_scale_instead_of_dividing_by_zero():
    raw = np.stack([np.full(2000, 4.0), np.arange(2000.0)], axis=1)
    assert np.isfinite(standardised("x", ("flat", "line"), raw).values).all()


def test_a_problem_names_its_window_and_keeps_the_future_in_truth_alone():
    problem = DATASET.problem("test", 7, "channel_6")
    start = 11_520 + 7 * 48
    assert problem.name == "synthetic/test/0007/channel_6"
    assert problem.extras["start"] == start
    assert problem.extras["channel"] == 6
    assert problem.extras["dataset"] == "synthetic"
    np.testing.assert_array_equal(problem.context, DATASET.values[start - 336 : start, 6])
    np.testing.assert_array_equal(problem.truth, DATASET.values[start : start + 96, 6])
    np.testing.assert_array_equal(problem.extras["all_contexts"], DATASET.values[start - 336 : start])
    future = DATASET.values[start : start + 96]
    known = np.concatenate([np.ravel(problem.context), np.ravel(problem.extras["all_contexts"])])
    assert not np.isin(future, known).any()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: DATASET.problem("test", 59, 0), r"window 59 .* windows 0\.\.58"),
        (lambda: DATASET.problem("test", 0, "OT"), "no channel 'OT'"),
        (lambda: DATASET.problem("test", 0, 7), "channel 7"),
        (lambda: DATASET.problem("future", 0, 0), "no part 'future'"),
        (lambda: DATASET.windows("test", 0), "stride is 0"),
    ],
)
def test_what_does_not_exist_is_named(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


def test_the_synthetic_series_is_the_same_for_the_same_seed_and_has_daily_and_weekly_cycles():
    np.testing.assert_array_equal(DATASET.values, synthetic_hourly(seed=3).values)
    assert not np.array_equal(DATASET.values, synthetic_hourly(seed=4).values)
    values = DATASET.values - DATASET.values.mean(0)
    power = np.abs(np.fft.rfft(values[: 24 * 7 * 100], axis=0)) ** 2
    background = np.median(power[50:3000], axis=0)
    assert (power[700] > 100 * background).all(), "once a day"
    assert (power[100] > 20 * background).all(), "once a week"


def test_the_synthetic_series_is_as_long_as_ettH1_and_has_7_channels():
    assert DATASET.values.shape == (17_420, 7)
    assert DATASET.values.dtype == np.float32


def test_the_latest_problem_has_the_last_rows_as_its_context_and_no_truth():
    problem = DATASET.latest_problem("channel_6")
    np.testing.assert_array_equal(problem.context, DATASET.values[-DATASET.context_length :, 6])
    assert problem.truth is None
    assert problem.extras["start"] == len(DATASET.values)
    assert problem.name == "synthetic/latest/channel_6"


def test_a_problem_knows_its_dates_and_the_units_of_the_file():
    problem = DATASET.problem("test", 2, "channel_1")
    start = problem.extras["start"]
    assert pd.Timestamp(problem.time.start) == pd.Timestamp("2024-01-01") + pd.Timedelta(hours=start)
    assert problem.time.step == "h"
    scale = problem.scale
    assert scale.channels == ("channel_1",)
    raw = DATASET.values[start, 1] * DATASET.std[1] + DATASET.mean[1]
    assert scale.mean[0] + scale.std[0] * problem.truth[0] == pytest.approx(raw)
    latest = DATASET.latest_problem(0).time
    assert pd.Timestamp(latest.start) == pd.Timestamp("2024-01-01") + pd.Timedelta(hours=len(DATASET.values))
