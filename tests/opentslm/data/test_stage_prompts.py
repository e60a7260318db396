"""The prompts of the stages against upstream's own data sets, recorded by ``record_upstream_prompts.py``."""

import json
from pathlib import Path

import numpy as np
import pytest
from upstream_samples import check_sample, differences

from sadt_ray.opentslm.data import STAGES, normalised_har_by_window, stage_problem, stage_spec
from sadt_ray.opentslm.data.places import find_data
from sadt_ray.opentslm.data.tables import numbers

RECORDED = json.loads(Path(__file__).with_name("upstream_prompts.json").read_text(encoding="utf-8"))
CASES = [(stage, number) for stage in STAGES for number in range(len(RECORDED[str(stage)]))]
ANSWERS = {1: ["no", "not sure", "yes"], 7: ["lead I", "none"]}


def _problem(stage, row, **options):
    row = dict(row)
    if stage == 1:
        row["Series"] = numbers(row["Series"])
    if stage == 5:
        row |= {"possible_answers": ANSWERS[row["template_id"]], "clinical_context": row["clinical_contexts"][0]}
    return stage_problem(stage, row, "a", **options)


@pytest.mark.parametrize(("stage", "number"), CASES)
def test_a_prompt_equals_upstreams_to_the_character_and_its_series_to_the_bit(stage, number):
    case = RECORDED[str(stage)][number]
    problem = _problem(stage, case["row"])
    assert differences(problem, case["sample"]) == []
    if stage != 2:
        assert problem.extras["answer"].strip() == case["sample"]["answer"]


def test_a_difference_of_one_character_or_one_value_is_found():
    case = RECORDED["4"][0]
    problem, sample = _problem(4, case["row"]), case["sample"]
    no_indent = {**sample, "pre_prompt": sample["pre_prompt"].replace("        Instr", "Instr")}
    assert "character" in differences(problem, no_indent)[0]
    moved = {**sample, "time_series": [[x + 1e-3 for x in sample["time_series"][0]]]}
    assert len(differences(problem, moved, tolerance=1e-4)) == 1
    assert differences(problem, {**sample, "time_series": []}) == ["time_series: 1 series, published 0"]


def test_the_published_ecg_sample_is_rebuilt_from_its_raw_record():
    path = find_data("ecg/ecg_qa_cot_test_0.json")
    if path is None:
        pytest.skip("the published sample is not on this machine")
    assert check_sample(path) == []


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_problem_carries_follows_the_table_of_stages(stage):
    row, spec = RECORDED[str(stage)][0]["row"], STAGES[stage]
    problem = _problem(stage, row, source="somebody")
    prompt = problem.conditioning
    assert prompt.marker == spec.marker
    assert prompt.ends == spec.ends
    assert len(prompt.series) == spec.num_series
    assert all(series.dtype == np.float32 for series in prompt.series)
    assert problem.context.shape[1:] == (() if spec.num_series == 1 else (spec.num_series,))
    assert problem.extras["stage"] == stage
    assert problem.extras["source"] == "somebody"
    assert problem.extras["sampling_rate"] == spec.sampling_rate
    assert (problem.extras["label"] in prompt.answers) == (stage != 2)


def test_the_fourth_sleep_stage_counts_as_the_third():
    assert _problem(4, RECORDED["4"][0]["row"]).extras["label"] == "Non-REM stage 3"


def test_a_row_without_a_gold_answer_is_a_question_all_the_same():
    row = {key: value for key, value in RECORDED["3"][0]["row"].items() if key not in ("label", "rationale")}
    problem = _problem(3, row)
    assert problem.extras["label"] is None
    assert problem.extras["answer"] is None


def test_read_by_window_no_number_of_the_prompt_depends_on_unit_or_offset():
    row = RECORDED["3"][0]["row"]
    other = {key: (np.array(x) * 83.0 + 1900 if key.endswith("axis") else x) for key, x in row.items()}
    mine, theirs = (_problem(3, r, normalise=normalised_har_by_window).conditioning for r in (row, other))
    assert mine.texts == theirs.texts
    for a, b in zip(mine.series, theirs.series, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)  # of float32, at an offset of 1900
    assert _problem(3, row).conditioning.texts != _problem(3, other).conditioning.texts


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        (1, {"Answer": "upward"}, "begins with none of"),
        (1, {"Task": None}, "no field 'Task'"),
        (3, {"x_axis": [1.0, 2.0]}, "samples; they must be of one length"),
        (3, {"label": "swimming"}, "'swimming' is none of biking"),
        (4, {"time_series": [1.0]}, "no standard deviation"),
        (4, {"time_series": [1.0, float("nan")]}, "not finite"),
        (4, {"time_series": [[1.0, 2.0], [1.0, 2.0]]}, "stage 4 has 1 of them"),
        (5, {"leads": [[1.0, 2.0]]}, r"must be \[12, T\]"),
        (5, {"answer": "maybe"}, "'maybe' is none of no, not sure, yes"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(stage, change, message):
    row = dict(RECORDED[str(stage)][0]["row"])
    row |= change
    row = {key: value for key, value in row.items() if value is not None}
    with pytest.raises(ValueError, match=f"a: .*{message}"):
        _problem(stage, row)


def test_a_stage_is_known_by_number_or_name_and_no_other():
    assert stage_spec("har") is stage_spec(3) is stage_spec("3")
    with pytest.raises(ValueError, match=r"choose one of 1 .tsqa"):
        stage_spec(6)
