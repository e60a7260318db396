"""Which answer a text claims: every known defect of upstream's parsers, and real rationales."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.opentslm.parse import parse_answer
from sadt_ray.opentslm.stage_spec import HAR_LABELS, SLEEP_LABELS, STAGES

OPTIONS = STAGES[1].labels
ECG = (
    "none",
    "none of myocardial infarction",
    "bigeminal pattern (unknown origin, supraventricular, or ventricular)",
    "non-specific intraventricular conduction disturbance (block)",
    "left atrial overload/enlargement",
    "lead I",
    "lead II",
    "st/t change",
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is slow. Answer:Wake", "Wake"),  # upstream wants the space, or matches the whole text by substrings
        ("It is slow. Answer: non-rem stage 4.", "Non-REM stage 3"),
        ("Answer: NREM stage 2", "Non-REM stage 2"),
        ("Answer: REM", "REM sleep"),
        ("**Answer:** *Non-REM stage 1*", "Non-REM stage 1"),
        ("answer : WAKE<|end_of_text|>", "Wake"),
        ("Answer: Wake\n\nAnswer: REM sleep", "REM sleep"),
        ("The correct classification for this sleep stage is: Non-REM stage 2.", "Non-REM stage 2"),
        ("No movement and no REM sleep can be seen.", None),
        ("Answer: Wake or REM sleep", None),
        ("Answer: Wake, REM sleep", None),
        ("Answer: Wakefulness", None),
        ("Answer:", None),
        ("", None),
    ],
)
def test_a_sleep_stage_is_read_after_its_marker_and_nowhere_else(text, answer):
    assert parse_answer(text, SLEEP_LABELS) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The \"bursts\" are even. Answer: walking", "walking"),  # upstream cuts the text at the escaped quote
        ("Answer: walking up.", "walking_up"),
        ('Answer: "walking_down".', "walking_down"),
        ("Answer: walking upstairs", None),
        ("Answer: walking/running", None),
        ("Answer: walking. It was slow.", "walking"),
        ("Answer: walking. Or running.", None),
        ("walking", None),
    ],
)
def test_an_activity_is_not_confused_with_a_longer_one(text, answer):
    assert parse_answer(text, HAR_LABELS) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("(b)", "(b)"),
        ("(B) This time series has an upward trend.", "(b)"),
        ("b", "(b)"),
        ("**c)**", "(c)"),
        ("Answer: (a)", "(a)"),
        ("", None),  # upstream counts it as correct
        (" ", None),
        ("(", None),  # likewise: every answer starts with it
        ("a time series", None),
        ("(a), (b), or (c)", None),
        ("(d)", None),
    ],
)
def test_an_option_begins_the_text(text, answer):
    assert parse_answer(text, OPTIONS) == answer


@given(
    st.sampled_from(ECG),
    st.sampled_from(["{}", "{}.", '"{}"', "**{}**", " {}", "{}\nmore", "{}<|eot_id|>", "{}. Because it is so."]),
    st.booleans(),
)
def test_every_answer_is_read_in_every_dress(answer, dress, shout):
    said = dress.format(answer.upper() if shout else answer)
    assert parse_answer(f"The lead is flat. Answer: {said}", ECG) == answer
    assert parse_answer(f"Answer: lead I. Answer:{said}", ECG) == answer


def test_an_answer_that_begins_with_another_is_read_whole():
    assert parse_answer("Answer: st, t change. So it is.", ("st", "st, t change")) == "st, t change"


def test_a_marker_is_found_in_any_dress_but_not_inside_a_word():
    assert parse_answer("so **Answer**: walking", HAR_LABELS) == "walking"
    assert parse_answer("answer: running, unanswer: walking", HAR_LABELS) == "running"
    assert parse_answer("the answer is walking", HAR_LABELS) is None
