"""The inputs of a verifier: label-free rewards of a text as columns, and indicators of the answer that it claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import (
    UNPARSABLE,
    AnswerScorer,
    AnswerValues,
    claim_of,
    claimed_answers,
    prompt_of,
)


@runtime_checkable
class Feature(Protocol):
    """Anything that is bound to problems and gives a number, or a row of numbers, per text. Every reward is one."""

    def bind(self, problems: Sequence[Problem]) -> Any: ...


@dataclass(frozen=True)
class TextFeatures:
    """Columns of features, in the order of their names.

    With ``margins``, a feature that is a table of answers enters as its *margin*: the difference between the claimed
    answer and the best other one. A value that all answers of a problem share does not tell which of them is right.

    Attributes:
        features: label-free rewards by name.
        claims: claims that get an indicator each, because the accuracy of a model may depend on its answer.
        margins: whether tables of answers enter as margins.

    Raises:
        ValueError: for a feature that reads the gold answer, or no feature at all.
    """

    features: Mapping[str, Feature]
    claims: tuple[str, ...] = ()
    margins: bool = True

    def __post_init__(self) -> None:
        if not self.features and not self.claims:
            raise ValueError("a verifier needs at least one feature")
        oracles = [name for name, feature in self.features.items() if getattr(feature, "oracle", False)]
        if oracles:
            raise ValueError(f"a verifier is used without labels, but {', '.join(oracles)} reads the gold answer")

    def bind(self, problems: Sequence[Problem]) -> BoundFeatures:
        """Raises what a feature raises."""
        return BoundFeatures(self, problems)


class BoundFeatures:
    """Features bound to problems."""

    def __init__(self, features: TextFeatures, problems: Sequence[Problem]) -> None:
        bound = {name: feature.bind(problems) for name, feature in features.features.items()}
        self._bound = {name: _with_margins(b, problems) if features.margins else b for name, b in bound.items()}
        self._prompts = [prompt_of(problem) for problem in problems]
        column = {claim: k for k, claim in enumerate(features.claims)}
        self._claims = [[column.get(claim_of(p, a), UNPARSABLE) for a in prompt_of(p).answers] for p in problems]
        self._num_claims = len(column)

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, "B F"]:
        """Columns of each text, [B, F]; finite where all features are."""
        columns = [np.asarray(f(samples, problem), float).reshape(len(samples), -1) for f in self._bound.values()]
        return np.concatenate([*columns, self._claimed(samples, problem)], axis=1)

    @property
    def of_answers_alone(self) -> bool:
        """Whether every column depends on the claimed answer alone."""
        return all(isinstance(bound, AnswerScorer) for bound in self._bound.values())

    def of_answers(self, problem: int) -> Float[np.ndarray, "answers F"]:
        """The rows of the answers of one problem; only if ``of_answers_alone``."""
        columns = [bound.of_answers(problem)[:, None] for bound in self._bound.values()]
        return np.concatenate([*columns, self._indicators(self._claims[problem])], axis=1)

    def valid(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> np.ndarray:
        """Which texts claim an answer, bool [B]; all captions do."""
        free = np.array([not self._prompts[p].answers for p in problem], dtype=bool)
        return free | (claimed_answers(samples, problem, self._prompts) != UNPARSABLE)

    def _claimed(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, "B claims"]:
        if not self._num_claims:
            return np.zeros((len(samples), 0))
        claimed = claimed_answers(samples, problem, self._prompts)
        pairs = zip(problem, claimed, strict=True)
        return self._indicators([UNPARSABLE if k == UNPARSABLE else self._claims[p][k] for p, k in pairs])

    def _indicators(self, columns: Sequence[int]) -> Float[np.ndarray, "n claims"]:
        return np.array([np.arange(self._num_claims) == column for column in columns], float).reshape(
            len(columns), self._num_claims
        )


def _with_margins(bound: Any, problems: Sequence[Problem]) -> Any:
    """A table of answers as a table of margins; any other feature unchanged."""
    if not isinstance(bound, AnswerScorer):
        return bound
    return AnswerScorer(problems, [AnswerValues(margins(bound.of_answers(p)), 0.0) for p in range(len(problems))])


def margins(values: Float[np.ndarray, " answers"]) -> Float[np.ndarray, " answers"]:
    """v_k - max_{j != k} v_j; 0 for a single answer."""
    if len(values) < 2:
        return np.zeros(len(values))
    second, best = np.sort(values)[-2:]
    return values - np.where(np.arange(len(values)) == int(values.argmax()), second, best)
