"""Stage 5: questions like those of ECG-QA about simulated recordings (rhythm, interval, noise, early beats).

Questions and answers follow ECG-QA's templates. The reasons describe the recording, and the answer follows from
reasons and question. The recordings are simulated, so a stand-in's scores say nothing about real electrocardiograms.
They are shown at 25 Hz instead of 100, so that a prompt has 750 patches instead of 3,000, which a model with a million
parameters cannot learn to use in minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data import stage_problem
from sadt_ray.opentslm.stage_spec import LEADS
from sadt_ray.opentslm.stand_in.corpus import SPLITS, Split, grade, one_of, with_extras
from sadt_ray.opentslm.stand_in.files import data_file
from sadt_ray.opentslm.stand_in.heartbeats import NOISES, RATE, RHYTHMS, Recording, simulated_beats, simulated_recording

_RANGES = ("above the normal range", "below the normal range", "within the normal range")
_NORMAL_INTERVAL = (0.6, 1.0)  # seconds
_EVERY = 4  # samples of a recording per sample of a question
_HELD_OUT = {"train": 200, "validation": 60, "test": 200}
_RHYTHM_ANSWERS = (
    "atrial fibrillation",
    "atrial flutter",
    "bigeminal pattern (unknown origin, supraventricular, or ventricular)",
    "none",
    "normal functioning artificial pacemaker",
    "sinus arrhythmia",
    "sinus bradycardia",
    "sinus rhythm",
    "sinus tachycardia",
    "supraventricular tachycardia",
)
_ASKED_RHYTHMS = ("sinus bradycardia", "sinus tachycardia", "sinus arrhythmia", "atrial fibrillation")


_SNOMED = {  # specific codes first, because a record may also be coded as sinus rhythm
    "426177001": "sinus bradycardia",
    "427084000": "sinus tachycardia",
    "426783006": "sinus rhythm",
}


class Question(NamedTuple):
    """One question.

    Attributes:
        template: number of a template of ECG-QA with the same answers.
        kind: question type of ECG-QA.
        text, answers: text and possible answers, as in a row of the data.
        answer: the answer for a recording.
    """

    template: int
    kind: str
    text: str
    answers: tuple[str, ...]
    answer: Callable[[Recording], str]


def _yes_or_no(template: int, text: str, true: Callable[[Recording], bool]) -> Question:
    return Question(template, "single-verify", text, ("no", "yes"), lambda recording: ("no", "yes")[true(recording)])


def _has_rhythm(rhythm: str) -> Callable[[Recording], bool]:
    return lambda recording: recording.rhythm == rhythm


def _has_noise(noise: str) -> Callable[[Recording], bool]:
    return lambda recording: noise in recording.noises


def range_of(interval: float) -> str:
    low, high = _NORMAL_INTERVAL
    return grade(interval, (low, high), (_RANGES[1], _RANGES[2], _RANGES[0]))


QUESTIONS: tuple[Question, ...] = (
    *(_yes_or_no(2, f"Does this ECG show symptoms of {rhythm}?", _has_rhythm(rhythm)) for rhythm in _ASKED_RHYTHMS),
    *(_yes_or_no(27, f"Does this ECG show {noise}?", _has_noise(noise)) for noise in NOISES),
    _yes_or_no(36, "Does this ECG show ventricular extrasystoles?", lambda recording: recording.ectopic > 0),
    Question(
        41,
        "single-choose",
        "What range does the rr interval of this ECG fall within?",
        _RANGES,
        lambda recording: range_of(recording.interval),
    ),
    Question(7, "single-query", "What rhythm does this ECG show?", _RHYTHM_ANSWERS, lambda recording: recording.rhythm),
)


class EcgCorpus:
    """Questions about simulated recordings; each is a source. The answers of a question are equally frequent.

    Args:
        seed: seed of the held-out questions.
        beats: beats that recordings consist of; ``simulated_beats()`` by default.
    """

    stage = 5

    def __init__(self, seed: int = 0, beats: Float[np.ndarray, "N 12 B"] | None = None) -> None:
        self.clues: Mapping[str, int] = {"rhythm": len(RHYTHMS), "range": 3, "ectopic": 2} | dict.fromkeys(NOISES, 2)
        self._seed = seed
        self._beats = simulated_beats() if beats is None else beats

    def draw(self, rng: np.random.Generator) -> Problem:
        return self._problem(rng, "ecg/draw")

    def problems(self, split: Split) -> list[Problem]:
        """The questions of a split, from random streams of their own."""
        return [
            self._problem(np.random.default_rng([self._seed, 55, SPLITS.index(split), i]), f"ecg/{split}/{i:04d}")
            for i in range(_HELD_OUT[split])
        ]

    def _problem(self, rng: np.random.Generator, name: str) -> Problem:
        question = _balanced_question(rng)
        recording, answer = self._recording_for(question, rng)
        text = f"{rationale(recording, rng)} Answer: {answer}"
        row = {
            "question": question.text,
            "possible_answers": question.answers,
            "leads": coarser(recording.leads),
            "clinical_context": "Simulated 12-lead ECG.",
            "template_id": question.template,
            "question_type": question.kind,
            "answer": answer,
            "rationale": text,
        }
        return with_extras(stage_problem(5, row, name, sampling_rate=RATE / _EVERY), clues=_clues(recording))

    def _recording_for(self, question: Question, rng: np.random.Generator) -> tuple[Recording, str]:
        """Draw an answer uniformly, and a recording with this answer."""
        possible = [answer for answer in question.answers if question.kind != "single-query" or answer in RHYTHMS]
        wanted = one_of(rng, possible)
        while True:
            recording = simulated_recording(rng, self._beats)
            if question.answer(recording) == wanted:
                return recording, wanted


def real_ecg_problems() -> list[Problem]:
    """Questions about rhythm on the PTB-XL records of the data collection with such a diagnosis: seven people.

    Raises DataNotFound if they are not on this machine.
    """
    table = pyarrow.parquet.read_table(data_file("ecg/ptbxl_records_100hz.parquet"))
    problems = []
    for record in table.to_pylist():
        codes = (record["dx_snomed"] or "").split(",")
        rhythm = next((rhythm for code, rhythm in _SNOMED.items() if code in codes), None)
        if rhythm is not None:
            problems += [_real_question(record, question, rhythm) for question in (*QUESTIONS[:2], QUESTIONS[-1])]
    return problems


def _real_question(record: Mapping[str, Any], question: Question, rhythm: str) -> Problem:
    answer = question.answer(Recording(np.empty((12, 0)), rhythm, 0.0, 0, ()))
    row = {
        "question": question.text,
        "possible_answers": question.answers,
        "leads": coarser(np.array([record[lead] for lead in LEADS])),
        "template_id": question.template,
        "question_type": question.kind,
        "answer": answer,
    }
    number = record["ecg_id"]
    return stage_problem(5, row, f"ecg/real/{number}/{question.text}", f"ptbxl {number}", RATE / _EVERY)


def coarser(leads: Float[np.ndarray, "12 T"]) -> Float[np.ndarray, "12 T//4"]:
    """Leads at 25 Hz, as means of four samples. A QRS complex is then two samples wide."""
    return leads.reshape(len(leads), -1, _EVERY).mean(2)


def rationale(recording: Recording, rng: np.random.Generator) -> str:
    """One sentence each about rate, regularity, P waves, early beats and noise."""
    return " ".join(
        (
            _rate(recording, rng),
            _regularity(recording, rng),
            _early_beats(recording, rng),
            _noises(recording, rng),
        )
    )


def _rate(recording: Recording, rng: np.random.Generator) -> str:
    seconds = f"{recording.interval:.1f}"
    return one_of(rng, (f"The beats come about every {seconds} s.", f"From beat to beat it takes about {seconds} s."))


def _regularity(recording: Recording, rng: np.random.Generator) -> str:
    kind = recording.rhythm
    if kind == "atrial fibrillation":
        return one_of(
            rng, ("The intervals have no order and no P waves.", "P waves are absent and the beat is chaotic.")
        )
    if kind == "sinus arrhythmia":
        return one_of(
            rng, ("The intervals swing slowly, with P waves.", "P waves precede beats that slow and quicken.")
        )
    return one_of(rng, ("The intervals are even, with P waves.", "P waves precede beats of equal distance."))


def _early_beats(recording: Recording, rng: np.random.Generator) -> str:
    if recording.ectopic:
        return one_of(rng, ("Some beats are early and wide.", "A wide beat comes too soon."))
    return one_of(rng, ("All beats have one shape.", "No beat differs from the others."))


def _noises(recording: Recording, rng: np.random.Generator) -> str:
    words = {
        "baseline drift": "a wandering baseline",
        "static noise": "a fine tremble",
        "burst noise": "a short disturbance",
    }
    seen = [words[noise] for noise in recording.noises]
    return (
        f"One sees {' and '.join(seen)}."
        if seen
        else one_of(rng, ("The recording is clean.", "There is no disturbance."))
    )


def _balanced_question(rng: np.random.Generator) -> Question:
    """A random question; half of them are yes-or-no questions."""
    verify = [question for question in QUESTIONS if question.kind == "single-verify"]
    return one_of(rng, verify) if rng.random() < 0.6 else one_of(rng, QUESTIONS[-2:])


def _clues(recording: Recording) -> dict[str, int]:
    return {
        "rhythm": RHYTHMS.index(recording.rhythm),
        "range": _RANGES.index(range_of(recording.interval)),
        "ectopic": int(recording.ectopic > 0),
    } | {noise: int(noise in recording.noises) for noise in NOISES}
