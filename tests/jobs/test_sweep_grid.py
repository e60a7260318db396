"""Axes to trials: every combination that means something, once, as a command line that says so."""

import shlex

import pytest
import tyro

from jobs.search_job import SearchJob
from jobs.stage_job import StageJob
from jobs.sweep import bound, join_cluster, parse, sweep
from jobs.sweeps.grid import Axes, trials_of
from jobs.sweeps.job import SweepJob, TrialExecution
from jobs.sweeps.presets import PRESETS


def test_a_grid_is_the_product_of_its_axes_where_a_method_has_them():
    axes = Axes(dataset=("ETTh1",), method=("dts", "sadt-tree"), alpha=(0.2, 0.8), inv_temperature=(2, 10), seed=(0, 1))
    trials = trials_of([axes])
    assert len(trials) == 2 * 2 + 2 * 2 * 2  # dts has no alpha
    assert {trial.alpha for trial in trials if trial.method == "dts"} == {None}
    assert [trial.seed for trial in trials] == sorted(trial.seed for trial in trials)


def test_a_method_that_asks_no_reward_is_run_once_whatever_the_tilt():
    axes = Axes(stage=("3",), method=("answer-vote", "sadt"), spectral_weight=(0, 1), inv_temperature=(1, 2))
    methods = [trial.method for trial in trials_of([axes])]
    assert methods.count("answer-vote") == 1
    assert methods.count("sadt") == 4


def test_a_greedy_answer_has_one_rationale_whatever_the_rollouts():
    trials = trials_of([Axes(stage=("har",), method=("greedy", "sadt"), n_rollouts=(4, 16))])
    assert sorted((trial.method, trial.n_rollouts) for trial in trials) == [("greedy", 1), ("sadt", 4), ("sadt", 16)]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_trial_of_a_preset_is_a_search_of_its_own_that_its_command_repeats(preset):
    trials = trials_of(PRESETS[preset])
    assert len({trial.name for trial in trials}) == len({trial.arguments for trial in trials}) == len(trials)
    for trial in trials:
        words = shlex.split(trial.row()["command"])
        assert words[:3] == ["python", "-m", "jobs.search"]
        job = tyro.cli(SearchJob if trial.kind == "forecast" else StageJob, args=words[3:])
        assert (job.method, job.n_rollouts, job.seed) == ((trial.method,), trial.n_rollouts, trial.seed)


def test_trials_that_differ_in_a_last_digit_have_names_of_their_own():
    axes = Axes(dataset=("a/b",), method=("dts",), n_rollouts=(1_000_000, 1_000_001), inv_temperature=(2, 2.0000001))
    names = {trial.name for trial in trials_of([axes])}
    assert len(names) == 4
    assert "a-b-dts-n1000000-l2-w1-seed0" in names


def test_a_trial_on_cuda_takes_a_gpu_unless_it_is_told_otherwise():
    assert TrialExecution(device="cuda").resources().bundles() == [{"CPU": 1.0, "GPU": 1.0}]
    assert TrialExecution(device="cuda", gpus_per_worker=0.25).resources().bundles() == [{"CPU": 1.0, "GPU": 0.25}]
    assert TrialExecution().resources().bundles() == [{"CPU": 1.0}]


def test_a_trial_that_would_wait_for_room_for_ever_is_refused():
    resources = TrialExecution(num_workers=2, learner_cpus=1).resources()
    resources.check({"CPU": 3.0})
    with pytest.raises(ValueError, match="a trial needs 3 CPU, but this machine has 2"):
        resources.check({"CPU": 2.0})


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr("jobs.sweep.find_spec", lambda module: None)
    with pytest.raises(ValueError, match=r"--track mlflow needs mlflow; pip install 'sadt-ray\[track\]'"):
        join_cluster(SweepJob(track=("mlflow",)))


def test_tasks_take_turns_so_that_a_sweep_cut_short_has_something_of_each():
    tasks = [trial.task for trial in trials_of(PRESETS["stages"])]
    assert len(set(tasks[:5])) == 5


def test_what_is_given_beside_a_preset_replaces_its_axes_and_adds_to_its_flags():
    job = SweepJob(preset="stages", stage=("3",), n_rollouts=(2,), dataset=("ETTh1",), stage_flags="--num-examples 7")
    trials = job.trials()
    assert {(trial.task, trial.n_rollouts) for trial in trials} == {("3 har", 1), ("3 har", 2)}
    assert {tyro.cli(StageJob, args=trial.arguments).num_examples for trial in trials} == {7}


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (Axes(), "give --dataset, --stage or --preset"),
        (Axes(stage=("3",), method=("snis",)), "no method 'snis' for these tasks; choose of answer-vote"),
        (Axes(dataset=("ETTh1",), stage=("3",), method=("snis",)), "some of the tasks have none of the methods snis"),
        (Axes(stage=("9",)), "there is no stage '9'"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(axes, words):
    with pytest.raises(ValueError, match=words):
        trials_of([axes])


def test_flags_of_the_searches_may_begin_with_dashes():
    assert bound(["--seed", "1", "--forecast-flags", "--num-windows 8"]) == [
        "--seed",
        "1",
        "--forecast-flags=--num-windows 8",
    ]
    job, _ = parse(["--dataset", "ETTh1", "--forecast-flags", "--num-windows 8 --learn"])
    assert job.forecast_flags == "--num-windows 8 --learn"


def test_a_dry_run_prints_the_commands_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    from rich.console import Console

    monkeypatch.chdir(tmp_path)
    assert sweep(["--stage", "3", "--method", "sadt", "--spectral-weight", "0", "1", "--dry-run"], Console()) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "2 trials"
    assert said[0].startswith("python -m jobs.search --stage 3 --method sadt")
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_no_sweep_is_not_resumed(tmp_path):
    with pytest.raises(ValueError, match="is not the directory of a sweep"):
        parse(["--resume", str(tmp_path)])
