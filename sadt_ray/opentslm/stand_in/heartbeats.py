"""Twelve-lead recordings assembled from simulated beats in a millisecond, with any rhythm and noise.

neurokit2 simulates twelve leads by McSharry's model, which takes a second per ten seconds of recording. A dozen of its
beats are cached; a recording places them at the intervals of a rhythm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from sadt_ray.opentslm.stage_spec import LEADS
from sadt_ray.opentslm.stand_in.files import stand_in_directory

RATE = 100
SAMPLES = 1000
RHYTHMS = ("sinus rhythm", "sinus bradycardia", "sinus tachycardia", "sinus arrhythmia", "atrial fibrillation")
NOISES = ("baseline drift", "static noise", "burst noise")
_BEFORE, _AFTER = 30, 55  # samples of a beat before and after its R peak
_BEATS = 12
_SECONDS = {  # between beats, lowest and highest of a recording's mean
    "sinus rhythm": (0.64, 0.96),
    "sinus bradycardia": (1.06, 1.45),
    "sinus tachycardia": (0.42, 0.57),
    "sinus arrhythmia": (0.66, 0.95),
    "atrial fibrillation": (0.5, 0.95),
}


@dataclass(frozen=True)
class Recording:
    """A simulated recording and its properties.

    Attributes:
        leads: [12, 1000] in mV, at 100 Hz.
        rhythm: one of ``RHYTHMS``.
        interval: mean time between beats in seconds.
        ectopic: number of early, wide beats.
        noises: its kinds of noise, from ``NOISES``.
    """

    leads: Float[np.ndarray, "12 T"]
    rhythm: str
    interval: float
    ectopic: int
    noises: tuple[str, ...]


def simulated_recording(rng: np.random.Generator, beats: Float[np.ndarray, "N 12 B"]) -> Recording:
    """Simulate a recording with a random rhythm and random noise, from beats as ``simulated_beats`` returns them."""
    rhythm = RHYTHMS[int(rng.integers(len(RHYTHMS)))]
    intervals = _intervals(rhythm, rng)
    ectopic = rng.random() < 0.3
    early = set(rng.choice(np.arange(2, max(3, len(intervals) - 2)), 2).tolist()) if ectopic else set()
    leads = _laid_out(beats, intervals, early, rhythm, rng)
    noises = tuple(noise for noise in NOISES if rng.random() < 0.35)
    for noise in noises:
        leads += _noise(noise, rng)
    leads += 0.01 * rng.standard_normal(leads.shape)
    return Recording(leads, rhythm, float(intervals.mean()), len(early), noises)


def _intervals(rhythm: str, rng: np.random.Generator) -> Float[np.ndarray, " N"]:
    """Times between beats in seconds, for at least ten and a half seconds."""
    mean = rng.uniform(*_SECONDS[rhythm])
    count = int(11 / mean) + 2
    spread = 0.01 * rng.standard_normal(count)
    if rhythm == "sinus arrhythmia":
        spread += 0.22 * np.sin(2 * np.pi * (mean * np.arange(count) / rng.uniform(3.0, 5.0) + rng.random()))
    if rhythm == "atrial fibrillation":
        spread = 0.25 * rng.standard_normal(count)
    return mean * np.clip(1 + spread, 0.55, 1.7)


def _laid_out(
    beats: np.ndarray, intervals: np.ndarray, early: set[int], rhythm: str, rng: np.random.Generator
) -> Float[np.ndarray, "12 T"]:
    beat = beats[int(rng.integers(len(beats)))] * np.exp(0.2 * rng.standard_normal((len(LEADS), 1)))
    beat[:, _BEFORE - 6 : _BEFORE + 7] += _complexes(rng) * beat[:1, _BEFORE - 6 : _BEFORE + 7]
    if rhythm == "atrial fibrillation":
        beat[:, : _BEFORE - 6] *= 0.1  # no P wave
    leads = np.zeros((len(LEADS), SAMPLES + 4 * _AFTER))
    times = np.cumsum(intervals) - rng.uniform(0, intervals[0])
    for number, time in enumerate(times):
        at = int((time - (0.3 * intervals[number] if number in early else 0.0)) * RATE)
        if at >= 0 and at + _BEFORE + _AFTER + 60 < leads.shape[1]:
            shape = _wide(beat) if number in early else beat
            leads[:, at : at + shape.shape[1]] += shape
    leads = leads[:, _BEFORE : _BEFORE + SAMPLES]
    if rhythm == "atrial fibrillation":
        phase = (
            2
            * np.pi
            * (rng.uniform(5, 8) * np.arange(SAMPLES) / RATE + 0.4 * np.cumsum(rng.standard_normal(SAMPLES)) / 10)
        )
        leads = leads + 0.04 * np.sin(phase) * rng.uniform(0.5, 1.5, (len(LEADS), 1))
    return leads


def _complexes(rng: np.random.Generator) -> Float[np.ndarray, "12 1"]:
    """Share of the first lead's QRS that is added to each lead, because simulated ones are smaller than real ones."""
    usual = np.array([0.0, 0.8, 0.4, -0.6, 0.0, 0.6, -0.5, -0.3, 0.3, 0.6, 0.7, 0.6])
    return (usual * rng.uniform(0.3, 1.3) + 0.25 * rng.standard_normal(len(LEADS)))[:, None]


def _wide(beat: Float[np.ndarray, "12 B"]) -> Float[np.ndarray, "12 W"]:
    """A ventricular beat: no P wave, and a QRS that is inverted, larger and 2.5 times as long."""
    core = beat[:, _BEFORE - 6 : _BEFORE + 12]
    positions = np.linspace(0, core.shape[1] - 1, 45)
    stretched = np.array([np.interp(positions, np.arange(core.shape[1]), lead) for lead in core])
    return np.concatenate([np.zeros((len(beat), _BEFORE - 15)), -1.6 * stretched], 1)


def _noise(kind: str, rng: np.random.Generator) -> Float[np.ndarray, "12 T"]:
    time = np.arange(SAMPLES) / RATE
    size = rng.uniform(0.6, 1.4, (len(LEADS), 1))
    if kind == "baseline drift":
        return 0.3 * size * np.sin(2 * np.pi * (rng.uniform(0.1, 0.3) * time + rng.random((len(LEADS), 1))))
    noise = size * rng.standard_normal((len(LEADS), SAMPLES))
    if kind == "static noise":
        return 0.07 * noise
    centre, width = rng.uniform(1.5, 8.5), rng.uniform(0.3, 0.7)
    return 0.35 * noise * (np.abs(time - centre) < width)


def simulated_beats() -> Float[np.ndarray, "N 12 B"]:
    """A dozen beats of twelve leads in mV, from the user's cache. The first call simulates them in five seconds.

    Raises ModuleNotFoundError saying what to install if neurokit2 is missing.
    """
    return _beats_at(stand_in_directory() / "heartbeats.npy")


@cache
def _beats_at(path: Path) -> Float[np.ndarray, "N 12 B"]:
    if path.is_file():
        kept: np.ndarray = np.load(path)
        return kept
    beats = np.stack([_simulate_beat(seed) for seed in range(_BEATS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{np.random.default_rng().integers(1 << 30)}.npy")
    np.save(part, beats)
    part.replace(path)
    return beats


def _simulate_beat(seed: int) -> Float[np.ndarray, "12 B"]:
    """The mean beat of a recording around its R peaks, centred."""
    try:
        import neurokit2
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a stand-in for stage 5 learns from simulated recordings: install neurokit2 with "
            "`pip install sadt-ray[stand-in]`"
        ) from None
    frame = neurokit2.ecg_simulate(
        duration=4,
        sampling_rate=RATE,
        heart_rate=62,
        method="multileads",
        noise=0.0,
        random_state=seed,
        random_state_distort=seed,
    )
    leads = frame.to_numpy().T
    sharp = leads[0] - np.median(leads[0])  # the lead in which the R peak is highest above the T wave
    inner = range(_BEFORE, leads.shape[1] - _AFTER)
    peaks = [i for i in inner if sharp[i] > 0.6 * sharp.max() and sharp[i] == sharp[i - 20 : i + 21].max()]
    beat = np.mean([leads[:, i - _BEFORE : i + _AFTER] for i in peaks], axis=0)
    edge = np.hanning(20)[:10]
    window = np.concatenate([edge, np.ones(beat.shape[1] - 20), edge[::-1]])
    shape = np.random.default_rng(seed).uniform(0.6, 1.5, (len(LEADS), 1))
    return (beat - np.median(beat, axis=1, keepdims=True)) * window * shape
