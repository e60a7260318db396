"""The throughput of a run: drawn and said as the lines of metrics have it, nothing where they have nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadt_ray.report.throughput import curve, losses, throughput_chart, throughput_text
from sadt_ray.runs.read import Run, read_run


@pytest.fixture(scope="module")
def run(run_dir: Path) -> Run:
    return read_run(run_dir)


def remote_lines(method: str = "dts") -> list[dict[str, Any]]:
    """Of a run on workers: two batches are lost at 2 s and one at 4 s."""
    rates, shares, workers = [900.0, 1_000.0, 700.0, 1_100.0], [0.5, 0.9, 0.7, 0.9], [4, 4, 2, 4]
    lost, aside = [0, 2, 2, 3], [0, 0, 1, 1]
    return [
        {"method": method, "seconds": 1.0 + i, "nfe_per_second": rates[i], "utilisation": shares[i]}
        | {"workers": workers[i], "lost_batches": lost[i], "set_aside": aside[i], "staleness": 10.0 * i}
        for i in range(4)
    ]


def with_lines(run: Run, lines: list[dict[str, Any]]) -> Run:
    return dataclasses.replace(run, progress=lines)


def test_rates_use_and_workers_are_drawn_as_recorded(run: Run) -> None:
    lines = remote_lines()
    figure = throughput_chart(with_lines(run, lines), 10.0)
    assert figure is not None
    assert len(figure.axes) == 3
    for axes, key in zip(figure.axes, ("nfe_per_second", "utilisation", "workers"), strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 2, 3, 4])
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), [line[key] for line in lines])
        assert axes.get_ylim()[0] == 0
    assert [text.get_text() for text in figure.axes[0].texts] == ["DTS"]


def test_crosses_stand_where_batches_were_lost(run: Run) -> None:
    lines = remote_lines()
    figure = throughput_chart(with_lines(run, lines), 10.0)
    assert figure is not None
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[2.0, 4.0]]
    assert "lost" in figure.get_suptitle()
    whole = throughput_chart(with_lines(run, [line | {"lost_batches": 0} for line in lines]), 10.0)
    assert whole is not None
    assert "lost" not in whole.get_suptitle()


def test_the_numbers_are_said_a_line_a_method(run: Run) -> None:
    lines = [*remote_lines("dts"), {"method": "snis", "seconds": 1.0, "nfe_per_second": 12_345.0, "set_aside": 0}]
    assert throughput_text(with_lines(run, lines)) == [
        "SNIS: 12,345 NFE/s in the median, 0 tickets set aside.",
        "DTS: 950 NFE/s in the median, 75% of the workers' time in rollouts, 15.0 rollouts came back while one was "
        "away, 1 ticket set aside, 3 batches lost.",
    ]


def test_a_run_without_workers_has_its_rate_alone(run: Run) -> None:
    lines = [{"method": "dts", "seconds": float(i), "nfe_per_second": 10.0 * i} for i in range(3)]
    figure = throughput_chart(with_lines(run, lines), 10.0)
    assert figure is not None
    assert len(figure.axes) == 1
    assert throughput_text(with_lines(run, lines)) == ["DTS: 10 NFE/s in the median."]


def test_a_run_of_an_earlier_version_has_no_throughput(run: Run) -> None:
    old = [{"method": "dts", "seconds": 1.0, "nfe": 160, "rollouts_per_second": 100.0, "mean_reward": -1.0}]
    assert throughput_chart(with_lines(run, old), 10.0) is None
    assert throughput_chart(with_lines(run, []), 10.0) is None
    assert throughput_text(with_lines(run, old)) == []


def test_a_method_that_left_no_samples_is_passed_over(run: Run) -> None:
    assert throughput_text(with_lines(run, remote_lines("interrupted"))) == []


@pytest.mark.parametrize("nothing", [None, float("inf")])
def test_a_line_without_the_value_leaves_a_gap(nothing: float | None) -> None:
    lines = remote_lines()
    lines[2]["utilisation"] = nothing
    seconds, values = curve(lines, "utilisation")
    np.testing.assert_array_equal(seconds, [1, 2, 3, 4])
    np.testing.assert_array_equal(values, [0.5, 0.9, np.nan, 0.9])


def test_many_lines_are_averaged_with_their_neighbours() -> None:
    rates = np.random.default_rng(0).random(1_000)
    lines = [{"seconds": float(i), "nfe_per_second": rate} for i, rate in enumerate(rates)]
    seconds, values = curve(lines, "nfe_per_second", points=100)
    np.testing.assert_allclose(values, rates.reshape(100, 10).mean(1))
    np.testing.assert_array_equal(seconds, np.arange(9.0, 1_000, 10))


def test_a_count_of_losses_that_begins_anew_loses_none() -> None:
    lines = [{"seconds": float(i), "lost_batches": count} for i, count in enumerate([1, 3, 1, 1])]
    seconds, lost = losses(lines)
    np.testing.assert_array_equal(seconds, [0, 1, 2])
    np.testing.assert_array_equal(lost, [1, 2, 1])
