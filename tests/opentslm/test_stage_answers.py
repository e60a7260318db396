"""What is read off weighted texts: the likeliest answer, its probability, its reasons."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.answers import answered, most_agreed
from sadt_ray.processes.language.prompt import Prompt
from sadt_ray.runs.answer_file import is_correct, read_answers, write_answers
from sadt_ray.tree.samples import WeightedSamples

QUESTION = Problem(
    "window 1",
    np.zeros(8),
    Prompt("What is it?", answers=("walking", "walking_up", "sitting")),
    extras={"label": "walking_up", "source": "subject 3"},
)
CAPTION = Problem("series 1", np.zeros(8), Prompt("Describe it."), extras={"answer": "a rising trend"})


def weighted(texts, weights):
    weights = np.array(weights, float)
    count = np.zeros(len(texts), np.int64)
    return WeightedSamples(np.array(texts), weights, weights * 0, count, log_z=-0.5, root_ess=2.0)


def answer_to(problem, texts, weights):
    return answered("dts", problem, weighted(texts, weights), rollouts=4, tokens=120, reward_calls=9)


def test_the_answer_is_the_mode_of_the_marginal_not_the_heaviest_text():
    texts = ["Still. Answer: sitting", "Steps. Answer: walking_up", "Steep. Answer: walking_up.", "It goes on and"]
    row = answer_to(QUESTION, texts, [0.4, 0.2, 0.3, 0.1])
    assert row.answer == "walking_up"
    assert row.probabilities == pytest.approx({"walking": 0.0, "walking_up": 0.5, "sitting": 0.4})
    assert row.text == texts[2]
    assert is_correct(row) is True
    assert (row.source, row.label, row.tokens) == ("subject 3", "walking_up", 120)


def test_of_equally_likely_answers_no_place_in_the_list_is_favoured():
    texts = ["Answer: walking", "Answer: sitting"]
    questions = [replace(QUESTION, name=f"window {i}") for i in range(200)]
    said = [answer_to(question, texts, [0.5, 0.5]).answer for question in questions]
    assert 70 < said.count("walking") < 130
    assert said == [answer_to(question, texts[::-1], [0.5, 0.5]).answer for question in questions]


def test_answers_are_read_by_whoever_reads_json(tmp_path):
    rows = [answered("dts", QUESTION, None, 4, 120, 9), answer_to(QUESTION, ["Answer: sitting"], [1.0])]
    write_answers(tmp_path, rows)

    def no_json(word):
        raise AssertionError(f"{word} is no JSON")

    for line in (tmp_path / "answers.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=no_json)
    assert read_answers(tmp_path) == rows


def test_where_no_text_claims_an_answer_there_is_none():
    row = answer_to(QUESTION, ["walking, I think", "no idea"], [0.3, 0.7])
    assert row.answer is None
    assert row.text == "no idea"
    assert is_correct(row) is False


def test_a_caption_is_the_one_that_agrees_most_with_all():
    texts = ["a rising trend with noise", "a rising trend", "a flat line", "a rising trend with a peak"]
    row = answer_to(CAPTION, texts, [0.2, 0.3, 0.3, 0.2])
    assert row.answer == row.text == "a rising trend"
    assert is_correct(row) is None
    assert most_agreed(CAPTION, weighted(texts, [0.0, 0.0, 1.0, 0.0])) == "a flat line"


def test_answers_come_back_from_their_file_whole(tmp_path):
    rows = [answer_to(QUESTION, ["Äh. Answer: sitting"], [1.0]), answer_to(CAPTION, ["two\nlines"], [1.0])]
    write_answers(tmp_path, rows)
    assert read_answers(tmp_path) == rows
    assert read_answers(tmp_path / "nowhere") == []


def test_a_question_whose_texts_were_all_worth_nothing_has_no_answer(tmp_path):
    row = answered("sadt", QUESTION, None, rollouts=4, tokens=99, reward_calls=4)
    assert (row.answer, row.text, row.tokens) == (None, "", 99)
    assert set(row.probabilities.values()) == {0.0}
    write_answers(tmp_path, [row])
    assert read_answers(tmp_path) == [row]
