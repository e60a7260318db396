"""What do K rollouts in flight cost in posterior quality, at equal simulations and at equal time?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from benchmarks import BenchResult
from benchmarks.exact import LATE, mean_and_error, mode_errors, new_search
from sadt_ray.engine.executor import Finished
from sadt_ray.engine.loop import run_search
from sadt_ray.interfaces import Chain, Results, Scorer, Tickets
from sadt_ray.methods import Method, dts, dts_late, dts_star
from sadt_ray.rollout.rollout import rollout
from sadt_ray.tree.samples import WeightedSamples

QUESTION = "What do K rollouts in flight cost in quality, at equal simulations and at equal time?"

_METHODS: dict[str, tuple[str, Callable[..., Method]]] = {
    "dts": ("DTS", dts),
    "dts_late": ("dts-late", partial(dts_late, branch_steps=LATE)),
    "dts_star": ("DTS*", dts_star),
}
_WORKERS = (1, 8, 32, 128)
_MIDDLE = 32  # that many workers make the equal number of simulations in the equal time
_VIRTUAL_LOSS = 10.0  # r spans 2 nats over the nine modes; 40 lie between them and the others
_SIZE = {True: (128, 4), False: (512, 20)}  # quick or not: simulations, seeds
_COLUMNS = {
    "tv": "TV",
    "log_z_error": "log Z error",
    "value_bias": "value bias",
    "reward": "mean reward",
    "best": "best reward",
}


class _Case(NamedTuple):
    """One cell of the design; ``part`` is "" at equal simulations and "equal_time_" at equal time."""

    part: str
    method: str
    virtual_loss: float
    workers: int
    simulations: int

    @property
    def key(self) -> str:
        return f"{self.part}{self.method}{'_virtual_loss' if self.virtual_loss else ''}_k{self.workers}"


def run(quick: bool) -> BenchResult:
    simulations, seeds = _SIZE[quick]
    rows, figures = [], {}
    measured: dict[_Case, dict[str, tuple[float, float]]] = {}
    for case in _cases(simulations):
        label, method = _METHODS[case.method]
        alike = case._replace(part="")  # K = 32 is in both parts
        if alike not in measured:
            settings = method(n_rollouts=case.simulations, virtual_loss=case.virtual_loss)
            measured[alike] = measure([search(settings, case.workers, seed) for seed in range(seeds)])
        row: dict[str, object] = {
            "method": label,
            "K": case.workers,
            "virtual loss": case.virtual_loss,
            "simulations": case.simulations,
            "time": case.simulations / case.workers,
        }
        for figure, column in _COLUMNS.items():
            value, error = measured[alike][column]
            row[column] = f"{value:.3f} +- {error:.3f}"
            figures[f"{figure}_{case.key}"], figures[f"{figure}_{case.key}_se"] = value, error
        rows.append(row)
    return BenchResult(rows, figures, _notes(seeds))


def _cases(simulations: int) -> Iterator[_Case]:
    """Equal simulations, then equal time. One at a time, a virtual loss changes nothing and is left out."""
    for part, scale in (("", 0), ("equal_time_", 1)):
        for method in _METHODS:
            for workers in _WORKERS:
                budget = simulations * workers // _MIDDLE if scale else simulations
                for loss in (0.0, _VIRTUAL_LOSS) if workers > 1 else (0.0,):
                    yield _Case(part, method, loss, workers, budget)


def _notes(seeds: int) -> tuple[str, ...]:
    return (
        f"{seeds} seeds per row, +- standard error of their mean. K workers take one ticket each and return in random "
        "order. Time: in rollouts; each worker runs one after the other. First the rows of equal "
        f"simulations, then those of equal time, in which K workers make K times the simulations of one; K = {_MIDDLE} "
        "is in both.",
        "TV: total variation between the weights of the 25 prior modes and the exact masses. log Z error: mean "
        "|log Z_hat|, value bias: mean log Z_hat; exactly, log Z = 0. Mean reward: under the final draw; 1.156 for the "
        "target; for DTS*, an optimiser, the higher the better, at most 1.816.",
        f"Virtual loss: weight of the pessimism in selection, 0 or {_VIRTUAL_LOSS:g}.",
    )


def search(method: Method, workers: int, seed: int) -> WeightedSamples:
    """The samples of one search with ``workers`` rollouts in flight."""
    tree, chain, scorer = new_search(method, [seed])
    run_search(tree, RandomOrder(chain, scorer, tree.num_levels, workers, seed))
    return tree.samples()[0]


def measure(searched: Sequence[WeightedSamples]) -> dict[str, tuple[float, float]]:
    """Column -> mean over the searches and its standard error."""
    log_z = np.array([one.log_z for one in searched])
    columns = {
        "TV": mode_errors(searched),
        "log Z error": np.abs(log_z),
        "value bias": log_z,
        "mean reward": [one.mean_reward() for one in searched],
        "best reward": [float(np.max(one.rewards)) for one in searched],
    }
    return {name: mean_and_error(values) for name, values in columns.items()}


class RandomOrder:
    """Imitates workers that run one ticket each and take any time: every ticket in flight is equally likely to be next.

    Tickets know their seeds, so when they run does not matter: all that have not run yet run together, as one batch,
    when one of them is to be returned.
    """

    batch_size = 1

    def __init__(self, chain: Chain, scorer: Scorer, num_levels: int, workers: int, seed: int) -> None:
        self.slots = workers
        self._roll_out = partial(rollout, chain, scorer, num_levels)
        self._rng = np.random.default_rng([seed, workers])
        self._fresh: list[Tickets] = []
        self._ready: list[Finished] = []

    def submit(self, tickets: Tickets) -> None:
        self._fresh.append(tickets)

    def collect(self) -> Sequence[Finished]:
        drawn = int(self._rng.integers(len(self._ready) + len(self._fresh)))
        if drawn >= len(self._ready):
            results = split(self._roll_out(joined(self._fresh)))
            self._ready += [Finished(*pair) for pair in zip(self._fresh, results, strict=True)]
            self._fresh.clear()
        return [self._ready.pop(drawn)]

    def cancel(self) -> None:
        self._fresh.clear()
        self._ready.clear()

    def gauges(self) -> Mapping[str, float]:
        return {}


def joined(batches: Sequence[Tickets]) -> Tickets:
    """One batch of several."""
    return Tickets(*(np.concatenate(columns) for columns in zip(*(vars(b).values() for b in batches), strict=True)))


def split(results: Results) -> list[Results]:
    """One ``Results`` per ticket; every ticket of a plain rollout has one sample."""
    return [
        Results(
            id=results.id[row : row + 1],
            value=results.value[row : row + 1],
            path_splits=np.array([0, stop - start]),
            path_level=results.path_level[start:stop],
            path_state=results.path_state[start:stop],
            path_log_flow=results.path_log_flow[start:stop],
            sample_splits=np.array([0, 1]),
            samples=results.samples[row : row + 1],
            rewards=results.rewards[row : row + 1],
            sample_log_weight=results.sample_log_weight[row : row + 1],
            nfe=results.nfe[row : row + 1],
            reward_calls=results.reward_calls[row : row + 1],
        )
        for row, (start, stop) in enumerate(pairwise(results.path_splits))
    ]
