"""The training data of a stand-in: questions with written answers, from real windows or from a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from sadt_ray.interfaces import Problem

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
T = TypeVar("T")


@runtime_checkable
class Corpus(Protocol):
    """Questions of one stage, split by source.

    Attributes:
        stage: 1 to 5.
        clues: number of classes of each further target of the encoder's warm-up, by name.
    """

    stage: int
    clues: Mapping[str, int]

    def draw(self, rng: np.random.Generator) -> Problem:
        """Draw a training question, augmented and with random wording. ``extras["answer"]`` is the text to learn,
        ``extras["clues"]`` holds the classes of its known clues."""

    def problems(self, split: Split) -> list[Problem]:
        """The questions of a split, not augmented. No source is in two splits."""


def parted(sources: Sequence[str], rng: np.random.Generator, shares: tuple[float, float] = (0.15, 0.35)) -> list[Split]:
    """A random split for each source, with the given shares of validation and test."""
    splits: list[Split] = ["train"] * len(sources)
    order = rng.permutation(len(sources))
    validation, test = (round(share * len(sources)) for share in shares)
    for rank, i in enumerate(order[: validation + test]):
        splits[i] = "test" if rank < test else "validation"
    return splits


def one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def grade(value: float, limits: Sequence[float], words: Sequence[str]) -> str:
    """The word for a value: ``words[i]`` if i of the ascending limits are at most the value."""
    assert len(words) == len(limits) + 1
    return words[int(np.searchsorted(limits, value, side="right"))]


def with_extras(problem: Problem, **extras: Any) -> Problem:
    return Problem(problem.name, problem.context, problem.conditioning, problem.truth, {**problem.extras, **extras})
