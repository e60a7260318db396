"""Sweeps with a name: the table of S-ADT, the five stages, quality against rollouts."""

from __future__ import annotations

from jobs.sweeps.grid import Axes

_WINDOWS = "--num-windows 12 --no-trajectories"


def _etth1(seeds: tuple[int, ...], *methods: str, n_rollouts: tuple[int, ...]) -> Axes:
    return Axes(dataset=("ETTh1",), method=methods, n_rollouts=n_rollouts, seed=seeds, forecast_flags=_WINDOWS)


def _stages(*stages: str, methods: tuple[str, ...]) -> Axes:
    return Axes(stage=stages, method=methods, n_rollouts=(4, 16), stage_flags="--num-examples 200")


PRESETS: dict[str, tuple[Axes, ...]] = {
    "seed-table": (
        _etth1((0, 1, 2), "prior", n_rollouts=(200,)),
        _etth1((0, 1, 2), "dps", n_rollouts=(50,)),
        _etth1((0, 1, 2), "fk", "smc-debiased", n_rollouts=(250,)),
        _etth1((0, 1, 2), "snis", "dts", "dts-late", "sadt", n_rollouts=(200, 2000)),
    ),
    "stages": (
        _stages("1", "3", "4", "5", methods=("greedy", "self-consistency", "answer-vote", "dts", "sadt")),
        _stages("2", methods=("greedy", "self-consistency", "dts", "sadt")),  # captions: there are no answers to list
    ),
    "scaling": (
        _etth1((0,), "prior", n_rollouts=(500,)),
        _etth1((0,), "snis", "dts", "dts-late", "sadt", n_rollouts=(50, 100, 200, 500, 1000, 2000, 5000)),
    ),
}
"""By name. Each is a union of products of axes: rollouts of a table differ by method."""
