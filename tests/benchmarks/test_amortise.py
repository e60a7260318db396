"""Bench amortise: what is paired with what, when training has paid, and a small run from beginning to end."""

import json
import math
import sys
from functools import partial

import numpy as np
import pytest

from benchmarks import amortise
from benchmarks.posterior.columns import PosteriorQuality
from benchmarks.posterior.comparison import Entrant, Entry, compare
from benchmarks.posterior.gold import GoldConfig
from benchmarks.posterior.gold_cache import gold_for
from benchmarks.posterior.pairs import FRACTIONS, RIVALS, break_even_contexts, pairs
from jobs import bench
from sadt_ray.api import search
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.methods import sadt, smc_debiased, snis
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward
from sadt_ray.smc.tempering.annealing import AnnealingConfig

DATA = synthetic_hourly(rows=6000, channels=3)
GOLD = GoldConfig(AnnealingConfig(64, 4, 6), evaluated_sweeps=2, kept=64)
SMALL = amortise.Scale(contexts=2, seeds=1, rollouts=160, windows=4, particles=16, steps=20, gold=GOLD)


def quality(bias, ed, edp):
    return PosteriorQuality(bias, 0.0, ed, edp, 1.0, 1.0, 0.3, 0.01, 0.4)


def entry(key, *rows):
    return Entry(Entrant(key, key, snis()), [[quality(*one) for one in row] for row in rows])


def test_magnitudes_are_averaged_over_seeds_before_problems_are_paired():
    good = [[(0.1, 1.0, 0.2), (-0.1, 1.0, 0.2), (0.3, 4.0, 0.2)], [(-0.3, 1.0, 0.2), (0.1, 1.0, 0.2), (0.1, 2.0, 0.2)]]
    bad = [(0.5, 2.0, 0.1), (-0.2, 2.0, 0.1), (0.1, 2.0, 0.1)]
    entries = {key: entry(key, bad, bad) for key in [*RIVALS.values(), "smc_10x"]}
    entries |= {key: entry(key, *good) for key in FRACTIONS.values()}
    figures = pairs(entries)
    differences = np.array([0.2 - 0.5, 0.1 - 0.2, 0.2 - 0.1])  # of |bias|: signs of the two seeds do not cancel
    for name in ["10x_dts", "10x_late", "10x_snis", "10x_fk", "10x_smc", "20x_dts", "20x_smc", "equal_smc"]:
        assert figures[f"bias_diff_{name}"] == pytest.approx(differences.mean())
        assert figures[f"bias_diff_{name}_se"] == pytest.approx(differences.std(ddof=1) / math.sqrt(3))
        assert figures[f"bias_diff_{name}_wins"] == 2
        assert figures[f"ed_diff_{name}"] == pytest.approx((-1 - 1 + 1) / 3)
        assert figures[f"edp_diff_{name}"] == pytest.approx(0.1)
        assert figures[f"edp_diff_{name}_wins"] == 0


def test_training_has_paid_after_its_cost_over_what_a_context_saves():
    assert break_even_contexts(2_880_000, 32_000, 3_200) == 100
    assert break_even_contexts(1.0, 3_200, 3_200) == math.inf


@pytest.mark.slow
def test_every_fraction_of_the_budget_is_kept_looks_included():
    problems = [DATA.problem("test", 0, 0, 48)]
    task = amortise.Task(load_pretrained(), SpectralReward(), problems)
    for make, max_nfe in ((sadt, 1_600), (smc_debiased, 640)):
        method = task.fit_to_budget(lambda count, make=make: make(n_rollouts=count, inv_temperature=50.0), max_nfe)
        spent = search(task.process, problems, task.reward, method).nfe[0]
        assert 0.8 * max_nfe < spent <= max_nfe


def test_methods_that_differ_in_the_draw_alone_share_a_search(tmp_path):
    task = amortise.Task(load_pretrained(), SpectralReward(), amortise.test_contexts(DATA)[:2])
    golds = gold_for(
        task.problems, process=task.process, reward=task.reward, config=GOLD, replicates=1, directory=tmp_path
    )
    targets = [amortise.Target(problem, gold[50.0][0]) for problem, gold in zip(task.problems, golds, strict=True)]
    who = [
        Entrant("snis", "snis", snis(n_rollouts=20, inv_temperature=50.0)),
        Entrant("best", "best", amortise.best_of_n(n_rollouts=20, inv_temperature=50.0)),
    ]
    heard = []
    entries = compare(task.process, task.reward, targets, who, 2, heard.append)
    assert heard == ["snis, best, seed 1 of 2", "snis, best, seed 2 of 2"]
    assert entries["best"].signed("ess").tolist() == [1, 1]
    assert entries["snis"].nfe == entries["best"].nfe == 20 * 16
    one, other = entries["snis"].qualities
    assert one != other, "seeds differ"


def test_a_small_run_writes_every_key_that_is_followed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(amortise, "load_etth1", lambda: DATA)
    monkeypatch.setattr(amortise, "QUICK", SMALL)
    monkeypatch.setattr(amortise, "gold_for", partial(gold_for, directory=tmp_path / "gold"))
    monkeypatch.setattr(sys, "argv", ["jobs.bench", "amortise", "--quick", "--out", str(tmp_path)])
    bench.main()
    figures = json.loads((tmp_path / "bench.json").read_text())
    for name in [f"{fraction}_{rival}" for fraction in ("10x", "20x") for rival in RIVALS] + ["equal_smc"]:
        for column in ("bias", "edp", "ed"):
            for end in ("", "_se", "_wins"):
                assert np.isfinite(figures[f"{column}_diff_{name}{end}"])
                assert np.isfinite(figures[f"{column}_diff_{name}{end}_lam10"])
    assert figures["contexts"] == 2
    full = max(figures[f"nfe_{key}"] for key in RIVALS.values())
    assert figures["break_even_contexts"] == pytest.approx(figures["training_nfe"] / (full - figures["nfe_sadt_10x"]))
    assert figures["training_nfe"] > figures["harvest_nfe"] > 0
    assert figures["nfe_sadt_10x"] <= 256
    printed = capsys.readouterr().out
    assert "(two runs of the gold)" in printed
    assert "Paid for after" in printed
