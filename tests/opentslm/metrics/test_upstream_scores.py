"""Upstream's figures, defects included, as its own scripts gave them (``record_upstream_scores.py``)."""

import json
from pathlib import Path

import pytest

from sadt_ray.opentslm.metrics.upstream import upstream_scores
from sadt_ray.opentslm.parse import parse_answer
from sadt_ray.opentslm.stage_spec import STAGES

RECORDED = json.loads(Path(__file__).with_name("upstream_scores.json").read_text())


def _case(stage):
    cases = RECORDED[str(stage)]["cases"]
    groups = [str(case[2]) if stage == 5 else "" for case in cases]
    answers = [RECORDED["answers"].get(group) or STAGES[stage].labels for group in groups]
    return [case[0] for case in cases], [case[1] for case in cases], answers, groups


@pytest.mark.parametrize("stage", [1, 3, 4, 5])
def test_upstreams_figures_are_upstreams(stage):
    scores = upstream_scores(stage, *_case(stage))
    assert scores == pytest.approx(RECORDED[str(stage)]["scores"], abs=5e-5)  # one script prints four decimals


def test_captions_are_not_scored_upstream():
    assert upstream_scores(2, ["a"], ["a"], [()], [""]) == {}


def _both(stage, text, gold, answers=None):
    """(upstream counts it as right, the parser does)"""
    answers = answers or STAGES[stage].labels
    upstream = upstream_scores(stage, [text], [gold], [answers], [""])["accuracy_upstream"]
    return bool(upstream), parse_answer(text, answers) == parse_answer(gold, answers)


@pytest.mark.parametrize(
    ("stage", "text", "gold"),
    [
        (1, "", "(b)"),  # every answer begins with nothing
        (1, "(", "(b)"),
        (4, "This is not REM sleep at all.", "Answer: REM sleep"),  # found by substrings where nothing is claimed
        (4, "No movement. Answer:Wake", "Answer: Movement"),
    ],
)
def test_what_upstream_takes_for_right_and_is_not(stage, text, gold):
    assert _both(stage, text, gold) == (True, False)


@pytest.mark.parametrize(
    ("stage", "text", "gold"),
    [
        (1, "(B)", "(b)"),
        (3, 'The "walk" is even. Answer: walking', "Answer: walking"),  # cut at the escaped quote
        (3, "Answer: walking", "Answer: walking."),  # only one has the period
        (4, "It looks awake. Answer:Wake", "Answer: Wake"),  # no space
        (5, "Answer:no", "Answer: no"),
    ],
)
def test_what_upstream_takes_for_wrong_and_is_not(stage, text, gold):
    assert _both(stage, text, gold, ("no", "yes") if stage == 5 else None) == (False, True)
