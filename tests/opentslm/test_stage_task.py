"""A stage as a task: one model, one search per method, and what a run directory records."""

import json
from dataclasses import replace

import pytest

from sadt_ray.engine.loop import run
from sadt_ray.engine.plan import plan_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.opentslm import StageSettings, answer_questions, build_stage_task, read_answers
from sadt_ray.opentslm.methods import STAGE_METHODS
from sadt_ray.opentslm.task import questions_at_once
from sadt_ray.runs.directory import create_run_directory


@pytest.fixture(scope="module")
def settings(stand_in, window_file):
    return StageSettings(
        stage="3",
        checkpoint=str(stand_in),
        data_file=window_file,
        num_examples=3,
        n_rollouts=2,
        max_tokens=24,
        reward="format:-5",
        method=("greedy", "answer-vote", "dts"),
    )


@pytest.fixture
def task(settings):
    return build_stage_task(settings)


def searched(task, entry, method=None):
    plan = plan_search(entry.process, task.problems, method or entry.method)
    executor = SerialExecutor(entry.process, entry.reward, task.problems, 8, rollout_spec=plan.rollout_spec)
    return run(plan, executor)


def test_one_model_is_asked_by_the_pilot_and_by_every_method_of_this_process(task, settings):
    methods = [task.process_for(method).with_device("cpu") for method in STAGE_METHODS.values()]
    assert all(process.model is task.process.model for process in methods)
    with pytest.raises(ValueError, match="device 'cuda:99' cannot be used here"):
        build_stage_task(settings, device="cuda:99")


def test_trees_get_a_few_rationales_of_a_question_at_a_time_and_flat_methods_all():
    at_once = {
        name: questions_at_once(STAGE_METHODS[name].search_method(16), STAGE_METHODS[name].flat, 32, 1)
        for name in ("answer-vote", "dts", "sadt")
    }
    assert at_once == {"answer-vote": 2, "dts": 8, "sadt": 2}


def test_entries_follow_the_order_of_the_settings_and_only_rewarded_methods_have_a_reward(task):
    entries = task.entries()
    assert [entry.method.name for entry in entries] == ["greedy", "answer-vote", "dts"]
    assert [len(entry.reward.terms) for entry in entries] == [0, 0, 1]
    assert [entry.process.answers for entry in entries] == ["sampled", "enumerated", "enumerated"]
    assert all(entry.method.search.at_once is not None for entry in entries)


def test_what_a_run_has_recorded_is_restored_and_needs_no_search(task, settings, tmp_path):
    first, vote, _ = task.entries()
    task.write_inputs(tmp_path)
    for entry in (first, vote):
        task.record(tmp_path, [entry], searched(task, entry))
    again = build_stage_task(settings)
    assert again.recorded(tmp_path) == {"greedy", "answer-vote"}
    assert again.answers == task.answers
    assert again.seconds == task.seconds
    rows = again.finish(tmp_path, complete=False, notes=["Stopped."])
    assert [row["method"] for row in rows] == ["greedy", "answer-vote"]
    assert set(task.table_columns) <= rows[0].keys()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert not summary["complete"]
    assert summary["notes"][-1] == "Stopped."
    assert len((tmp_path / "questions.jsonl").read_text().splitlines()) == 3


def test_a_search_that_did_not_spend_its_budget_is_not_recorded(task, tmp_path):
    entry = task.entries()[1]
    result = searched(task, entry)
    plan = plan_search(entry.process, task.problems, entry.method)
    task.record(tmp_path, [entry], result._replace(search=plan.begin()))
    assert task.answers == []
    assert not (tmp_path / "answers.jsonl").exists()


def test_answers_are_written_last(task, tmp_path, monkeypatch):
    def full(self, run, method, search):
        raise OSError("the disk is full")

    monkeypatch.setattr(type(task), "write_tree_texts", full)
    entry = task.entries()[2]
    with pytest.raises(OSError, match="the disk is full"):
        task.record(tmp_path, [entry], searched(task, entry))
    assert task.answers == []
    assert not (tmp_path / "answers.jsonl").exists()


def test_a_stage_is_answered_from_python_with_and_without_a_run_directory(settings, tmp_path):
    out = tmp_path / "run"
    answers = answer_questions(settings, out)
    assert [(row.method, row.problem) for row in answers] == [
        (method, problem) for method in settings.method for problem in dict.fromkeys(row.problem for row in answers)
    ]
    assert read_answers(out) == answers
    summary, config = (json.loads((out / name).read_text()) for name in ("summary.json", "config.json"))
    assert summary["complete"]
    assert config["search"]["stage_name"] == "har"
    assert (out / "tree" / "dts-texts.parquet").exists()
    assert answer_questions(replace(settings, method=("answer-vote",))) == [
        row for row in answers if row.method == "answer-vote"
    ]
    with pytest.raises(ValueError, match="is not empty"):
        create_run_directory(out)
