"""The questions of a stage: those that a stand-in has not seen, upstream's own test part, or a file of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data.load import load_stage
from sadt_ray.opentslm.settings import StageSettings
from sadt_ray.opentslm.stand_in.library import held_out_problems, stand_in_name, training_problems

_QUESTIONS = 32  # of a stage's own data, by default


class Questions(NamedTuple):
    """The questions of a search.

    Attributes:
        asked: the questions.
        training: loads the questions of the training split.
        note: a sentence about their origin; empty where there is nothing to say.
    """

    asked: list[Problem]
    training: Callable[[], Sequence[Problem]]
    note: str = ""


def check_stand_in(settings: StageSettings, record: Mapping[str, Any], checkpoint: str | Path) -> None:
    """Raises ValueError if the record of a stand-in names another stage."""
    made_for = stand_in_name(record.get("stage", settings.spec.name))
    if made_for != settings.spec.name:
        raise ValueError(
            f"the stand-in {checkpoint} was made for {made_for}, not for stage {settings.spec.number} "
            f"({settings.spec.name}); leave --checkpoint out for the stage's own"
        )


def choose_questions(settings: StageSettings, record: Mapping[str, Any] | None) -> Questions:
    """Choose the questions of a search.

    A data file is answered whole, unless the settings say otherwise; its training split is that of the file, or that
    of the stage's own data if all of the file is asked. A stand-in is asked questions that it has not seen in
    training: these follow from the seed it was trained with, whatever the seed of the search is. If its data are not
    on this machine, it is asked upstream's questions, as published models are.

    Args:
        record: what the model was trained as if it is a stand-in; None for a published model.

    Raises:
        DataNotFound: if the data cannot be found; the message says how to get some.
        ValueError: for the split ``all`` without a data file.
    """
    if settings.data_file is not None:
        return _of_file(settings, settings.data_file)
    if settings.split == "all":
        raise ValueError("--split all needs a --data-file; of the stage's own data choose train, validation or test")
    if record is None:
        return _published(settings)
    try:
        return _unseen(settings, int(record.get("seed", settings.seed)))
    except DataNotFound as missing:
        try:
            note = "The data that the stand-in was made for are not on this machine: these are upstream's questions."
            return _published(settings)._replace(note=note)
        except DataNotFound:
            raise DataNotFound(f"{missing}\nStage 1 needs no data: its stand-in's questions are generated.") from None


def _of_file(settings: StageSettings, file: Path) -> Questions:
    split, number = settings.split or "all", settings.spec.number
    asked = spread(load_stage(number, split, file), settings.num_examples)
    return Questions(asked, partial(load_stage, number, "train", None if split == "all" else file))


def _unseen(settings: StageSettings, seed: int) -> Questions:
    number, split = settings.spec.number, settings.split or "test"
    seen = partial(training_problems, number, seed)
    assert split != "all", "refused above"
    held_out = seen() if split == "train" else held_out_problems(number, seed, None, split)
    return Questions(spread(held_out, settings.num_examples or _QUESTIONS), seen)


def _published(settings: StageSettings) -> Questions:
    published = partial(load_stage, settings.spec.number, published=True)
    asked = spread(published(settings.split or "test"), settings.num_examples or _QUESTIONS)
    return Questions(asked, partial(published, "train"))


def spread(problems: Sequence[Problem], count: int | None) -> list[Problem]:
    """``count`` problems, evenly spaced; all of them for None. Raises ValueError if there are none."""
    if not len(problems):
        raise ValueError("there are no questions in this split")
    if count is None or count >= len(problems):
        return list(problems)
    return [problems[i * len(problems) // count] for i in range(count)]
