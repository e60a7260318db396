"""The first step of every stage run: find the model, choose the questions, bind one to the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sadt_ray.numerics.device import check_device
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.questions import Questions, check_stand_in, choose_questions
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.stand_in.library import WHAT, find_or_train_stand_in, find_stand_in, stand_in_record
from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.process import CausalLMProcess, Loader


@dataclass(frozen=True)
class StageSetup:
    """A model and its questions.

    Attributes:
        process: the prior; answers are enumerated.
        questions: what is asked, and the training split.
        is_stand_in: whether the model is a stand-in for OpenTSLM.
        notes: sentences that belong beside every result.
    """

    process: CausalLMProcess
    questions: Questions
    is_stand_in: bool
    notes: list[str] = field(default_factory=list)


def set_up_stage(settings: StageSettings, tell: Callable[[str], None] = print, device: str = "cpu") -> StageSetup:
    """Find the model of a stage and choose its questions.

    Args:
        tell: receives messages for the user, such as that a stand-in is trained now.
        device: of the model in this process: cpu, cuda, cuda:1 ...

    Raises:
        ValueError, OSError: if the model or the questions cannot be had; the message says what to do.
    """
    checkpoint = settings.checkpoint if settings.checkpoint is not None else _stand_in(settings, tell)
    record = stand_in_record(checkpoint)
    if record is not None:
        check_stand_in(settings, record, checkpoint)
    questions = choose_questions(settings, record)
    process = _prior(settings, checkpoint, device)
    process.bind(questions.asked)  # refuses a model that cannot be loaded, and questions that it cannot read
    notes = [note for note in ("" if record is None else WHAT, questions.note) if note]
    return StageSetup(process, questions, record is not None, notes)


def _stand_in(settings: StageSettings, tell: Callable[[str], None]) -> Path:
    """The stage's own stand-in; it is trained now if there is none yet."""
    number, seed = settings.spec.number, settings.seed
    if find_stand_in(number, seed) is None:
        tell(f"Training a stand-in for stage {number} ({settings.spec.name}); this takes a few minutes.")
    return find_or_train_stand_in(number, seed)


def _prior(settings: StageSettings, checkpoint: str | Path, device: str) -> CausalLMProcess:
    """The prior on a device of this process. The pilot and all methods share its model."""
    check_device(device)
    arguments = {
        "source": str(checkpoint),
        "revision": settings.revision,
        "base": settings.base,
        "dtype": getattr(torch, settings.dtype),
        "compile": settings.compile,
    }
    return CausalLMProcess(
        Loader(load_opentslm, arguments),
        max_tokens=settings.max_tokens or settings.spec.max_tokens,
        blocks=Blocks(settings.blocks, settings.block_tokens, settings.num_blocks),
        sampling_temperature=settings.sampling_temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        device=device,
    )
