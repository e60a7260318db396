"""``python -m jobs.search --stage N`` with tiny numbers: the real program, a real checkpoint, a real run directory."""

import json
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from tiny_stage import random_stand_in, windows, write_csv

from jobs import search as job
from jobs.train_verifier import TrainVerifierConfig, train_verifier
from sadt_ray.opentslm.rewards.verifier_file import VERIFIER, load_verifier, save_verifier
from sadt_ray.opentslm.stand_in import library
from sadt_ray.opentslm.task import StageTask

METHODS = ("greedy", "self-consistency", "answer-vote", "best-of-n", "dts", "sadt")
TINY = ("--stage", "3", "--executor", "serial", "--n-rollouts", "2", "--max-tokens", "24", "--batch-size", "8")
GIVEN = ("--split", "test", "--num-examples", "6", "--method", *METHODS)


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "windows.csv", windows(24))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_stand_in(tmp_path_factory.mktemp("model") / "random")


def run(monkeypatch, *arguments):
    """Exit code of the real main."""
    monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        job.main()
    return stopped.value.code


@pytest.fixture(scope="module")
def finished(tmp_path_factory, checkpoint, questions):
    directory = tmp_path_factory.mktemp("stage") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        given = (*GIVEN, "--checkpoint", checkpoint, "--data-file", questions)
        assert run(monkeypatch, *TINY, *given, "--out", directory) == 0
    return directory


def test_every_method_answers_every_question_and_is_charged_for_it(finished):
    rows = pq.read_table(finished / "answers.parquet").to_pylist()
    assert {(row["method"], row["problem"]) for row in rows} == {
        (method, problem) for method in METHODS for problem in {row["problem"] for row in rows}
    }
    assert len(rows) == 6 * len(METHODS)
    for row in rows:
        probabilities = json.loads(row["probabilities"])
        assert len(probabilities) == 8
        assert -1e-9 <= sum(probabilities.values()) <= 1 + 1e-9
        assert row["answer"] is None or probabilities[row["answer"]] == max(probabilities.values())
        assert row["tokens"] > 0
        assert row["rollouts"] == (1 if row["method"] == "greedy" else 2)


def test_the_summary_scores_and_prices_every_method_and_names_the_templates(finished):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["complete"]
    assert [row["method"] for row in summary["rows"]] == list(METHODS)
    for row in summary["rows"]:
        assert 0 <= row["accuracy"] <= 1
        assert row["tokens"] > 0
        assert not row["oracle"]
    scores = pq.read_table(finished / "scores.parquet").to_pandas().pivot_table("value", "method", "metric")
    for row in summary["rows"]:
        assert scores.loc[row["method"], "correct"] == pytest.approx(row["accuracy"])
        assert scores.loc[row["method"], "tokens"] == pytest.approx(row["tokens"])
    assert summary["template_accuracy"] == 1.0  # the two rhythms cannot be confused
    assert any("templates behind the spectral reward" in note for note in summary["notes"])
    assert any("stand-in" in note for note in summary["notes"])
    assert (finished / "report.html").stat().st_size > 10_000
    assert not (finished / "checkpoints").exists()


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch, checkpoint, questions, finished):
    record = StageTask.record

    def stops_after_two(self, run, entries, result):
        record(self, run, entries, result)
        if entries[0].method.name == "self-consistency":
            raise OSError("the disk is full")

    given = (*GIVEN, "--checkpoint", checkpoint, "--data-file", questions)
    with monkeypatch.context() as broken:
        broken.setattr(StageTask, "record", stops_after_two)
        assert run(broken, *TINY, *given, "--out", tmp_path / "run", "--no-report") == 1
    assert len(pq.read_table(tmp_path / "run" / "answers.parquet")) == 12
    assert run(monkeypatch, "--resume", tmp_path / "run") == 0
    assert (tmp_path / "run" / "answers.jsonl").read_text() == (finished / "answers.jsonl").read_text()
    assert "is complete" in run(monkeypatch, "--resume", tmp_path / "run")


def test_a_method_whose_tree_was_not_written_is_asked_again(tmp_path, monkeypatch, checkpoint, questions):
    def full(self, run, method, search):
        raise OSError("the disk is full")

    given = ("--method", "dts", "--num-examples", 2, "--checkpoint", checkpoint, "--data-file", questions)
    with monkeypatch.context() as broken:
        broken.setattr(StageTask, "write_tree_texts", full)
        assert run(broken, *TINY, *given, "--out", tmp_path / "run", "--no-report") == 1
    assert run(monkeypatch, "--resume", tmp_path / "run") == 0
    assert (tmp_path / "run" / "tree" / "dts-texts.parquet").exists()
    assert len(pq.read_table(tmp_path / "run" / "answers.parquet")) == 2


def test_questions_without_a_gold_answer_are_answered_and_not_scored(tmp_path, monkeypatch, checkpoint):
    bare = [{key: row[key] for key in row if key not in ("label", "rationale")} for row in windows(4)]
    mine = write_csv(tmp_path / "mine.csv", bare)
    given = (
        "--checkpoint",
        checkpoint,
        "--data-file",
        mine,
        "--reward",
        "format:-5",
        "--method",
        "answer-vote",
        "sadt",
    )
    assert run(monkeypatch, *TINY, *given, "--out", tmp_path / "run") == 0
    assert len(pq.read_table(tmp_path / "run" / "answers.parquet")) == 2 * 4  # the whole file
    row = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"][0]
    assert row["accuracy"] is None
    assert row["tokens"] > 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--stage", "7"), "there is no stage '7'"),
        (("--stage", "3", "--method", "magic"), "there is no stage method 'magic'"),
        (("--stage", "3", "--n-rollouts", "0"), "n_rollouts must be at least 1"),
        (("--stage", "3", "--checkpoint", "/nowhere/at/all"), "/nowhere/at/all"),
        (("--stage", "3", "--reward", "magic"), "unknown reward 'magic'"),
        (("--stage", "3", "--method", "dts", "--branch-steps", "1", "9"), "branch steps (1, 9) must ascend"),
    ],
)
def test_bad_input_is_refused_at_the_door(tmp_path, monkeypatch, capsys, checkpoint, questions, flags, words):
    given = ["--data-file", questions, "--out", tmp_path / "run", "--executor", "serial"]
    given += [] if "--checkpoint" in flags else ["--checkpoint", checkpoint]
    refused = run(monkeypatch, *flags, *given)
    assert words in f"{refused} {capsys.readouterr().err}"
    assert not (tmp_path / "run").exists()


def test_a_verifier_learned_from_labelled_questions_is_a_reward_of_others(tmp_path, monkeypatch, checkpoint, questions):
    config = TrainVerifierConfig(
        "3",
        str(checkpoint),
        questions,
        num_examples=16,
        n_rollouts=2,
        folds=2,
        max_tokens=24,
        out=tmp_path / "verifier",
    )
    assert train_verifier(config, Console()) == tmp_path / "verifier"
    reward = ("--reward", "verifier + -1*agreement", "--verifier", tmp_path / "verifier", "--entropy-profile")
    given = ("--checkpoint", checkpoint, "--data-file", questions, "--split", "test", "--num-examples", 6, *reward)
    assert run(monkeypatch, *TINY, *given, "--method", "answer-vote", "sadt", "--out", tmp_path / "run") == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    vote, searched = summary["rows"]
    assert searched["tokens"] > 1.5 * vote["tokens"]  # the pilot is charged to who uses it
    assert len(summary["entropy_profile"]) == 8
    assert any("The pilot cost" in note for note in summary["notes"])
    elsewhere = ("--checkpoint", checkpoint, "--data-file", questions, "--verifier", tmp_path / "verifier")
    assert "does not name it" in run(monkeypatch, *TINY, *elsewhere, "--out", tmp_path / "other")
    other = load_verifier(tmp_path / "verifier" / VERIFIER)
    save_verifier(replace(other, facts={**other.facts, "stage": 4}), tmp_path / "verifier" / VERIFIER)
    assert "is of stage 4, not of stage 3" in run(monkeypatch, *TINY, *elsewhere, *reward[:2], "--out", tmp_path / "it")


def test_a_verifier_that_is_not_there_is_named(tmp_path, monkeypatch, checkpoint, questions):
    given = ("--checkpoint", checkpoint, "--data-file", questions, "--verifier", tmp_path / "nothing")
    assert "nothing" in str(run(monkeypatch, *TINY, *given, "--out", tmp_path / "run"))


def test_a_stand_in_without_its_data_says_where_to_get_some(tmp_path, monkeypatch, checkpoint):
    for module in ("stand_in.files", "data.places"):
        monkeypatch.setattr(f"sadt_ray.opentslm.{module}.data_directories", lambda: [tmp_path / "nothing"])
    monkeypatch.setattr("sadt_ray.opentslm.data.places.urllib.request.urlopen", unreachable)
    library._corpus.cache_clear()
    refused = str(run(monkeypatch, *TINY, "--checkpoint", checkpoint, "--out", tmp_path / "run"))
    assert "SADT_DATA" in refused
    assert "Stage 1 needs no data" in refused


def unreachable(*_, **__):
    raise OSError("no network here")
