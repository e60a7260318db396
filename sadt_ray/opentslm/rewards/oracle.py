"""Rewards that read the gold answer, for upper bounds of a search and for training verifiers. Never deployable.

Each is the contribution of one text to a metric. The mean reward of a split is that metric (accuracy, BLEU, ROUGE-L) or
is related to it (F1, kappa; see there).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import (
    AnswerScorer,
    AnswerValues,
    answers_of,
    bind_answers,
    gold_label,
    texts_of,
)
from sadt_ray.opentslm.rouge_bleu import bleu, rouge_l

OVERLAPS: dict[str, Callable[[str, str], float]] = {"rouge-l": rouge_l, "bleu": bleu}


@dataclass(frozen=True)
class OracleAccuracy:
    """r = 1[claimed = gold]; its mean is the accuracy."""

    oracle = True

    def bind(self, problems: Sequence[Problem]) -> AnswerScorer:
        """Raises ValueError naming a problem without a label."""
        return bind_answers(problems, lambda problem: AnswerValues(is_gold(problem).astype(float), 0.0), "accuracy")


@dataclass(frozen=True)
class OracleF1:
    """r = 1[claimed = gold] / (K share(gold)) with K classes, so that all classes count equally.

    Macro-F1 is not a mean over texts. The mean of this reward, over texts whose gold labels have the shares ``shares``,
    is the mean recall of the classes (balanced accuracy).

    Attributes:
        shares: shares of the gold labels in the training split, see ``label_shares``.
    """

    shares: Mapping[str, float]

    oracle = True

    def bind(self, problems: Sequence[Problem]) -> AnswerScorer:
        """Raises ValueError naming a problem without a label, or with one that ``shares`` do not know."""
        return bind_answers(problems, self._values, "F1")

    def _values(self, problem: Problem) -> AnswerValues:
        share = _known_share(self.shares, problem)
        return AnswerValues(is_gold(problem) / (len(self.shares) * share), 0.0)


@dataclass(frozen=True)
class OracleKappa:
    """r = (1[claimed = gold] - p(claimed)) / (1 - sum_k p_k^2): agreement beyond chance.

    With p the shares of the gold labels, the mean of the numerator is exactly that of Cohen's kappa, p_o - p_e. The
    denominator is that of kappa if claims are as frequent as gold labels (Scott's pi).

    Attributes:
        shares: shares of the gold labels in the training split, see ``label_shares``.
    """

    shares: Mapping[str, float]

    oracle = True

    def bind(self, problems: Sequence[Problem]) -> AnswerScorer:
        """Raises ValueError naming a problem without a label, or with one that ``shares`` do not know."""
        return bind_answers(problems, self._values, "kappa")

    def _values(self, problem: Problem) -> AnswerValues:
        _known_share(self.shares, problem)
        chance = np.array([self.shares.get(answer, 0.0) for answer in answers_of(problem)])
        scale = 1 - sum(share**2 for share in self.shares.values())
        values = (is_gold(problem) - chance) / max(scale, 1e-9)
        return AnswerValues(values, float(min(0.0, values.min())))


@dataclass(frozen=True)
class OracleOverlap:
    """r = overlap of a text with the gold text, in [0, 1].

    Attributes:
        measure: ``rouge-l`` or ``bleu``, see ``sadt_ray.opentslm.rouge_bleu``.
    """

    measure: str = "rouge-l"

    oracle = True

    def __post_init__(self) -> None:
        if self.measure not in OVERLAPS:
            raise ValueError(f"unknown overlap {self.measure!r}; choose one of {', '.join(OVERLAPS)}")

    def bind(self, problems: Sequence[Problem]) -> OverlapScorer:
        """Raises ValueError naming a problem without a gold text."""
        for problem in problems:
            if not problem.extras.get("answer"):
                raise ValueError(f"problem {problem.name!r} has no gold text (answer) in its extras")
        return OverlapScorer(OVERLAPS[self.measure], [str(problem.extras["answer"]) for problem in problems])


class OverlapScorer:
    """The overlap reward bound to problems."""

    def __init__(self, measure: Callable[[str, str], float], gold: Sequence[str]) -> None:
        self._measure, self._gold = measure, gold

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]."""
        pairs = zip(texts_of(samples), problem, strict=True)
        return np.array([self._measure(text, self._gold[p]) for text, p in pairs], dtype=float)


def label_shares(problems: Sequence[Problem]) -> dict[str, float]:
    """Share of each gold label. Raises ValueError for no problems, or naming one without a label."""
    if not problems:
        raise ValueError("shares of labels need problems with labels, got none")
    counts = Counter(gold_label(problem) for problem in problems)
    return {label: count / len(problems) for label, count in sorted(counts.items())}


def is_gold(problem: Problem) -> np.ndarray:
    """Which answer of a problem is the gold one, bool [answers]. Raises ValueError if none is."""
    gold = np.array([answer == gold_label(problem) for answer in answers_of(problem)], dtype=bool)
    if not gold.any():
        raise ValueError(
            f"problem {problem.name!r}: its label {gold_label(problem)!r} is none of its answers, "
            f"{', '.join(answers_of(problem))}"
        )
    return gold


def _known_share(shares: Mapping[str, float], problem: Problem) -> float:
    share = shares.get(gold_label(problem), 0.0)
    if not share > 0:
        raise ValueError(
            f"problem {problem.name!r}: the label {gold_label(problem)!r} has no share in the training split, "
            f"which has {', '.join(shares)}"
        )
    return share
