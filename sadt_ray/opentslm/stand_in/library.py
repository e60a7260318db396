"""The stand-in of each stage: its corpus, its settings, and its directory; it is trained on demand."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.model.save import CHECKPOINT, save_soft_prompt
from sadt_ray.opentslm.model.soft_prompt import SoftPromptModel
from sadt_ray.opentslm.stand_in.captions import CaptionCorpus
from sadt_ray.opentslm.stand_in.corpus import Corpus, Split
from sadt_ray.opentslm.stand_in.early_claims import EarlyClaimsCorpus
from sadt_ray.opentslm.stand_in.ecg import EcgCorpus
from sadt_ray.opentslm.stand_in.files import stand_in_directory
from sadt_ray.opentslm.stand_in.fit import FitStandInConfig, Report, fit_stand_in
from sadt_ray.opentslm.stand_in.har import HarCorpus
from sadt_ray.opentslm.stand_in.sleep import SleepCorpus
from sadt_ray.opentslm.stand_in.tsqa import TsqaCorpus

EARLY_CLAIMS = "early-claims"
RECORD = "stand_in.json"
VERSION = 1  # of training and corpora; cached stand-ins of other versions are not used
WHAT = (
    "A stand-in for OpenTSLM: a tiny model in its published format, trained on small public data and generators with "
    "synthetic rationales. These are not OpenTSLM's weights, and nothing that they score says how good OpenTSLM is."
)
SHIPPED = Path(__file__).resolve().parents[2] / "weights"
_NAMES = {1: "tsqa", 2: "m4", 3: "har", 4: "sleep", 5: "ecg"}
_CORPORA: dict[str, Callable[[int], Corpus]] = {
    "tsqa": TsqaCorpus,
    "m4": CaptionCorpus,
    "har": HarCorpus,
    "sleep": SleepCorpus,
    "ecg": EcgCorpus,
    EARLY_CLAIMS: EarlyClaimsCorpus,
}
_SETTINGS = {
    "tsqa": FitStandInConfig(warm_up_steps=400, text_steps=20, joint_steps=200),
    "m4": FitStandInConfig(warm_up_steps=200, joint_steps=240),
    "har": FitStandInConfig(warm_up_steps=300, joint_steps=200),
    "sleep": FitStandInConfig(warm_up_steps=400, joint_steps=240),
    "ecg": FitStandInConfig(
        warm_up_steps=240,
        warm_up_batch=12,
        text_steps=300,
        asks=True,
        joint_steps=180,
        batch=5,
    ),
    EARLY_CLAIMS: FitStandInConfig(warm_up_steps=0, text_steps=600, joint_steps=60),
}


def stand_in_name(stage: int | str) -> str:
    """The name of a stage: ``"har"`` for 3, ``"3"`` or ``"har"``. Raises ValueError listing the stages otherwise."""
    name = _NAMES.get(int(stage), "") if str(stage).isdigit() else str(stage)
    if name not in _CORPORA:
        known = ", ".join(f"{number} ({name})" for number, name in _NAMES.items())
        raise ValueError(f"there is no stand-in for stage {stage!r}; choose one of {known}, or {EARLY_CLAIMS}")
    return name


def corpus_of(stage: int | str, seed: int = 0) -> Corpus:
    """The corpus of a stage's stand-in. The seed determines the split of the sources."""
    return _corpus(stand_in_name(stage), seed)


@lru_cache(maxsize=8)
def _corpus(name: str, seed: int) -> Corpus:
    return _CORPORA[name](seed)


def settings_of(stage: int | str) -> FitStandInConfig:
    return _SETTINGS[stand_in_name(stage)]


def training_problems(stage: int | str, seed: int = 0) -> list[Problem]:
    """Questions of the sources that the stand-in of this seed is trained on, not augmented."""
    return corpus_of(stage, seed).problems("train")


def held_out_problems(
    stage: int | str, seed: int = 0, count: int | None = None, split: Split = "test"
) -> list[Problem]:
    """Questions of sources that the stand-in of this seed has not seen; ``split`` is ``"test"`` or ``"validation"``.

    With a count, that many questions, evenly spaced.
    """
    problems = corpus_of(stage, seed).problems(split)
    if count is None or count >= len(problems):
        return problems
    return [problems[i * len(problems) // count] for i in range(count)]


def find_or_train_stand_in(stage: int | str, seed: int = 0, report: Report | None = None) -> Path:
    """The directory of a stage's stand-in: the shipped one, a cached one, or one that is trained now and cached.

    Training takes minutes and calls ``report(phase, step, of, loss)`` at each step. Other processes of this user that
    need the same stand-in wait for it.
    """
    found = find_stand_in(stage, seed)
    if found is not None:
        return found
    target = _cached(stand_in_name(stage), seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        return find_stand_in(stage, seed) or train_stand_in(stage, seed, target, report=report)


def find_stand_in(stage: int | str, seed: int = 0) -> Path | None:
    """The directory of a shipped or cached stand-in; ``None`` if there is none."""
    name = stand_in_name(stage)
    places = [SHIPPED / f"stand-in-{name}"] if seed == 0 else []
    return next((place for place in (*places, _cached(name, seed)) if (place / CHECKPOINT).is_file()), None)


def stand_in_record(checkpoint: str | Path) -> dict[str, Any] | None:
    """The record of a stand-in (``stage, seed`` ...), given its directory or its checkpoint; None for other models."""
    path = Path(checkpoint).expanduser()
    record = (path.parent if path.is_file() else path) / RECORD
    return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else None


def train_stand_in(
    stage: int | str,
    seed: int,
    out: Path,
    settings: FitStandInConfig | None = None,
    report: Report | None = None,
) -> Path:
    """Train a stage's stand-in and write it to a directory, which appears complete or not at all; returns it."""
    settings = settings or settings_of(stage)
    model = fit_stand_in(corpus_of(stage, seed), settings, seed, report or silent)
    return save_stand_in(model, out, {"stage": stand_in_name(stage), "seed": seed, "settings": asdict(settings)})


def save_stand_in(model: SoftPromptModel, out: Path, record: dict[str, Any], compact: bool = False) -> Path:
    """Write a stand-in in the published layout, with its record. ``compact`` writes float16, half the size."""
    part = out.parent / f".{out.name}.{os.getpid()}.part"
    network = copy.deepcopy(model.network).half() if compact else model.network
    checkpoint = save_soft_prompt(part, model.encoder, model.projector, network=network, tokenizer=model.tokenizer)
    if compact:
        _halve(checkpoint)
    described = {"what": WHAT, "version": VERSION, **record}
    (part / RECORD).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if out.exists():
        shutil.rmtree(out)
    with contextlib.suppress(FileExistsError):
        out.parent.mkdir(parents=True)
    os.replace(part, out)
    return out


def _halve(checkpoint: Path) -> None:
    """Convert the numbers of a checkpoint to float16. Reading it converts them back to float32."""
    entries: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    for part in ("encoder_state", "projector_state"):
        entries[part] = {name: tensor.half() for name, tensor in entries[part].items()}
    torch.save(entries, checkpoint)


def _cached(name: str, seed: int) -> Path:
    return stand_in_directory() / f"{name}-seed{seed}-v{VERSION}"


def silent(phase: str, step: int, of: int, loss: float) -> None:
    """A ``Report`` that does nothing."""
