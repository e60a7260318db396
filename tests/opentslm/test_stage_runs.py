"""``python -m jobs.search --stage N`` with tiny numbers: the real program, a real checkpoint, a real run directory."""

import json
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from benchmarks.stage_contests.contest import tabled
from jobs import search as job
from jobs.stages.job import StageJob
from jobs.stages.methods import STAGE_METHODS
from jobs.stages.pool import best_of, draw_rationales, majority, tokens_of, weighted_vote
from jobs.stages.questions import questions as questions_of
from jobs.stages.run import StageRun, in_turns
from jobs.stages.task import VERIFIER, StageTask, build_task
from jobs.train_verifier import TrainVerifierConfig, train_verifier
from sadt_ray.opentslm.data import stage_problem
from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel
from sadt_ray.opentslm.rewards.answers import UNPARSABLE
from sadt_ray.opentslm.rewards.format import FormatReward
from sadt_ray.opentslm.rewards.spectral_label import SpectralLabelReward
from sadt_ray.opentslm.rewards.templates import TemplateConfig, fit_label_templates
from sadt_ray.opentslm.rewards.verifier_file import load_verifier, save_verifier
from sadt_ray.opentslm.stand_in import library
from sadt_ray.opentslm.stand_in.base_model import fit_tokenizer, tiny_llama
from sadt_ray.opentslm.stand_in.library import held_out_problems, save_stand_in, stand_in_record
from sadt_ray.processes.language.process import CausalLMProcess

METHODS = ("greedy", "self-consistency", "answer-vote", "best-of-n", "dts", "sadt")
TINY = ("--stage", "3", "--executor", "serial", "--n-rollouts", "2", "--max-tokens", "24", "--batch-size", "8")
GIVEN = ("--split", "test", "--num-examples", "6", "--method", *METHODS)


def windows(count, seed=0):
    """Rows of a CSV of HAR windows: a rhythm of its own for each of two labels, four subjects."""
    rng = np.random.default_rng(seed)
    time = np.arange(128) / 50
    rows = []
    for i in range(count):
        label, rhythm = (("walking", 2.0), ("running", 6.0))[i % 2]
        axes = np.sin(2 * np.pi * rhythm * time + rng.uniform(0, 6, 3)[:, None]) + 0.3 * rng.standard_normal((3, 128))
        cells = {f"{axis}_axis": json.dumps(values.round(3).tolist()) for axis, values in zip("xyz", axes, strict=True)}
        rows.append(
            {**cells, "label": label, "rationale": f"It repeats. Answer: {label}", "source": f"subject {i // 2 % 4}"}
        )
    return rows


def write_csv(path, rows):
    import pandas

    pandas.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "windows.csv", windows(24))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights in the published layout; what it says is noise, and now and then an answer."""
    torch.manual_seed(0)
    texts = [f"It repeats. Answer: {label}" for label in ("walking", "running", "sitting")] * 40
    tokenizer = fit_tokenizer(texts, ["Answer:"])
    network = tiny_llama(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    network.get_input_embeddings().weight.data[tokenizer.convert_tokens_to_ids("Answer:")] *= 3
    model = SoftPromptModel(network, tokenizer, SeriesEncoder(64), Projector(network.config.hidden_size))
    return save_stand_in(model, tmp_path_factory.mktemp("model") / "random", {"stage": "har", "seed": 0})


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
    recorded = StageRun.record

    def stops_after_two(self, method, plan, search, seconds):
        recorded(self, method, plan, search, seconds)
        if method.name == "self-consistency":
            raise OSError("the disk is full")

    given = (*GIVEN, "--checkpoint", checkpoint, "--data-file", questions)
    with monkeypatch.context() as broken:
        broken.setattr(StageRun, "record", stops_after_two)
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


def test_a_stand_in_is_asked_what_it_has_not_seen_whatever_the_seed_of_the_search(tmp_path):
    made = {seed: tmp_path / f"seed{seed}" for seed in (0, 1)}
    for seed, directory in made.items():
        directory.mkdir()
        (directory / "model_checkpoint.pt").touch()
        (directory / "stand_in.json").write_text(json.dumps({"stage": "1", "seed": seed}))
    asked_for = StageJob(stage="1", seed=0, num_examples=4)
    held_out = {seed: held_out_problems(1, seed, 4) for seed in (0, 1)}
    for seed, directory in made.items():
        for checkpoint in (directory, directory / "model_checkpoint.pt"):  # the file is as good as its directory
            asked = questions_of(asked_for, stand_in_record(checkpoint)).asked
            assert [problem.conditioning.pre for problem in asked] == [p.conditioning.pre for p in held_out[seed]]
            np.testing.assert_array_equal(asked[0].context, held_out[seed][0].context)
    assert not np.array_equal(held_out[0][0].context, held_out[1][0].context)
    with pytest.raises(ValueError, match="was made for tsqa, not for stage 3"):
        build_task(StageJob(stage="3", checkpoint=str(made[0])), Console(quiet=True))


def test_one_model_is_asked_by_the_pilot_and_by_every_method_of_this_process(checkpoint, questions):
    asked = StageJob(stage="3", checkpoint=str(checkpoint), data_file=questions, reward="format")
    serial = replace(asked, execution=replace(asked.execution, executor="serial"))
    task = build_task(serial, Console(quiet=True))
    methods = [task.process_for(method).with_device("cpu") for method in STAGE_METHODS.values()]
    assert all(process.model is task.process.model for process in methods)
    elsewhere = replace(serial, execution=replace(serial.execution, device="cuda:99"))
    with pytest.raises(ValueError, match="device 'cuda:99' cannot be used here"):
        build_task(elsewhere, Console(quiet=True))


def test_trees_get_a_few_rationales_of_a_question_at_a_time_and_flat_methods_all():
    asked = StageJob(stage="3", n_rollouts=16)
    asked = replace(asked, execution=replace(asked.execution, executor="serial", batch_size=32))
    at_once = {
        name: in_turns(STAGE_METHODS[name].search(16), STAGE_METHODS[name], asked).search.at_once
        for name in ("answer-vote", "dts", "sadt")
    }
    assert at_once == {"answer-vote": 2, "dts": 8, "sadt": 2}


@pytest.fixture(scope="module")
def pool(checkpoint):
    rows = [{k: json.loads(cell) if k.endswith("axis") else cell for k, cell in row.items()} for row in windows(6)]
    problems = [stage_problem(3, row, f"window {i}", row["source"]) for i, row in enumerate(rows)]
    process = CausalLMProcess(load_opentslm(checkpoint), max_tokens=24)
    return draw_rationales(process, problems, 8, seed=1)


def test_rationales_are_the_same_whatever_is_drawn_beside_them(pool, checkpoint):
    process = CausalLMProcess(load_opentslm(checkpoint), max_tokens=24)
    again = draw_rationales(process, [rationales.problem for rationales in pool[:2]], 8, seed=1)
    for one, other in zip(again, pool, strict=False):
        np.testing.assert_array_equal(one.texts, other.texts)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
        assert (one.probabilities.sum(1) <= 1 + 1e-6).all()
        assert (one.tokens > 0).all()
        assert tokens_of(one, 4, listed=True) == one.tokens[:4].sum() + one.scored[:4].sum()
        said = [0 if k == UNPARSABLE else one.said[k] for k in one.drawn[:4]]
        assert tokens_of(one, 4, listed=False) == one.tokens[:4].sum() + sum(said)


def test_votes():
    drawn = np.array([2, 0, UNPARSABLE, 0, 2])
    assert majority(drawn, 3)[0] == 2  # the first of equals
    np.testing.assert_allclose(majority(drawn, 3)[1], [0.4, 0, 0.4])
    assert majority(np.array([UNPARSABLE]), 3)[0] == UNPARSABLE
    p = np.array([[0.5, 0.2, 0.0], [0.1, 0.6, 0.0]])
    assert weighted_vote(p)[0] == 1
    best, marginal = weighted_vote(p, np.array([np.log(2.0), 0.0, 5.0]))
    assert best == 0
    np.testing.assert_allclose(marginal, np.array([1.2, 0.8, 0]) / 2.0)
    assert weighted_vote(np.zeros((2, 3)))[0] == UNPARSABLE
    assert best_of(drawn, np.array([0.0, 9.0, -1.0])) == 0
    assert best_of(np.array([UNPARSABLE]), np.zeros(3)) == UNPARSABLE


def test_a_table_of_answers_is_the_reward_it_was_made_of(pool):
    problems = [rationales.problem for rationales in pool]
    spectral = SpectralLabelReward(fit_label_templates(problems, TemplateConfig(channels="pooled")))
    table = tabled(spectral, problems).bind(problems)
    for p in range(len(problems)):
        np.testing.assert_allclose(table.of_answers(p), spectral.bind(problems).of_answers(p))
    assert FormatReward().bind(problems)(np.array(["Answer: walking"]), np.array([0]))[0] == 0.0


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
    for module in ("stand_in.files", "data.stages.places"):
        monkeypatch.setattr(f"sadt_ray.{module}.data_directories", lambda: [tmp_path / "nothing"])
    monkeypatch.setattr("sadt_ray.opentslm.data.places.urllib.request.urlopen", unreachable)
    library._corpus.cache_clear()
    refused = str(run(monkeypatch, *TINY, "--checkpoint", checkpoint, "--out", tmp_path / "run"))
    assert "SADT_DATA" in refused
    assert "Stage 1 needs no data" in refused


def unreachable(*_, **__):
    raise OSError("no network here")
