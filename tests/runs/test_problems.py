"""problems.parquet: names, series, dates and units, also of files that earlier versions wrote."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from sadt_ray.interfaces import Problem, Scale, TimeAxis
from sadt_ray.runs.directory import write_problems
from sadt_ray.runs.files import read_problems

BERLIN = TimeAxis("2026-01-03T00:00", "h", "Europe/Berlin")
PROBLEMS = [
    Problem("a", np.zeros((2, 3)), time=BERLIN, scale=Scale((1.0, 2.0), (3.0, 4.0), ("load", "wind"), "MW")),
    Problem("b", np.zeros((2, 0)), truth=np.ones((2, 4)), time=TimeAxis("2026-01-03T00:00", "D")),
    Problem("c", np.zeros((2, 3))),
]


@pytest.mark.parametrize("problems", [PROBLEMS, PROBLEMS[2:]], ids=["some dates", "no dates"])
def test_dates_and_units_are_read_back(problems, tmp_path):
    write_problems(tmp_path, problems)
    found = read_problems(tmp_path / "problems.parquet")
    for problem in problems:
        assert found[problem.name].time == problem.time
        assert found[problem.name].scale == problem.scale
        assert (found[problem.name].truth is None) == (problem.truth is None)


def test_a_file_without_dates_and_units_has_none(tmp_path):
    write_problems(tmp_path, PROBLEMS)
    path = tmp_path / "problems.parquet"
    pq.write_table(pq.read_table(path).select(["problem", "context", "truth"]), path)
    found = read_problems(path)
    assert {each.time for each in found.values()} == {None}
    assert {each.scale for each in found.values()} == {Scale()}
