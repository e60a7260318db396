"""S-ADT on the mixture: unbiased under exact values and under any flow, and reported by bench exact."""

import numpy as np
import pytest

from benchmarks import exact
from benchmarks.posterior import mixture_flow
from benchmarks.posterior.mixture_flow import guided, learn_mixture_flow, search_mixture

LEARNED = learn_mixture_flow(64, 30)


def test_budgets_are_kept_to_the_evaluation():
    for max_nfe in (1_000, 10_000, 100_000):
        method = guided(max_nfe)
        assert method.search.n_rollouts * method.smc.particles * mixture_flow.NUM_STEPS == max_nfe


@pytest.mark.parametrize("flow", [None, LEARNED.flow])
def test_log_z_is_right_on_average_whatever_guides(flow):
    found = search_mixture(guided(10_000), range(40), flow)
    z = np.exp([one.log_z for one in found])
    assert abs(z.mean() - 1) < 4 * z.std(ddof=1) / np.sqrt(len(z))


def test_exact_values_come_nearer_than_importance_sampling():
    tv = np.mean(exact.mode_errors(search_mixture(guided(10_000), range(12))))
    plain = np.mean(exact.mode_errors(exact.search_forest(exact.snis(n_rollouts=None, max_nfe=10_000), 12)))
    assert tv < 0.9 * plain


def test_the_bench_reports_what_it_measured_and_what_training_cost(monkeypatch):
    monkeypatch.setattr(exact, "_METHODS", {})
    monkeypatch.setattr(exact, "learn_mixture_flow", lambda particles, steps: LEARNED)
    few = lambda method, seeds, flow=None: search_mixture(method, list(seeds)[:2], flow)  # noqa: E731
    monkeypatch.setattr(exact, "search_mixture", few)
    result = exact.run(quick=True)
    assert {"tv_sadt_1e5", "log_z_error_sadt_1e5", "tv_sweep_exact_1e5", "tv_sadt_1e3_se"} <= result.figures.keys()
    assert result.figures["training_nfe"] == LEARNED.nfe == 8 * 64 * 100
    assert 0 < result.figures["tv_sweep_exact_1e5"] < 0.15
