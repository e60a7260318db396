"""The bar of a search: where it stands after a look, and where it ends even if nobody looked."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import SearchStats
from sadt_ray.engine.progress import SearchBar


def bar_of(**budget):
    return SearchBar(Console(file=io.StringIO()), "sadt", SearchConfig(**budget), num_problems=2)


def stats(simulations, nfe, **more):
    known = {"seconds": 1.0, "rollouts_per_second": 1.0, "mean_reward": 0.0, "best_reward": 0.0, "gauges": {}}
    counts = {"in_flight": 0, "nodes": 1, "set_aside": 0}
    return SearchStats(simulations=simulations, nfe=nfe, **{**known, **counts, **more})


@pytest.mark.parametrize(("budget", "share"), [({"n_rollouts": 10}, 0.25), ({"n_rollouts": None, "max_nfe": 200}, 0.5)])
def test_a_look_moves_it_along_the_budget_that_counts(budget, share):
    with bar_of(**budget) as bar:
        bar.show(stats(5, 200))
        assert bar._bar.tasks[0].percentage == pytest.approx(100 * share)


def test_a_search_of_one_batch_that_nobody_looked_at_ends_where_it_ended():
    with bar_of(n_rollouts=10) as bar:
        bar.finish(SimpleNamespace(simulations=20, nfe=np.array([160, 160])))
        assert bar._bar.tasks[0].percentage == 100
    with bar_of(n_rollouts=10) as bar:  # stopped early, by a standard error
        bar.finish(SimpleNamespace(simulations=6, nfe=np.array([48, 48])))
        assert bar._bar.tasks[0].percentage == pytest.approx(30)


def test_a_log_says_once_where_a_search_ended_however_narrow_it_is():
    written = io.StringIO()
    with SearchBar(Console(file=written, width=40), "sadt", SearchConfig(n_rollouts=10), num_problems=2) as bar:
        bar.show(stats(5, 200, gauges={"workers": 1.0}))
        bar.finish(SimpleNamespace(simulations=20, nfe=np.array([160, 160])))
    assert written.getvalue().splitlines() == ["sadt          100%  1 rollouts/s  reward 0.000, best 0.000  1 worker"]


def test_what_is_not_known_yet_is_not_shown():
    nothing = {"rollouts_per_second": 0.0, "best_reward": -np.inf, "mean_reward": -np.inf}
    with bar_of(n_rollouts=10) as bar:
        bar.show(stats(0, 0, gauges={"workers": 0.0}, **nothing))
        assert bar._bar.tasks[0].fields["facts"] == "waiting for workers"
