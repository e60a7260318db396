"""``scores.parquet``: the scores of each method on each problem, so that runs can be pooled and compared in pairs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sadt_ray.interfaces import Problem
from sadt_ray.runs.summary import Scores, is_weightless
from sadt_ray.tree.samples import WeightedSamples

FILE = "scores.parquet"
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("method", "problem", "cluster", "metric")] + [("value", pa.float64())]
)


class ProblemScores(NamedTuple):
    """Scores of one method on one problem.

    Attributes:
        method, problem: names.
        cluster: independent unit of the problem: the window of a forecast, whose channels are correlated, or the source
            of a question.
        figures: scores by metric; undefined ones are left out.
    """

    method: str
    problem: str
    cluster: str
    figures: Mapping[str, float]


def forecast_scores(
    method: str,
    problems: Sequence[Problem],
    drawn: Sequence[WeightedSamples],
    scores: Sequence[Scores],
    nfe: Sequence[int],
) -> list[ProblemScores]:
    """Scores of one method's weighted samples: those of ``score_problem``, and ``reward, log_z, ess, nfe``."""
    rows = []
    for problem, samples, found, cost in zip(problems, drawn, scores, nfe, strict=True):
        searched = {"reward": samples.mean_reward(), "log_z": samples.log_z, "ess": samples.ess, "nfe": float(cost)}
        if is_weightless(samples):
            del searched["reward"]  # out of every average
        known = {name: value for name, value in found._asdict().items() if value is not None}
        rows.append(
            ProblemScores(method, problem.name, problem.name.rpartition("/")[0] or problem.name, known | searched)
        )
    return rows


def write_scores(run: Path, rows: Iterable[ProblemScores]) -> None:
    """Write one row per method, problem and metric."""
    lines = [
        {"method": row.method, "problem": row.problem, "cluster": row.cluster, "metric": metric, "value": value}
        for row in rows
        for metric, value in row.figures.items()
    ]
    unfinished = run / f"{FILE}.writing"
    pq.write_table(pa.Table.from_pylist(lines, _SCHEMA), unfinished, compression="zstd")
    os.replace(unfinished, run / FILE)
