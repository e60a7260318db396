"""Bench generality: cells of every prior and reward, truths that agree and are kept, losses told from chance."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from smc_worlds import is_bare

from benchmarks import generality
from benchmarks.apparatus.mixture_denoiser import Bare, days, log_density
from benchmarks.posterior import any_problem
from benchmarks.posterior.any_problem import PRIORS, REWARDS, cell_of, prior_named, settings_of
from benchmarks.posterior.cell_gold import GoldSize, Truths
from jobs import bench
from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.data.synthetic import synthetic_hourly

TINY = GoldSize(pilot=1_500, draws=4_000, dear_draws=64, enough=20.0, systems=2, particles=32, kept=50)


def nowhere():
    raise DataNotFound("nowhere")


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.setattr(any_problem, "load_etth1", nowhere)
    monkeypatch.setattr(any_problem, "synthetic_hourly", lambda: synthetic_hourly(rows=6_000, channels=1))


def test_the_denoiser_of_a_mixture_is_x_plus_sigma_squared_times_its_score():
    mixture, sigma = days(), 0.8
    noisy = type(mixture)(mixture.weights, mixture.means, mixture.covariances + sigma**2 * np.eye(mixture.width))
    rng, h = np.random.default_rng(0), 1e-4
    x = mixture.means + rng.standard_normal((3, mixture.width))
    slope = np.stack(
        [(log_density(noisy, x + h * e) - log_density(noisy, x - h * e)) / (2 * h) for e in np.eye(mixture.width)], 1
    )
    nothing = (torch.zeros(3, 1),)
    found = Bare(mixture).denoised(torch.as_tensor(x, dtype=torch.float32), torch.tensor([sigma]), nothing)
    np.testing.assert_allclose(found.numpy(), x + sigma**2 * slope, atol=2e-3)
    assert is_bare(Bare(mixture))
    assert not is_bare(mixture)


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_has_all_rewards_and_a_pilot_makes_them_as_rare_as_they_should_be(name):
    prior = prior_named(name)
    samples = prior.draw(300 if name == "diff-k" else 3_000, 1)
    settings = settings_of(prior, samples)
    for kind in REWARDS:
        cell = cell_of(prior, kind, settings)
        scored = cell.reward.bind([cell.problem])(samples, np.zeros(len(samples), np.int64))
        weights = np.exp(cell.inv_temperature * scored)
        if kind in ("spectral", "black box"):
            share = weights / weights.sum()
            tilt = (share * np.log(np.maximum(share * len(share), 1e-300))).sum()
            assert 2 <= tilt <= 4 or name == "diff-k"
        else:
            assert 0 <= (weights > 0).mean() <= 0.05


def test_what_a_forecast_draws_directly_is_what_its_chain_draws():
    prior = prior_named("joint")
    direct = prior.draw(4_000, 1)
    from sadt_ray.processes.sampling import sample_prior

    chain = sample_prior(prior.process, [prior.problem], 4_000)[0]
    assert direct.shape == chain.shape
    np.testing.assert_allclose(direct.mean(0), chain.mean(0), rtol=0.02)
    np.testing.assert_allclose(direct.std(0), chain.std(0), rtol=0.1)


def test_truths_come_from_the_prior_or_from_runs_that_it_checks_and_are_found_again(tmp_path, monkeypatch):
    truths = Truths(prior_named("copula"), replace(TINY, draws=20_000), tmp_path)
    settings = truths.settings()
    common, rare = (cell_of(truths.prior, kind, settings) for kind in ("total", "limit"))
    by_prior = truths.of(common)
    assert by_prior.how == "20,000 prior samples"
    assert by_prior.log_z == pytest.approx(np.log(0.01), abs=0.7)
    by_runs = Truths(truths.prior, replace(TINY, draws=20_000, enough=1e9, systems=6, particles=128), tmp_path)
    checked = by_runs.of(rare)
    assert "long runs - prior samples" in checked.how
    assert checked.off < 4
    assert len(list(tmp_path.iterdir())) == 3

    def forbidden(*_):
        raise AssertionError("made again")

    monkeypatch.setattr(Truths, "_made", forbidden)
    again = Truths(prior_named("copula"), replace(TINY, draws=20_000), tmp_path).of(common)
    assert again.log_z == by_prior.log_z
    np.testing.assert_array_equal(again.samples, by_prior.samples)


def test_a_loss_is_two_standard_errors():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(8)
    assert generality._lost(noise + 5, noise[::-1])
    assert not generality._lost(noise + 0.1, noise[::-1])
    assert not generality._lost(noise - 5, noise)


def test_a_small_run_prints_every_cell(monkeypatch, tmp_path, capsys):
    small = generality.Scale(
        seeds=2, rollouts=16, priors=("copula", "bare"), rewards=("limit", "black box"), gold=TINY, directory=tmp_path
    )
    monkeypatch.setattr(generality, "QUICK", small)
    monkeypatch.setattr(sys, "argv", ["jobs.bench", "generality", "--quick", "--out", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "250")
    bench.main()
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert figures.keys() == {"cells", "worse", "rare_gain", "rare_cells", "truths_apart"}
    assert figures["cells"] == 4
    assert figures["rare_cells"] >= 2
    assert np.isfinite(figures["rare_gain"])
    printed = capsys.readouterr().out
    for cell in ("copula / limit", "copula / black box", "bare / limit", "bare / black box"):
        assert cell in printed
    assert "log(1/(2n))" in printed
