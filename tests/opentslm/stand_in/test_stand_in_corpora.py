"""What stand-ins learn from: sources stay apart, words are true, answers are balanced."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.opentslm.data.places import find_data
from sadt_ray.opentslm.stand_in.captions import CaptionCorpus, caption
from sadt_ray.opentslm.stand_in.corpus import SPLITS, parted
from sadt_ray.opentslm.stand_in.ecg import QUESTIONS, EcgCorpus, range_of, real_ecg_problems
from sadt_ray.opentslm.stand_in.har import HarCorpus, measured_sentences
from sadt_ray.opentslm.stand_in.heartbeats import RHYTHMS, _simulate_beat, simulated_recording
from sadt_ray.opentslm.stand_in.sleep import SleepCorpus
from sadt_ray.opentslm.stand_in.tsqa import OPTIONS, TsqaCorpus, real_tsqa_problems
from sadt_ray.opentslm.stand_in.tsqa import QUESTIONS as TSQA_QUESTIONS

needs_data = pytest.mark.skipif(find_data("har/har_windows_50hz.csv") is None, reason="no data collection here")
REAL = {"har": HarCorpus, "sleep": SleepCorpus, "m4": CaptionCorpus}


@pytest.fixture(scope="module")
def spikes():
    """Beats that are a single sample each: every R peak of a recording can be counted."""
    beats = np.zeros((2, 12, 85))
    beats[:, :, 30] = 1.0
    return beats


@needs_data
@pytest.mark.parametrize("kind", REAL)
def test_no_source_is_in_two_splits(kind):
    corpus = REAL[kind](1)
    sources = [{p.extras["source"] for p in corpus.problems(split)} for split in SPLITS]
    assert all(sources)
    assert not sources[0] & sources[1]
    assert not sources[0] & sources[2]
    assert not sources[1] & sources[2]


@needs_data
def test_a_persons_recordings_stay_together():
    sources = {p.extras["source"] for split in SPLITS for p in HarCorpus(0).problems(split)}
    people = {source for source in sources if source.startswith("GeoTec")}
    assert people
    assert all(re.fullmatch(r"GeoTec s\d+", person) for person in people)


@needs_data
@pytest.mark.parametrize("kind", ["har", "sleep"])
def test_draws_to_learn_from_come_from_training_sources_alone(kind):
    corpus = REAL[kind](2)
    rng = np.random.default_rng(0)
    known = {p.extras["source"] for p in corpus.problems("train")}
    assert {corpus.draw(rng).extras["source"] for _ in range(200)} <= known


@needs_data
@pytest.mark.parametrize("kind", ["har", "sleep"])
def test_every_split_has_every_label(kind):
    corpus = REAL[kind](0)
    labels = [{p.extras["label"] for p in corpus.problems(split)} for split in SPLITS]
    assert labels[0] == labels[1] == labels[2]


@needs_data
def test_held_out_questions_are_the_same_every_time():
    first, second = (HarCorpus(0).problems("test") for _ in range(2))
    assert [p.extras["answer"] for p in first] == [p.extras["answer"] for p in second]


@needs_data
def test_texts_end_with_the_label_and_no_label_is_named_before():
    for problem in HarCorpus(0).problems("test")[:60]:
        reasons, label = problem.extras["answer"].split(" Answer: ")
        assert label == problem.extras["label"]
        assert not any(answer in reasons for answer in problem.conditioning.answers)


@settings(max_examples=30, deadline=None)
@given(gain=st.floats(1e-3, 1e4), shift=st.floats(-100, 100), seed=st.integers(0, 1000))
def test_words_about_a_window_do_not_depend_on_its_unit(gain, shift, seed):
    window = np.random.default_rng(seed).standard_normal((3, 128)).cumsum(1)
    moved = gain * window + shift
    one, two = (measured_sentences(x - x.mean(1, keepdims=True), np.random.default_rng(7)) for x in (window, moved))
    assert one == two


def test_a_rhythm_of_three_hertz_is_called_so():
    window = np.tile(np.sin(2 * np.pi * 3 * np.arange(128) / 50), (3, 1))
    assert "near 3 Hz" in " ".join(measured_sentences(window, np.random.default_rng(0)))


@pytest.mark.parametrize("period", [8, 12, 24])
def test_a_caption_names_the_period_and_the_trend_of_the_series(period):
    time = np.arange(120)
    text, clues = caption(50 + 3 * np.sin(2 * np.pi * time / period) - time / 15, np.random.default_rng(0))
    assert f"{period} samples" in text
    assert "falls" in text
    assert clues["trend"] < 2


def test_a_caption_of_noise_claims_no_clear_season():
    text, _ = caption(np.random.default_rng(0).standard_normal(256), np.random.default_rng(0))
    assert "clear" not in text
    assert "regular" not in text


def test_series_without_any_rhythm_have_captions_too():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        for series in (rng.standard_normal(64).cumsum(), np.arange(64) ** 2.0, np.zeros(64)):
            text, _ = caption(series, rng)
            assert text.count(".") == 4


def test_tsqa_answers_use_all_three_options_equally():
    counts = Counter(p.extras["label"] for p in TsqaCorpus(0).problems("test"))
    assert set(counts) == set(OPTIONS)
    assert max(counts.values()) < 1.35 * min(counts.values())


def test_a_series_with_an_upward_trend_goes_up():
    for problem in TsqaCorpus(0).problems("test"):
        if problem.extras["task"] == "Trend":
            slope = np.polyfit(np.linspace(0, 1, len(problem.context)), problem.context, 1)[0]
            assert {"(a)": abs(slope) < 1.1, "(b)": slope > 0.6, "(c)": slope < -0.6}[problem.extras["label"]]


@needs_data
def test_generated_questions_have_the_wording_of_the_public_rows():
    real = real_tsqa_problems()
    assert {p.conditioning.pre for p in real} == set(TSQA_QUESTIONS.values())
    assert "(a)" not in {p.extras["label"] for p in real}


def test_seeds_of_splits_and_of_training_give_different_series():
    corpus = TsqaCorpus(0)
    rng = np.random.default_rng(0)
    drawn = {tuple(corpus.draw(rng).context[:4]) for _ in range(50)}
    held = {tuple(p.context[:4]) for split in SPLITS for p in corpus.problems(split)}
    assert not drawn & held


def test_a_recording_has_the_beats_its_interval_says(spikes):
    rng = np.random.default_rng(0)
    regular = [r for r in (simulated_recording(rng, spikes) for _ in range(200)) if not r.noises and not r.ectopic]
    for recording in regular:
        if recording.rhythm in RHYTHMS[:3]:
            beats = np.sum(recording.leads[0] > 0.3)
            assert abs(beats - 10 / recording.interval) <= 1.5


def test_rhythms_have_the_rates_that_define_them(spikes):
    rng = np.random.default_rng(1)
    ranges = {"sinus bradycardia": "above", "sinus tachycardia": "below", "sinus rhythm": "within"}
    for _ in range(100):
        recording = simulated_recording(rng, spikes)
        if recording.rhythm in ranges:
            assert range_of(recording.interval).startswith(ranges[recording.rhythm])


def test_questions_on_recordings_are_answered_evenly_and_rightly(spikes):
    problems = EcgCorpus(0, spikes).problems("test")
    verify = Counter(p.extras["label"] for p in problems if p.extras["question_type"] == "single-verify")
    assert abs(verify["yes"] - verify["no"]) < 0.3 * sum(verify.values())
    assert {p.extras["question"] for p in problems} == {question.text for question in QUESTIONS}
    for problem in problems:
        if problem.extras["question"].startswith("Does this ECG show baseline drift"):
            assert ("wandering" in problem.extras["answer"]) == (problem.extras["label"] == "yes")


@given(count=st.integers(1, 60), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=30)
def test_parts_hold_the_shares_that_were_asked_for(count, seed):
    splits = Counter(parted(range(count), np.random.default_rng(seed), (0.15, 0.35)))
    assert splits["test"] == round(0.35 * count)
    assert splits["validation"] == round(0.15 * count)


@needs_data
def test_real_records_are_asked_for_the_rhythm_they_were_diagnosed_with():
    problems = real_ecg_problems()
    assert len({p.extras["source"] for p in problems}) == 7
    rhythms = {p.extras["source"]: p.extras["label"] for p in problems if "What rhythm" in p.extras["question"]}
    for problem in problems:
        if "tachycardia" in problem.extras["question"]:
            expected = "yes" if rhythms[problem.extras["source"]] == "sinus tachycardia" else "no"
            assert problem.extras["label"] == expected


@pytest.mark.slow  # neurokit2 takes seconds to import
def test_a_simulated_beat_has_its_peak_where_recordings_expect_it():
    pytest.importorskip("neurokit2")
    beat = _simulate_beat(0)
    assert beat.shape == (12, 85)
    assert abs(int(beat[0].argmax()) - 30) <= 1
    np.testing.assert_allclose(beat[:, [0, -1]], 0.0, atol=1e-9)
