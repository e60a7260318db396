"""What a sweep's files say: pooled figures against closed forms, planted differences, damage that is named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import made_up_sweep as made_up
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import t as student

from sadt_ray.report.sweep.compare import (
    by_task,
    clear_winner,
    few_against_many,
    few_and_many,
    is_partial,
    with_minus_reference,
)
from sadt_ray.report.sweep.data import read_sweep
from sadt_ray.report.sweep.files import as_table, setting_rows, trial_rows, write_files
from sadt_ray.report.sweep.metrics import METRICS, Metric
from sadt_ray.report.sweep.settings import Setting, compare, pool_settings

CRPS, REWARD = METRICS["forecast"][0], next(m for m in METRICS["forecast"] if m.name == "reward")


@pytest.fixture(scope="module")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write_sweep(tmp_path_factory.mktemp("made_up") / "sweep")


@pytest.fixture(scope="module")
def settings(sweep_dir: Path) -> list[Setting]:
    return pool_settings(read_sweep(sweep_dir))


def one(settings: list[Setting], method: str, n_rollouts: int | None, **axes: Any) -> Setting:
    """The setting on ETTh1, at spectral weight 1 unless another is asked for."""
    wanted = {"task": "ETTh1", "method": method, "n_rollouts": n_rollouts, "spectral_weight": 1.0} | axes
    (found,) = [s for s in settings if all(getattr(s, name) == value for name, value in wanted.items())]
    return found


def own_sweep(path: Path, entries: list[dict[str, Any]], **more: Any) -> Path:
    made_up.write_index(path, entries, **more)
    return path


def write_values(path: Path, entry: dict[str, Any], values: dict[str, tuple[str, float]]) -> None:
    """A run whose CRPS are given by problem, with their clusters."""
    columns = {
        "problem": [*values],
        "cluster": [c for c, _ in values.values()],
        "crps": [x for _, x in values.values()],
    }
    made_up.write_run(path / entry["run"], entry["method"], columns, {}, page=False)


def test_seeds_are_pooled_and_a_cluster_in_two_seeds_is_one_cluster(settings: list[Setting]) -> None:
    found = one(settings, "dts", 200)
    values = np.stack([made_up.crps_values("ETTh1", "dts", 200, seed, made_up.WINDOWS, 0.0) for seed in made_up.SEEDS])
    windows = values.mean((0, 2))  # of equal clusters the error is that of their means
    error = windows.std(ddof=1) / np.sqrt(len(windows))
    estimate = found.figures["crps"]
    assert (found.seeds, estimate.clusters) == ([1, 2], made_up.WINDOWS)
    assert estimate.value == pytest.approx(values.mean(), abs=1e-12)
    assert estimate.standard_error == pytest.approx(error, rel=1e-9)
    assert estimate.half_width() == pytest.approx(student.ppf(0.975, len(windows) - 1) * error, rel=1e-9)


def test_a_planted_difference_is_found_paired_with_an_interval_far_narrower_than_either_mean_s(
    settings: list[Setting],
) -> None:
    few, many = one(settings, "sadt", 200), one(settings, "dts", 2000)
    paired = compare(few, many, CRPS)
    assert paired is not None
    assert paired.difference.value == pytest.approx(-0.001, abs=1e-9)
    assert paired.pairs == made_up.WINDOWS * made_up.CHANNELS * len(made_up.SEEDS)
    assert paired.half_width < few.figures["crps"].half_width() / 10
    windows = np.mean(
        [
            made_up.crps_values("ETTh1", "sadt", 200, seed, made_up.WINDOWS, 0.0)
            - made_up.crps_values("ETTh1", "dts", 2000, seed, made_up.WINDOWS, 0.0)
            for seed in made_up.SEEDS
        ],
        axis=(0, 2),
    )
    assert paired.wins == int((windows < 0).sum())
    assert paired.half_width == pytest.approx(
        student.ppf(0.975, len(windows) - 1) * windows.std(ddof=1) / np.sqrt(len(windows)), rel=1e-9
    )


def test_only_problems_and_seeds_that_both_have_are_paired(tmp_path: Path) -> None:
    entries = [made_up.trial(f"{m}-{seed}", "x", m, 10, seed) for m in ("sadt", "dts") for seed in (1, 2)]
    path = own_sweep(tmp_path, entries[:3])  # seed 2 of dts never ran
    write_values(path, entries[0], {"a": ("A", 1.0), "b": ("B", 2.0), "c": ("C", 9.0)})
    write_values(path, entries[1], {"a": ("A", 50.0), "b": ("B", 50.0)})
    write_values(path, entries[2], {"b": ("B", 5.0), "a": ("A", 3.0)})
    ours, theirs = pool_settings(read_sweep(path))
    paired = compare(ours, theirs, CRPS)
    assert paired is not None
    assert (paired.pairs, paired.difference.clusters, paired.wins) == (2, 2, 2)
    assert (paired.difference.value, paired.reference) == (-2.5, 4.0)


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [([-3.0, -2.9, -3.1], "better"), ([3.0, 2.9, 3.1], "worse"), ([0.1, -0.1, 0.05], "equal"), ([8, -9, 2], "open")],
)
def test_a_verdict_is_given_only_where_the_interval_allows_it(
    tmp_path: Path, difference: list[float], verdict: str
) -> None:
    entries = [made_up.trial("ours", "x", "sadt", 10, 1), made_up.trial("theirs", "x", "dts", 100, 1)]
    path = own_sweep(tmp_path, entries)
    write_values(path, entries[0], {str(k): (str(k), 100.0 + d) for k, d in enumerate(difference)})
    write_values(path, entries[1], {str(k): (str(k), 100.0) for k in range(3)})
    ours, theirs = pool_settings(read_sweep(path))
    paired = compare(ours, theirs, CRPS)
    assert paired is not None
    assert paired.verdict == verdict


def test_one_cluster_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    entries = [made_up.trial("ours", "x", "sadt", 10, 1), made_up.trial("theirs", "x", "dts", 100, 1)]
    path = own_sweep(tmp_path, entries)
    for entry, value in zip(entries, (1.0, 2.0), strict=True):
        write_values(path, entry, {"a": ("same", value), "b": ("same", value)})
    ours, theirs = pool_settings(read_sweep(path))
    paired = compare(ours, theirs, CRPS)
    assert paired is not None
    assert np.isnan(paired.half_width)
    assert paired.verdict == "open"
    assert clear_winner([ours, theirs], CRPS) is None


def test_rewards_under_other_spectral_weights_are_not_compared_and_other_tasks_never(settings: list[Setting]) -> None:
    ours, other = one(settings, "sadt", 200), one(settings, "sadt", 200, spectral_weight=0.0)
    assert compare(ours, one(settings, "dts", 200), REWARD) is not None
    assert compare(ours, other, REWARD) is None
    assert compare(ours, other, CRPS) is not None
    stage = next(s for s in settings if s.kind == "stage")
    assert compare(ours, stage, Metric("nfe", "NFE")) is None


def test_a_stopped_trial_is_shown_but_never_ranked(settings: list[Setting]) -> None:
    of_task = by_task(settings, "forecast")["ETTh1"]
    stopped = one(settings, "dts", 1000)
    assert stopped.stopped
    assert is_partial(stopped, of_task)
    winner = clear_winner(of_task, CRPS)
    assert winner is one(settings, "sadt", 2000)


def test_a_stopped_trial_need_not_have_left_anything(tmp_path: Path) -> None:
    entry = made_up.trial("stopped", "x", "dts", 10, 1, status="stopped")
    sweep = read_sweep(own_sweep(tmp_path, [entry]))
    assert sweep.results["stopped"].damage is None
    assert pool_settings(sweep) == []


def test_a_seed_that_was_stopped_early_leaves_the_setting_s_other_seeds_alone(tmp_path: Path) -> None:
    entries = [made_up.trial(f"seed{seed}", "x", "dts", 10, seed) for seed in (1, 2)]
    entries[1]["status"] = "stopped"
    path = own_sweep(tmp_path, entries)
    for entry, value in zip(entries, (1.0, 5.0), strict=True):
        write_values(path, entry, {"a": ("A", value), "b": ("B", value)})
    (setting,) = pool_settings(read_sweep(path))
    assert (setting.seeds, setting.stopped, setting.figures["crps"].value) == ([1], False, 1.0)


def test_the_best_must_be_clear_of_every_other_and_not_have_been_stopped(tmp_path: Path) -> None:
    entries = [made_up.trial(method, "x", method, 10, 1) for method in ("sadt", "dts", "snis", "prior")]
    entries[3]["status"] = "stopped"  # with all problems begun, and the lowest CRPS
    path = own_sweep(tmp_path, entries)
    for entry, values in zip(entries, ((1, 2, 3), (1.5, 1.7, 3.2), (9, 10, 11), (0, 1, 2)), strict=True):
        write_values(path, entry, {str(k): (str(k), value) for k, value in enumerate(values)})
    found = pool_settings(read_sweep(path))
    assert clear_winner(found, CRPS) is None
    without_rival = [setting for setting in found if setting.method != "dts"]
    assert clear_winner(without_rival, CRPS) is found[0]


def test_two_hundred_rollouts_are_compared_with_two_thousand_of_the_same_target(settings: list[Setting]) -> None:
    pairs = few_against_many(by_task(settings, "forecast")["ETTh1"])
    assert {(a.method, a.n_rollouts, b.n_rollouts) for a, b in pairs} == {("sadt", 200, 2000)}
    assert {b.method for _, b in pairs} == {"snis", "dts", "sadt"}
    assert all(a.spectral_weight == b.spectral_weight for a, b in pairs)
    assert len(pairs) == 6  # three at each of two spectral weights


def test_methods_that_ask_no_reward_are_compared_at_every_target(tmp_path: Path) -> None:
    tilts = [made_up.trial(f"l{lam}", "x", "sadt", 4, 1, kind="stage", inv_temperature=lam) for lam in (1.0, 5.0)]
    vote = made_up.trial("v", "x", "answer-vote", 16, 1, kind="stage", inv_temperature=None, spectral_weight=None)
    path = own_sweep(tmp_path, [*tilts, vote])
    for entry in (*tilts, vote):
        columns = {"problem": list("abcd"), "cluster": list("ABCD"), "correct": [1, 0, 1, entry is vote]}
        made_up.write_run(path / entry["run"], entry["method"], columns, {}, page=False)
    pairs = few_against_many(with_minus_reference(pool_settings(read_sweep(path))))
    assert [(a.method, a.inv_temperature, b.method) for a, b in pairs] == [
        ("sadt", 1.0, "answer-vote"),
        ("sadt", 5.0, "answer-vote"),
    ]
    assert [a.figures["minus_reference"].value for a, _ in pairs] == [-0.25, -0.25]


def test_without_an_exact_tenth_the_largest_budget_meets_what_is_nearest_to_it(tmp_path: Path) -> None:
    def budgets(*counts: int) -> tuple[int, int] | None:
        entries = [made_up.trial(f"n{n}", "x", "dts", n, 1) for n in counts]
        path = own_sweep(tmp_path / "-".join(map(str, counts)), entries)
        for entry in entries:
            write_values(path, entry, {"a": ("A", 1.0)})
        return few_and_many(pool_settings(read_sweep(path)))

    assert budgets(10, 100, 250, 1600) == (10, 100)
    assert budgets(30, 200, 1600) == (200, 1600)
    assert budgets(100) is None


def test_few_are_rollouts_that_s_adt_has_not_the_one_of_a_greedy_answer(tmp_path: Path) -> None:
    methods = (("greedy", 1), ("sadt", 4), ("sadt", 16))
    entries = [made_up.trial(f"{method}{n}", "x", method, n, 1, kind="stage") for method, n in methods]
    path = own_sweep(tmp_path, entries)
    for entry in entries:
        write_values(path, entry, {"a": ("A", 1.0)})
    assert few_and_many(pool_settings(read_sweep(path))) == (4, 16)


def test_a_damaged_run_is_named_with_what_to_do_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = made_up.write_sweep(tmp_path / "sweep")
    whole = pool_settings(read_sweep(path))
    names = ["ETTh1-dts-n200-seed1", "ETTh1-dts-n200-seed2", "ETTh1-sadt-n200-seed1"]
    (path / "runs" / names[0] / "scores.parquet").write_bytes(b"PAR1")
    (path / "runs" / names[1] / "summary.json").unlink()
    run = path / "runs" / names[2] / "scores.parquet"
    pq.write_table(pq.read_table(run).drop_columns(["cluster"]), run)
    sweep = read_sweep(path)
    said = {name: str(sweep.results[name].damage) for name in names}
    assert "scores.parquet is not a Parquet file" in said[names[0]]
    assert "summary.json is missing" in said[names[1]]
    assert "lacks column 'cluster'" in said[names[2]]
    assert all("run" in text for text in said.values())
    left = pool_settings(sweep)
    assert len(left) == len(whole) - 1  # both seeds of one setting are gone, one of the other
    assert one(left, "sadt", 200).seeds == [2]
    assert sum(result.damage is not None for result in sweep.results.values()) == 3


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda told: told["trials"][0].pop("method"), "trial 1 lacks 'method'"),
        (lambda told: told["trials"][1].update(status="lost"), "trial 2 has status 'lost'"),
        (lambda told: told["trials"][0].update(name=told["trials"][1]["name"]), "two trials named"),
        (lambda told: told.pop("trials"), "must hold 'trials'"),
    ],
)
def test_a_broken_list_of_trials_is_named_at_the_door(tmp_path: Path, spoil: Any, said: str) -> None:
    path = own_sweep(tmp_path, made_up.forecast_trials("ETTh1"))
    told = json.loads((path / "trials.json").read_text())
    spoil(told)
    (path / "trials.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=said):
        read_sweep(path)


def test_a_sweep_of_which_nothing_has_run_is_read(tmp_path: Path) -> None:
    entries = [entry | {"status": "pending", "run": None} for entry in made_up.forecast_trials("ETTh1")]
    sweep = read_sweep(own_sweep(tmp_path, entries, complete=False, seconds=None))
    assert pool_settings(sweep) == []
    assert sweep.count("pending") == len(entries)


def test_a_run_of_several_methods_counts_for_its_trial_s_method_alone(tmp_path: Path) -> None:
    entry = made_up.trial("both", "x", "dts", 10, 1)
    path = own_sweep(tmp_path, [entry])
    write_values(path, entry, {"a": ("A", 1.0), "b": ("B", 2.0)})
    run = path / "runs" / "both"
    summary = json.loads((run / "summary.json").read_text())
    summary["rows"].append({"method": "prior", "crps": 7.0})
    (run / "summary.json").write_text(json.dumps(summary))
    scores = pq.read_table(run / "scores.parquet").to_pylist()
    others = [{**row, "method": "prior", "value": 7.0} for row in scores]
    pq.write_table(pa.Table.from_pylist(scores + others), run / "scores.parquet")
    sweep = read_sweep(path)
    (setting,) = pool_settings(sweep)
    assert setting.figures["crps"].value == 1.5
    assert [row["method"] for row in trial_rows(sweep)] == ["dts", "prior"]


def test_csv_and_parquet_hold_every_trial_and_the_same_figures(sweep_dir: Path, settings: list[Setting]) -> None:
    sweep = read_sweep(sweep_dir)
    write_files(sweep, settings)
    table = pq.read_table(sweep_dir / "results.parquet").to_pylist()
    assert table == as_table(trial_rows(sweep)).to_pylist()
    with (sweep_dir / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [trial.name for trial in sweep.trials]
    assert [float(row["crps"]) if row["crps"] else None for row in rows] == [row["crps"] for row in table]
    assert next(row for row in rows if row["trial"] == "failed")["error"] == f"out of memory {made_up.EVIL}"


def test_the_csv_of_settings_holds_each_figure_with_its_interval(sweep_dir: Path, settings: list[Setting]) -> None:
    write_files(read_sweep(sweep_dir), settings)
    with (sweep_dir / "settings.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(setting_rows(settings))
    wanted = {"method": "sadt", "n_rollouts": "2000", "metric": "crps", "spectral_weight": "1"}
    (row,) = [r for r in rows if r["task"] == "ETTh1" and all(r[name] == value for name, value in wanted.items())]
    estimate = one(settings, "sadt", 2000).figures["crps"]
    assert float(row["value"]) == estimate.value
    assert float(row["high95"]) - float(row["low95"]) == pytest.approx(2 * estimate.half_width())
    assert float(row["minus_reference"]) == pytest.approx(made_up.CRPS_EFFECT["sadt", 2000], abs=1e-9)
