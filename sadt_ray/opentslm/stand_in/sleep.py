"""Stage 4: thirty-second epochs of one night at 1 Hz, with measured reasons.

At one sample per second an EEG shows its slow waves only, and a single normalised channel hardly distinguishes the
stages (a random forest reaches .32). So the one series of the stage is a montage: the epoch's EEG (Fpz-Cz), then EOG,
EMG and breath, thirty samples each, scaled by constants so that their sizes stay comparable. A quarter of the training
questions show the EEG alone; the stand-in answers both kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow.parquet
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data import stage_problem
from sadt_ray.opentslm.stand_in.corpus import SPLITS, Split, grade, one_of, parted, with_extras
from sadt_ray.opentslm.stand_in.files import data_file

LABELS = ("Wake", "Non-REM stage 1", "Non-REM stage 2", "Non-REM stage 3", "REM sleep")
RATE = 1.0
_CHANNELS = {
    "EEG_Fpz_Cz": (0.0, 200.0),
    "EOG_horizontal": (0.0, 100.0),
    "EMG_submental": (950.0, 550.0),
    "Resp_oro_nasal": (250.0, 550.0),
}
_BLOCK = 10  # epochs; five minutes
_ALONE = 0.25
_HINDSIGHT = 0.6
_IMPRESSIONS = {
    "Wake": "an alert state",
    "Non-REM stage 1": "a passage into sleep",
    "Non-REM stage 2": "an established light sleep",
    "Non-REM stage 3": "a deep sleep of slow waves",
    "REM sleep": "an active sleep without muscle tone",
}


class SleepCorpus:
    """841 epochs. A source is a block of five minutes, so that few epochs have a neighbour in another split."""

    stage = 4

    def __init__(self, seed: int = 0) -> None:
        self.clues: Mapping[str, int] = {"label": len(LABELS)}
        self._seed = seed
        self._epochs, self._labels = _load_epochs()
        blocks = [f"SC4001E0 block {i // _BLOCK:02d}" for i in range(len(self._labels))]
        split_of = _split_blocks(blocks, self._labels, np.random.default_rng([seed, 44]))
        self._blocks = blocks
        self._members: dict[Split, list[int]] = {
            split: [i for i, block in enumerate(blocks) if split_of[block] == split] for split in SPLITS
        }
        self._by_label = [[i for i in self._members["train"] if self._labels[i] == label] for label in LABELS]

    def draw(self, rng: np.random.Generator) -> Problem:
        """Draw a training question; half of the draws are balanced over stages."""
        balanced = [members for members in self._by_label if members]
        i = one_of(rng, one_of(rng, balanced) if rng.random() < 0.5 else self._members["train"])
        epoch = _augmented(self._epochs[i], rng)
        return self._problem(i, epoch, rng, alone=rng.random() < _ALONE)

    def problems(self, split: Split) -> list[Problem]:
        return [
            self._problem(i, self._epochs[i], np.random.default_rng([self._seed, 4, i])) for i in self._members[split]
        ]

    def _problem(
        self, i: int, epoch: Float[np.ndarray, "4 30"], rng: np.random.Generator, alone: bool = False
    ) -> Problem:
        label = self._labels[i]
        row = {
            "time_series": (epoch[:1] if alone else epoch).ravel(),
            "label": label,
            "rationale": rationale(epoch, label, rng, alone),
        }
        problem = stage_problem(4, row, f"sleep/{i:04d}", self._blocks[i], RATE)
        return with_extras(problem, clues={"label": LABELS.index(label)})


def _split_blocks(blocks: list[str], labels: list[str], rng: np.random.Generator) -> dict[str, Split]:
    """Split the blocks of each most frequent stage separately, so that each split has all stages."""
    groups: dict[str, list[str]] = {}
    for block in dict.fromkeys(blocks):
        inside = Counter(label for its, label in zip(blocks, labels, strict=True) if its == block)
        groups.setdefault(inside.most_common(1)[0][0], []).append(block)
    return {block: split for group in groups.values() for block, split in zip(group, parted(group, rng), strict=True)}


def rationale(epoch: Float[np.ndarray, "4 30"], label: str, rng: np.random.Generator, alone: bool = False) -> str:
    """Measured sentences about the channels, an impression and the answer."""
    eeg, eog, emg, breath = epoch
    sentences = [_slow_waves(eeg, rng)]
    if not alone:
        sentences += [_eyes(eog, rng), _muscle(emg, rng), _breath(breath, rng)]
    kind = label if rng.random() < _HINDSIGHT else one_of(rng, LABELS)
    return " ".join((*sentences, f"Together this suggests {_IMPRESSIONS[kind]}.", f"Answer: {label}"))


def _slow_waves(eeg: np.ndarray, rng: np.random.Generator) -> str:
    size = grade(float(eeg.std()), (0.45, 0.75, 1.1, 1.6), ("very small", "small", "moderate", "large", "very large"))
    steps = grade(
        float(np.diff(eeg).std() / max(float(eeg.std()), 1e-6)),
        (1.2, 1.38, 1.55),
        ("drift", "roll", "alternate", "jump"),
    )
    return one_of(rng, (f"The slow waves are {size} and {steps}.", f"Slow activity is {size}; its values {steps}."))


def _eyes(eog: np.ndarray, rng: np.random.Generator) -> str:
    size = grade(float(eog.std()), (0.45, 0.8, 1.3), ("hardly move", "move a little", "move much", "move strongly"))
    return one_of(rng, (f"The eyes {size}.", f"In the eye channel one sees that they {size}."))


def _muscle(emg: np.ndarray, rng: np.random.Generator) -> str:
    tone = grade(float(emg.mean()), (-0.8, -0.2, 0.6), ("absent", "low", "present", "high"))
    return one_of(rng, (f"Muscle tone is {tone}.", f"The chin shows {tone} tone."))


def _breath(breath: np.ndarray, rng: np.random.Generator) -> str:
    even = grade(float(breath.std()), (0.5, 0.9, 1.2), ("flat", "shallow", "even", "deep"))
    return f"Breathing is {even}."


def _augmented(epoch: Float[np.ndarray, "4 30"], rng: np.random.Generator) -> Float[np.ndarray, "4 30"]:
    """Augment an epoch by roll, reversal, sign of EEG and EOG, small gains and noise."""
    x = np.roll(epoch, int(rng.integers(epoch.shape[1])), axis=1)
    if rng.random() < 0.5:
        x = x[:, ::-1]
    signs = np.array([rng.choice((-1, 1)), rng.choice((-1, 1)), 1, 1])[:, None]
    return signs * x * np.exp(0.08 * rng.standard_normal((4, 1))) + 0.05 * rng.standard_normal(x.shape)


def _load_epochs() -> tuple[np.ndarray, list[str]]:
    """Epochs [841, 4, 30] in units of the channels' scales, and their stages, with stage 4 as stage 3."""
    table = pyarrow.parquet.read_table(
        data_file("sleep/SC4001E0_psg_1hz_epochs.parquet"), columns=[*_CHANNELS, "label"]
    )
    channels = [
        (np.array(table[name].to_pylist(), float) - offset) / scale for name, (offset, scale) in _CHANNELS.items()
    ]
    return np.stack(channels, 1), [label.replace("stage 4", "stage 3") for label in table["label"].to_pylist()]
