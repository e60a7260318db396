"""What a stand-in learns from: questions with a written answer, made from real windows or from a generator."""

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
    """Questions of one stage, parted by source.

    Attributes:
        stage: 1 to 5.
        clues: what the encoder's warm-up learns to tell beside measurements: the number of classes by name.
    """

    stage: int
    clues: Mapping[str, int]

    def draw(self, rng: np.random.Generator) -> Problem:
        """A training question, augmented and with freshly chosen words; its text to learn is ``extras["answer"]``,
        and ``extras["clues"]`` says the class of every clue that is known of it."""

    def problems(self, split: Split) -> list[Problem]:
        """The questions of a split as they are; no source is in two splits."""


def parted(sources: Sequence[str], rng: np.random.Generator, shares: tuple[float, float] = (0.15, 0.35)) -> list[Split]:
    """A split for each source: of these, which are alike, a share for validation and a share for the test."""
    splits: list[Split] = ["train"] * len(sources)
    order = rng.permutation(len(sources))
    validation, test = (round(share * len(sources)) for share in shares)
    for rank, i in enumerate(order[: validation + test]):
        splits[i] = "test" if rank < test else "validation"
    return splits


def one_of(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def grade(value: float, limits: Sequence[float], words: Sequence[str]) -> str:
    """The word for a value: ``words[i]`` where i of the ascending limits lie at or below it."""
    assert len(words) == len(limits) + 1
    return words[int(np.searchsorted(limits, value, side="right"))]


def with_extras(problem: Problem, **extras: Any) -> Problem:
    return Problem(problem.name, problem.context, problem.conditioning, problem.truth, {**problem.extras, **extras})
