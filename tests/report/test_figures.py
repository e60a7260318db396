"""What the figures show is what the numbers say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection

from sadt_ray.numerics.psd import frequencies, welch
from sadt_ray.report import plots
from sadt_ray.report.spectra import period_ticks, psd, typical_psd_ratio
from sadt_ray.report.style import method_colours, method_name, number, spread_apart
from sadt_ray.runs.files import WeightedSamples
from sadt_ray.runs.read import Run, read_run

OT = "ETTh1/test/0000/OT"


@pytest.fixture(scope="module")
def run(run_dir: Path) -> Run:
    return read_run(run_dir)


def band(collection: PolyCollection, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge of what ``fill_between`` drew."""
    vertices = collection.get_paths()[0].vertices
    edges = [vertices[vertices[:, 0] == time, 1] for time in range(length)]
    return np.array([edge.min() for edge in edges]), np.array([edge.max() for edge in edges])


def test_the_fan_of_equal_weights_is_numpys(run: Run) -> None:
    axes = plots.fan_chart(run, OT).axes[0]
    samples = run.samples["prior", OT].values
    expected = np.quantile(samples, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0, method="weibull")
    for collection, (low, high) in zip(axes.collections, [(0, 4), (1, 3)], strict=True):
        lower, upper = band(collection, samples.shape[1])
        np.testing.assert_allclose(lower, expected[low], atol=1e-12)
        np.testing.assert_allclose(upper, expected[high], atol=1e-12)
    drawn = [np.asarray(line.get_ydata()) for line in axes.lines]
    assert any(len(y) == samples.shape[1] and np.allclose(y, expected[2], atol=1e-12) for y in drawn)


def test_the_fan_of_one_heavy_sample_is_that_sample(run: Run) -> None:
    axes = plots.fan_chart(run, OT).axes[1]
    samples = run.samples["best-of-n", OT]
    best = samples.values[samples.reward.argmax()]
    for collection in axes.collections:
        lower, upper = band(collection, len(best))
        np.testing.assert_array_equal(lower, best)
        np.testing.assert_array_equal(upper, best)


def test_a_problem_without_truth_shows_none(run: Run) -> None:
    with_truth, without = (plots.fan_chart(run, problem).axes[0] for problem in run.problems)
    assert len(with_truth.lines) == len(without.lines) + 1


def test_spectra_are_those_of_the_reward_without_the_zero_frequency() -> None:
    series = np.random.default_rng(1).normal(size=(3, 96))
    frequency, density = psd(series)
    np.testing.assert_allclose(frequency, frequencies(48)[1:])
    np.testing.assert_allclose(density, welch(torch.from_numpy(series), 48)[..., 1:])


def test_samples_that_repeat_the_history_have_ratio_one(run: Run) -> None:
    problem = run.problems[OT]
    echo = WeightedSamples(np.tile(problem.context, (4, 1)), np.full(4, 0.25), np.zeros(4), np.arange(4))
    copy = Run(run.directory, {}, [], [], run.problems, {("echo", OT): echo}, {}, [])
    np.testing.assert_allclose(typical_psd_ratio(copy, "echo")[1], 1.0)


def test_period_ticks_name_both_frequency_and_hours() -> None:
    ticks, names = period_ticks(np.linspace(1 / 48, 0.5, 24))
    assert names[1] == "0.042\n(24)"
    np.testing.assert_allclose(np.reciprocal(ticks), [48, 24, 12, 6, 2])


def test_running_reward_of_equal_weights_is_the_running_mean() -> None:
    reward = np.array([-3.0, -1.0, -2.0, 0.0])
    samples = WeightedSamples(np.zeros((4, 1)), np.full(4, 0.25), reward, np.array([10, 20, 30, 40]))
    nfe, (mean, best) = plots.reward_curves([samples])
    assert (nfe[0], nfe[-1]) == (10, 40)
    assert (mean[0], mean[-1]) == (-3.0, -1.5)
    assert (best[0], best[-1]) == (-3.0, 0.0)


def test_all_weight_on_the_best_means_the_best_so_far() -> None:
    reward = np.array([-3.0, -1.0, -2.0, 0.0])
    samples = WeightedSamples(np.zeros((4, 1)), np.array([0.0, 0, 0, 1]), reward, np.array([10, 20, 30, 40]))
    _, (mean, best) = plots.reward_curves([samples])
    np.testing.assert_array_equal(mean, best)


def test_an_impossible_sample_does_not_spoil_the_reward_figures(run: Run) -> None:
    reward = np.array([-np.inf, -1.0, -2.0])
    impossible = WeightedSamples(np.zeros((3, 96)), np.array([0.0, 0.5, 0.5]), reward, np.array([16, 32, 48]))
    copy = Run(run.directory, {}, [], [], run.problems, {("dts", OT): impossible}, {}, [])
    assert plots.reward_curves([impossible])[1][0][-1] == -1.5
    plots.reward_histogram(copy).draw_without_rendering()
    plots.reward_cost_chart(copy).draw_without_rendering()


def test_without_metrics_there_is_no_progress_chart(run: Run) -> None:
    copy = Run(run.directory, {}, run.rows, [], run.problems, run.samples, {}, [])
    assert plots.progress_chart(copy) is None


def test_lines_of_metrics_without_a_mean_are_passed_over(run: Run) -> None:
    lines = [
        {"method": "dts", "seconds": 0.0, "mean_reward": None, "rollouts_per_second": None},
        {"method": "dts", "seconds": 1.0, "mean_reward": -2.0, "rollouts_per_second": None},
    ]
    figure = plots.progress_chart(Run(run.directory, {}, run.rows, [], run.problems, run.samples, {}, lines))
    assert figure is not None
    assert list(figure.axes[0].lines[0].get_ydata()) == [-2.0]


def test_methods_keep_their_colour_and_never_share_one() -> None:
    methods = ["prior", "dts", "dts_late", "snis", "best_of_n", "mine", "yours"]
    colours = method_colours(methods)
    assert len(set(colours.values())) == len(methods)
    assert method_colours(["dts"])["dts"] == colours["dts"]
    assert [method_name(method) for method in methods[-3:]] == ["best-of-N", "mine", "yours"]


def test_labels_are_moved_apart_as_little_as_possible() -> None:
    np.testing.assert_allclose(spread_apart(np.array([0.0, 0.0, 10.0]), gap=2.0), [-1.0, 1.0, 10.0])
    spread = spread_apart(np.sort(np.random.default_rng(2).normal(size=12)), gap=0.7)
    assert (np.diff(spread) > 0.7 - 1e-12).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.7501, "−0.750"), (3200, "3,200"), (0.0216, "0.0216"), (None, "–"), (float("-inf"), "−∞"), (1e-5, "1e-05")],
)
def test_numbers_are_written_for_readers(value: float | None, text: str) -> None:
    assert number(value) == text
