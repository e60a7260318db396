"""What a stage's results are worth, from texts; and the real rationales, every one of which is read."""

import json

import numpy as np
import pytest

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data.places import find_data
from sadt_ray.opentslm.metrics.stages import score_stage
from sadt_ray.opentslm.parse import parse_answer
from sadt_ray.opentslm.stage_spec import STAGES, stage_spec
from sadt_ray.processes.language.prompt import Prompt


def _problems(stage, labels, answers=None, **extras):
    spec = stage_spec(stage)
    prompt = Prompt("", answers=answers or spec.labels, marker=spec.marker, ends=spec.ends)
    return [
        Problem(
            str(i),
            np.zeros(1),
            prompt,
            extras={
                "label": label,
                "answer": f"{spec.marker} {label}".strip(),
                "source": f"s{i // 2}",
                **{name: values[i] for name, values in extras.items()},
            },
        )
        for i, label in enumerate(labels)
    ]


def test_each_stage_is_judged_by_its_own_metric_with_upstreams_beside_it():
    for stage in (1, 3, 4):
        labels = [STAGES[stage].labels[i % 2] for i in range(8)]
        texts = [f"Reasons. {STAGES[stage].marker} {label}" if stage > 1 else label for label in labels]
        scores = score_stage(stage, texts, _problems(stage, labels))
        assert scores["metric"] == STAGES[stage].metric
        assert scores["score"] == scores[STAGES[stage].metric] == 1.0
        assert scores["accuracy_upstream"] == 1.0
        assert scores["accuracy_se"] == 0.0
        assert (scores["n"], scores["sources"]) == (8, 4)


def test_figures_that_differ_from_upstreams_stand_beside_them():
    problems = _problems(1, ["(a)", "(b)", "(c)", "(a)"])
    scores = score_stage(1, ["", "(b)", "(", "(B)"], problems)
    assert scores["accuracy"] == 0.25
    assert scores["accuracy_upstream"] == 0.75
    assert scores["answered"] == 0.5


def test_answers_that_a_vote_gave_are_scored_in_place_of_the_texts():
    problems = _problems(3, ["walking", "running"])
    scores = score_stage(3, ["no answer", "no answer"], problems, answers=["walking", None])
    assert scores["accuracy"] == 0.5
    assert scores["answered"] == 0.5


def test_probabilities_give_the_calibration_of_what_is_claimed():
    problems = _problems(3, ["walking"] * 6 + ["running"] * 4)
    sure = [{"walking": 0.8, "running": 0.2}] * 10
    scores = score_stage(3, ["Answer: walking"] * 10, problems, sure)
    assert scores["ece"] == pytest.approx(0.2)
    assert scores["brier"] == pytest.approx(0.6 * 2 * 0.2**2 + 0.4 * 2 * 0.8**2)
    assert sum(scores["reliability"]["counts"]) == 10
    json.dumps(scores["reliability"])


def test_a_text_without_an_answer_is_wrong_with_no_confidence():
    problems = _problems(3, ["walking", "walking"])
    scores = score_stage(3, ["Answer: walking", "?"], problems, [{"walking": 1.0}, {"walking": 0.4}])
    assert scores["ece"] == 0.0
    assert scores["accuracy"] == 0.5


def test_the_macro_f1_of_ecg_questions_is_template_by_template():
    problems = _problems(5, ["no", "no", "yes"], ("no", "yes"), template_id=[1, 1, 2])
    scores = score_stage(5, ["Answer: no"] * 3, problems)
    assert scores["macro_f1"] == pytest.approx(2 / 3)
    assert scores["macro_f1_upstream"] == pytest.approx((0.5 + 0.0) / 2)  # "yes" never occurs in the first template
    assert scores["macro_f1_weighted_upstream"] == pytest.approx((2 * 0.5 + 0.0) / 3)


def test_captions_are_scored_by_what_they_share_with_their_reference():
    spec = stage_spec(2)
    problems = [
        Problem(
            str(i), np.zeros(1), Prompt("", marker=spec.marker, ends=False), extras={"answer": "it rises and falls"}
        )
        for i in range(3)
    ]
    scores = score_stage("m4", ["it rises and falls", "it rises", "nothing"], problems)
    assert scores["metric"] == "rouge_l"
    assert scores["rouge_l"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert 0 < scores["bleu"] < 1
    assert scores["bleu_se"] > 0
    assert "accuracy_upstream" not in scores


def test_what_cannot_be_scored_is_said_by_name():
    problems = _problems(3, ["walking"])
    unlabelled = [Problem("window 7", np.zeros(1), problems[0].conditioning, extras={"label": None, "answer": None})]
    with pytest.raises(ValueError, match="'window 7' has no answer"):
        score_stage(3, ["Answer: walking"], unlabelled)
    with pytest.raises(ValueError, match="2 predictions for 1 problems"):
        score_stage(3, ["a", "b"], problems)
    with pytest.raises(ValueError, match="no problems"):
        score_stage(3, [], [])


def test_many_sources_are_scored_in_a_moment():
    labels = [STAGES[4].labels[i % 5] for i in range(4000)]
    problems = _problems(4, labels, source=[str(i) for i in range(4000)])
    scores = score_stage(4, [f"Answer: {label}" for label in labels], problems)
    assert scores["sources"] == 4000


@pytest.mark.parametrize(
    ("name", "stage", "count", "marked"),
    [("har/har_cot_rationales.jsonl", 3, 100, 100), ("sleep/sleep_cot_rationales.jsonl", 4, 465, 464)],
)
def test_every_real_rationale_is_read_as_its_label(name, stage, count, marked):
    path = find_data(name)
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    labels = [row["label"].replace("stage 4", "stage 3") for row in rows]
    assert [parse_answer(row["rationale"], STAGES[stage].labels) for row in rows] == labels
    assert len(rows) == count
    assert sum("answer:" in row["rationale"].lower().replace("*", "") for row in rows) == marked
    scores = score_stage(stage, [row["rationale"] for row in rows], _problems(stage, labels))
    assert scores["score"] == 1.0
