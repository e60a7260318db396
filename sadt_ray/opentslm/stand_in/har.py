"""Stage 3: windows of real accelerometers, with measured reasons and an impression that depends on the activity.

Sitting, standing and "stationary" cannot be distinguished in a normalised window, nor can the two directions on stairs.
So the stand-in knows four of the eight labels, with ``sitting`` for all still postures and ``walking_up`` for stairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pyarrow.csv
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data import normalised_har_by_window, stage_problem
from sadt_ray.opentslm.stand_in.corpus import Split, grade, one_of, parted, with_extras
from sadt_ray.opentslm.stand_in.files import data_file

LABELS = ("sitting", "walking", "running", "walking_up")
RATE = 50.0
_KNOWN_AS = {
    "sitting": "sitting",
    "standing": "sitting",
    "stationary": "sitting",
    "walking": "walking",
    "running": "running",
    "stairs": "walking_up",
}
_IMPRESSIONS = {
    "sitting": ("a body at rest", "a held posture"),
    "walking": ("an even gait on level ground", "a regular stride"),
    "running": ("a fast and forceful stride", "a hard repeated impact"),
    "walking_up": ("an effort against height", "a gait that is broken by steps"),
}
_HINDSIGHT = 0.7  # how often the impression fits the true label, as if the writer knew it


class HarCorpus:
    """Windows of 128 samples at 50 Hz from three public collections, split by recording or person."""

    stage = 3

    def __init__(self, seed: int = 0) -> None:
        self.clues: Mapping[str, int] = {"label": len(LABELS)}
        self._windows = _load_windows()
        self._seed = seed
        split_of = _split_sources([window[2] for window in self._windows], seed)
        self._members: dict[Split, list[int]] = {"train": [], "validation": [], "test": []}
        for i, (_, _, source) in enumerate(self._windows):
            self._members[split_of[source]].append(i)
        self._by_label = [[i for i in self._members["train"] if self._windows[i][1] == label] for label in LABELS]

    def draw(self, rng: np.random.Generator) -> Problem:
        """Draw a training question: half of the draws are balanced over labels, half follow their frequencies."""
        members = one_of(rng, self._by_label) if rng.random() < 0.5 else self._members["train"]
        i = one_of(rng, members)
        return self._problem(i, _augmented(self._windows[i][0], rng), rng)

    def problems(self, split: Split) -> list[Problem]:
        return [
            self._problem(i, self._windows[i][0], np.random.default_rng([self._seed, 3, i]))
            for i in self._members[split]
        ]

    def _problem(self, i: int, window: Float[np.ndarray, "3 T"], rng: np.random.Generator) -> Problem:
        _, label, source = self._windows[i]
        row = {f"{axis}_axis": values for axis, values in zip("xyz", window, strict=True)}
        row |= {"label": label, "rationale": rationale(window, label, rng)}
        problem = stage_problem(3, row, f"har/{i:04d}", source, RATE, normalised_har_by_window)
        return with_extras(problem, clues={"label": LABELS.index(label)})


def rationale(window: Float[np.ndarray, "3 T"], label: str, rng: np.random.Generator) -> str:
    """Four measured sentences, an impression and the answer."""
    centred = window - window.mean(1, keepdims=True)
    return " ".join((*measured_sentences(centred, rng), _impression(label, rng), f"Answer: {label}"))


def measured_sentences(centred: Float[np.ndarray, "3 T"], rng: np.random.Generator) -> list[str]:
    """Sentences about axes, roughness, rhythm and bursts, which can be checked and do not depend on the unit."""
    return [_axes(centred, rng), _roughness(centred, rng), _rhythm(centred, rng), _bursts(centred, rng)]


def _axes(centred: np.ndarray, rng: np.random.Generator) -> str:
    power = np.mean(centred**2, axis=1)
    share = power.max() / max(power.sum(), 1e-12)
    axis = "xyz"[int(power.argmax())]
    much = grade(share, (0.45, 0.65, 0.85), ("no more than a third", "about half", "most", "nearly all"))
    return one_of(
        rng,
        (f"The {axis}-axis carries {much} of the motion.", f"{much.capitalize()} of the motion is on the {axis}-axis."),
    )


def _roughness(centred: np.ndarray, rng: np.random.Generator) -> str:
    steps = np.median(np.abs(np.diff(centred, axis=1))) / max(float(centred.std()), 1e-9)
    word = grade(steps, (0.08, 0.16, 0.26, 0.4), ("very smooth", "smooth", "uneven", "rough", "very rough"))
    return one_of(rng, (f"The curves are {word}.", f"From sample to sample the signal is {word}."))


def _rhythm(centred: np.ndarray, rng: np.random.Generator) -> str:
    power = (np.abs(np.fft.rfft(centred * np.hanning(centred.shape[1]), axis=1)) ** 2).sum(0)[1:]
    peak = int(power.argmax())
    frequency = (peak + 1) * RATE / centred.shape[1]
    share = power[max(peak - 1, 0) : peak + 2].sum() / max(power.sum(), 1e-12)
    clear = grade(share, (0.25, 0.4, 0.6), ("hardly", "weakly", "clearly", "strongly"))
    hertz = grade(
        frequency, (0.6, 1.3, 2.1, 3.3, 6.0), ("below 0.6", "near 1", "near 2", "near 3", "near 5", "above 6")
    )
    return one_of(rng, (f"It repeats {clear}, {hertz} Hz.", f"A rhythm {hertz} Hz stands out {clear}."))


def _bursts(centred: np.ndarray, rng: np.random.Generator) -> str:
    size = np.sqrt((centred**2).sum(0))
    peaks = float((size > 2 * np.sqrt(np.mean(size**2))).mean())
    word = grade(peaks, (0.005, 0.03, 0.06), ("no", "a few", "several", "many"))
    return one_of(rng, (f"There are {word} bursts.", f"One sees {word} sudden bursts."))


def _impression(label: str, rng: np.random.Generator) -> str:
    """An impression that fits the label in 7 of 10 texts and any label in the others, so that it hints at the answer
    without deciding it."""
    kind = label if rng.random() < _HINDSIGHT else one_of(rng, LABELS)
    return f"As a whole this suggests {one_of(rng, _IMPRESSIONS[kind])}."


def _augmented(window: Float[np.ndarray, "3 T"], rng: np.random.Generator) -> Float[np.ndarray, "3 T"]:
    """Augment a window by pace, roll, reversal, signs, order and gain of axes, and noise; the activity stays."""
    x = np.roll(window - window.mean(1, keepdims=True), int(rng.integers(window.shape[1])), axis=1)
    if rng.random() < 0.5:
        x = x[:, ::-1]
    x = x[rng.permutation(3)] * rng.choice((-1.0, 1.0), (3, 1)) * np.exp(0.15 * rng.standard_normal((3, 1)))
    x = _at_pace(x, rng.uniform(0.85, 1.15))
    return x + 0.05 * rng.random() * x.std() * rng.standard_normal(x.shape)


def _at_pace(x: Float[np.ndarray, "3 T"], pace: float) -> Float[np.ndarray, "3 T"]:
    """The same motion faster or slower; the end of the window is filled by reflection."""
    last = x.shape[1] - 1
    times = last - np.abs((pace * np.arange(last + 1)) % (2 * last) - last)
    return np.stack([np.interp(times, np.arange(last + 1), axis) for axis in x])


def _load_windows() -> list[tuple[np.ndarray, str, str]]:
    """(window [3, 128], label, source) of each row whose activity has a label here."""
    table = pyarrow.csv.read_csv(
        data_file("har/har_windows_50hz.csv"), parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
    )
    return [
        (np.array([json.loads(row[f"{axis}_axis"]) for axis in "xyz"]), _KNOWN_AS[row["label"]], _person(row["source"]))
        for row in table.to_pylist()
        if row["label"] in _KNOWN_AS
    ]


def _person(source: str) -> str:
    """The person in the name of a GeoTec file, which has person and recording; other sources are unchanged."""
    return source.split("_")[0] if source.startswith("GeoTec") else source


def _split_sources(sources: list[str], seed: int) -> dict[str, Split]:
    """Split the sources of each collection and kind separately, so that each split has all activities."""
    rng = np.random.default_rng([seed, 33])
    groups: dict[str, list[str]] = {}
    for source in dict.fromkeys(sources):
        groups.setdefault(source.split("_")[0].rstrip("0123456789 "), []).append(source)
    return {source: split for group in groups.values() for source, split in zip(group, parted(group, rng), strict=True)}
