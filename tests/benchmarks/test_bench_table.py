"""Bench table: claims are judged by the numbers, and a small run prints them all."""

import json
import sys

import numpy as np
import pytest

from benchmarks import amortise, table
from benchmarks.posterior.claims import CLAIMED, Forecasts, against_prior, judge_claims
from jobs import bench
from sadt_ray.data.synthetic import synthetic_hourly

DATA = synthetic_hourly(rows=6000, channels=2)
WINDOWS, CHANNELS = 6, 2


def forecasts(key, crps, spec_w1, reward):
    noise = np.random.default_rng(len(key)).normal(0, 0.01, (3, WINDOWS * CHANNELS))
    return Forecasts(key, key, crps + noise[0], spec_w1 + noise[1], reward + noise[2], 1.0, 16.0)


def found(**changed):
    rows = {key: (claimed.crps, claimed.spec_w1, claimed.reward) for key, claimed in CLAIMED.items()}
    return {key: forecasts(key, *values) for key, values in (rows | changed).items()}


def test_numbers_as_claimed_bear_the_claims_out_and_others_do_not():
    as_claimed, figures = judge_claims(found(sadt=(0.3, 0.1, -1.0)), CHANNELS)
    assert figures["crps_diff_sadt_dts"] == pytest.approx(0.3 - 0.375, abs=0.02)
    assert sum(": holds," in note for note in as_claimed) >= 8
    assert not any("no worse than DTS" in note and "does not hold" in note for note in as_claimed)
    against, _ = judge_claims(found(sadt=(0.6, 0.5, -9.0)), CHANNELS)
    tenth = [note for note in against if "no worse than DTS" in note]
    assert len(tenth) == 3
    assert all("does not hold" in note for note in tenth)
    assert any("better than the base in crps: does not hold" in note for note in against)


def test_windows_are_the_unit_their_channels_averaged():
    one = Forecasts("one", "one", np.arange(4.0), np.zeros(4), np.zeros(4), 1.0, 1.0)
    assert one.by_window("crps", 2).tolist() == [0.5, 2.5]


def test_what_is_undecided_is_said_to_be():
    prior = forecasts("prior", 0.3, 0.1, -1.0)
    same = prior._replace(key="same", crps=prior.crps + np.tile([0.01, -0.01, 0.0], 4))
    better = prior._replace(key="better", crps=prior.crps - 0.1)
    figures, notes = against_prior([prior, same, better], CHANNELS)
    assert figures["crps_diff_opinion_better"] == pytest.approx(-0.1)
    assert figures["crps_diff_opinion_better_wins"] == WINDOWS
    assert "(undecided)" in notes[0]
    assert "(better)" in notes[1]


def test_a_small_run_prints_the_claimed_figures_beside_its_own(monkeypatch, tmp_path, capsys):
    learning = amortise.Scale(windows=4, particles=16, steps=20)
    monkeypatch.setattr(table, "load_etth1", lambda: DATA)
    monkeypatch.setattr(table, "QUICK", table.Scale(windows=2, share=0.05, learning=learning))
    monkeypatch.setattr(sys, "argv", ["jobs.bench", "table", "--quick", "--out", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "200")
    bench.main()
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert {"crps_base", "spec_w1_sadt", "reward_dts", "nfe_sadt", "training_nfe"} <= figures.keys()
    assert {"crps_diff_opinion_sadt", "spec_w1_diff_opinion_sadt_se", "crps_diff_opinion_sadt_wins"} <= figures.keys()
    assert figures["contexts"] == 4
    assert all(np.isfinite(value) for value in figures.values())
    printed = capsys.readouterr().out
    assert "claimed CRPS" in printed
    assert "Claim: S-ADT with a tenth of the rollouts is no worse than DTS in crps" in printed
