"""The timeline shows what was recorded of batches: who had which when, what was lost, which weights were new."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sadt_ray.report.timeline import MAX_BARS, in_turn, merged, timeline_chart, timeline_text
from sadt_ray.runs.read import Run, read_run


def batch(worker: int, began: float, **other: Any) -> dict[str, Any]:
    """Two seconds of rollouts, sent a second before."""
    times = {"sent": began - 1, "began": began, "finished": began + 2}
    plain = {"method": "dts", "worker": worker, "rows": 16, "weights_version": 0, "lost": False, "restarted": False}
    return plain | times | {"one_in": 1} | other


@pytest.fixture(scope="module")
def run(run_dir: Path) -> Run:
    return read_run(run_dir)


def chart_of(run: Run, lines: list[dict[str, Any]]) -> Any:
    figure = timeline_chart(dataclasses.replace(run, batches=lines), 10.0)
    assert figure is not None
    return figure


def boxes(figure: Any) -> list[list[float]]:
    """Of the thick bars: left, right, worker."""
    outlines = [patch.get_path().vertices.reshape(-1, 5, 2) for patch in figure.axes[0].patches[1::2]]
    return [[*box[:2, 0], round(float(box[:, 1].mean()))] for outline in outlines for box in outline]


def test_a_bar_stands_where_its_batch_ran_methods_one_after_the_other(run: Run) -> None:
    lines = [batch(0, 1.0), batch(1, 2.0), batch(0, 5.0), batch(0, 1.5, method="snis")]
    assert boxes(chart_of(run, lines)) == [[1, 3, 0], [5, 7, 0], [2, 4, 1], [8.5, 10.5, 0]]


def test_losses_restarts_and_newer_weights_are_marked(run: Run) -> None:
    lines = [
        batch(0, 1.0),
        batch(1, 1.0, lost=True),
        batch(0, 4.0, weights_version=3),
        batch(0, 7.0, weights_version=3),
    ]
    lines += [batch(1, 6.0, lost=True, restarted=True), batch(0, 9.0, weights_version=2)]  # an answer that was late
    figure = chart_of(run, lines)
    marks = {line.get_marker(): line for line in figure.axes[0].lines if line.get_marker() in "xo"}
    assert list(marks["x"].get_xdata()) == [3, 8]
    assert list(marks["o"].get_xdata()) == [8]
    dotted = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert dotted == [4]
    assert all(word in figure.get_suptitle() for word in ("lost", "restarted", "newer weights"))


def test_a_worker_has_one_batch_at_a_time_though_word_of_an_end_came_late() -> None:
    began, finished = np.array([0.0, 4.0, 4.2]), np.array([2.0, 6.0, 6.1])
    begins, ends = in_turn(began, finished, sent=np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(ends, [2.0, 4.2, 6.1])
    np.testing.assert_allclose(begins, [0.0, 2.2, 4.2])


def test_neighbours_are_drawn_as_one_where_there_are_very_many(run: Run) -> None:
    lines = [batch(n % 4, 3.0 * (n // 4)) for n in range(4_000)]
    assert len(boxes(chart_of(run, lines[:1_000]))) == 1_000
    assert len(boxes(chart_of(run, lines))) <= MAX_BARS
    begin, end = merged(np.array([0.0, 1.0, 5.0, 2.0]), np.array([0.9, 4.0, 6.0, 3.0]), 0.2)
    assert begin.tolist() == [0, 5]
    assert end.tolist() == [4, 6]


def test_the_numbers_are_said_a_line_a_method(run: Run) -> None:
    lines = [batch(n % 2, 3.0 * n, one_in=4) for n in range(6)] + [batch(0, 20.0, lost=True, restarted=True)]
    assert timeline_text(dataclasses.replace(run, batches=lines)) == [
        "DTS: 24 batches on 2 workers, of 16 tickets and 2 s in the median, 1 lost, 1 of them with their worker."
    ]
    assert "one in 4 recorded" in chart_of(run, lines).get_suptitle()


def test_a_run_without_batches_has_no_timeline_and_a_line_cut_short_is_left_out(fresh_run: Path) -> None:
    path = fresh_run / "batches.jsonl"
    path.write_text(path.read_text() + '{"method": "dts", "wor')  # killed while it wrote
    assert timeline_chart(read_run(fresh_run), 10.0) is not None
    path.unlink()
    assert timeline_chart(read_run(fresh_run), 10.0) is None
