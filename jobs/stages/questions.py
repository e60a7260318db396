"""What a stage's model is asked: what a stand-in has not seen, upstream's own test part, or a file of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from jobs.stages.job import StageJob
from sadt_ray.data.etth1 import DataNotFound
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data.load import load_stage
from sadt_ray.opentslm.stand_in.library import (
    find_or_train_stand_in,
    find_stand_in,
    held_out_problems,
    stand_in_name,
    stand_in_record,
    training_problems,
)

_QUESTIONS = 32  # of a stage's data, if nobody says otherwise


class Questions(NamedTuple):
    """Of the search, and how to come by those of the training split."""

    asked: list[Problem]
    training: Callable[[], Sequence[Problem]]
    note: str = ""


def stand_in(job: StageJob, console: Console) -> Path:
    """The stage's own, trained now if it is not there yet."""
    if find_stand_in(job.spec.number, job.seed) is None:
        console.print(f"Training a stand-in for stage {job.spec.number} ({job.spec.name}); this takes a few minutes.")
    return find_or_train_stand_in(job.spec.number, job.seed)


def check_stage(job: StageJob, trained_as: Mapping[str, Any], checkpoint: str | Path) -> None:
    """Raises ValueError for a stand-in of another stage."""
    made_for = stand_in_name(trained_as.get("stage", job.spec.name))
    if made_for != job.spec.name:
        raise ValueError(
            f"the stand-in {checkpoint} was made for {made_for}, not for stage {job.spec.number} ({job.spec.name}); "
            "leave --checkpoint out for the stage's own"
        )


def training_questions(job: StageJob) -> Sequence[Problem]:
    """What the job's templates are fitted on."""
    return questions(job, stand_in_record(job.checkpoint or stand_in(job, Console(quiet=True)))).training()


def questions(job: StageJob, trained_as: Mapping[str, Any] | None) -> Questions:
    """Of a file, all: who has one wants it answered; templates then come from the stage's own training part.

    Args:
        trained_as: the record of a stand-in, None for a published model. What a stand-in has seen follows from the seed
            that it was trained with, whatever the search's is. Where what it was made for is not on this machine, it
            is asked what published models are asked.

    Raises:
        DataNotFound: where the data are nowhere, with the ways out.
    """
    if job.data_file is not None:
        return _of_file(job, job.data_file)
    if job.split == "all":
        raise ValueError("--split all answers a --data-file; of the stage's own data choose train, validation or test")
    if trained_as is None:
        return _published(job)
    try:
        return _unseen(job, int(trained_as.get("seed", job.seed)))
    except DataNotFound as missing:
        try:
            note = "What the stand-in was made for is not on this machine: these are upstream's questions."
            return _published(job)._replace(note=note)
        except DataNotFound:
            raise DataNotFound(f"{missing}\nStage 1 needs no data: its stand-in's questions are generated.") from None


def _of_file(job: StageJob, file: Path) -> Questions:
    split, number = job.split or "all", job.spec.number
    asked = spread(load_stage(number, split, file), job.num_examples)
    return Questions(asked, partial(load_stage, number, "train", None if split == "all" else file))


def _unseen(job: StageJob, seed: int) -> Questions:
    number, split = job.spec.number, job.split or "test"
    seen = partial(training_problems, number, seed)
    assert split != "all", "refused above"
    held_out = seen() if split == "train" else held_out_problems(number, seed, None, split)
    return Questions(spread(held_out, job.num_examples or _QUESTIONS), seen)


def _published(job: StageJob) -> Questions:
    published = partial(load_stage, job.spec.number, published=True)
    return Questions(
        spread(published(job.split or "test"), job.num_examples or _QUESTIONS), partial(published, "train")
    )


def spread(problems: Sequence[Problem], count: int | None) -> list[Problem]:
    """So many of them, evenly over all. Raises ValueError if there are none."""
    if not len(problems):
        raise ValueError("there are no questions in this split")
    if count is None or count >= len(problems):
        return list(problems)
    return [problems[i * len(problems) // count] for i in range(count)]
