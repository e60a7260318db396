"""The learned verifier: F_phi at test time, the probability that a text is right, from label-free features.

    F(text) = log P(right | text),    P = sigmoid(w . (features - mean) / scale + b)

It is a logistic regression on a few columns, trained on oracle rewards of rollouts and cross-fitted by source. It is
small on purpose: with few sources a larger verifier would memorise them, and without cross-fitting it would be
overconfident on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import log_expit, log_softmax

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import AnswerScorer, AnswerValues, answers_of, source_of
from sadt_ray.opentslm.rewards.cross_fit import CrossFitted, source_folds
from sadt_ray.opentslm.rewards.features import BoundFeatures, TextFeatures
from sadt_ray.opentslm.rewards.logistic import LogisticHead, fit_logistic, held_out_facts


@dataclass(frozen=True)
class Verifier:
    """Cross-fitted heads, and the features that they were trained on.

    Attributes:
        names: names of the features, in order.
        claims: claims with an indicator.
        heads: one head per fold of sources, and one of all sources.
        kind: ``"right"``: P of each text by itself. ``"choice"``: P over the answers of a problem, see ``choice``.
        facts: number of rows and sources, scores out of fold ..., as values that JSON can hold.
    """

    names: tuple[str, ...]
    claims: tuple[str, ...]
    heads: CrossFitted[LogisticHead]
    kind: Literal["right", "choice"] = "right"
    facts: Mapping[str, Any] = field(default_factory=dict)


def fit_verifier(
    problems: Sequence[Problem],
    texts: np.ndarray,
    owner: Int[np.ndarray, " n"],
    right: Float[np.ndarray, " n"],
    features: TextFeatures,
    folds: int = 5,
    ridge: float = 1.0,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> Verifier:
    """Fit a verifier to rollouts on the training split.

    Args:
        problems: labelled problems. Features that were fitted to them must be cross-fitted too. If possible, leave out
            sources that the model itself was trained on, because its votes are better there than on new sources.
        texts, owner: rollouts, and the number of the problem of each. Texts that claim no answer are left out.
        right: oracle reward of each text in [0, 1]: accuracy, or overlap with the gold caption.
        features: label-free features.
        folds: number of folds of sources.
        ridge: the penalty is ridge / 2 |w|^2 on the weights of standardised features, in nats.
        seed: seed of the folds.
        facts: further facts to record.

    Raises:
        ValueError: for rewards outside [0, 1], too few sources, or rows whose features are not finite.
    """
    right = np.asarray(right, dtype=float)
    if not ((right >= 0) & (right <= 1)).all():
        raise ValueError("a verifier learns whether texts are right: give oracle rewards in [0, 1]")
    bound = features.bind(problems)
    kept = bound.valid(texts, owner)
    rows, target = bound(texts[kept], owner[kept]), right[kept]
    if not np.isfinite(rows).all():
        raise ValueError("a feature is not finite for a text that claims an answer; give rewards with a floor")
    sources = np.array([source_of(problems[p]) for p in owner[kept]])
    fold_of = source_folds(sources.tolist(), folds, seed)
    fold = np.array([fold_of[source] for source in sources])
    heads = CrossFitted(
        fold_of,
        tuple(fit_logistic(rows[fold != k], target[fold != k], ridge) for k in range(folds)),
        fit_logistic(rows, target, ridge),
    )
    out_of_fold = np.empty(len(rows))
    for k, head in enumerate(heads.fits):
        out_of_fold[fold == k] = head.logits(rows[fold == k])
    about = {"rows": len(rows), "sources": len(fold_of), "folds": folds, "ridge": ridge, **(facts or {})}
    about |= held_out_facts(out_of_fold, target)
    return Verifier(tuple(features.features), features.claims, heads, facts=about)


@dataclass(frozen=True)
class VerifierReward:
    """r(text) = log P(right | text), nats, at least log ``floor``; log ``floor`` for texts that claim no answer.

    A problem of a source in the training data is scored by the head that left this source out.

    Attributes:
        verifier: the trained verifier.
        features: features with the names and claims of the training, on the problems of this search and its pilot.
        floor: lowest probability.

    Raises ValueError for features that differ from those of the training.
    """

    verifier: Verifier = field(repr=False)
    features: TextFeatures = field(repr=False)
    floor: float = 1e-3

    oracle = False

    def __post_init__(self) -> None:
        names, claims = tuple(self.features.features), self.features.claims
        if (names, claims) != (self.verifier.names, self.verifier.claims):
            raise ValueError(
                f"the verifier was trained on {', '.join(self.verifier.names)} and {len(self.verifier.claims)} claims, "
                f"but got {', '.join(names)} and {len(claims)} claims"
            )
        if self.features.margins == (self.verifier.kind == "choice"):
            raise ValueError(
                f"a verifier of kind {self.verifier.kind!r} reads features with margins={not self.features.margins}"
            )
        if not 0 < self.floor < 1:
            raise ValueError(f"the floor must be a probability above 0 and below 1, got {self.floor}")

    def bind(self, problems: Sequence[Problem]) -> VerifierScorer | AnswerScorer:
        """A table of answers if all features depend on the answer alone. Raises what a feature raises."""
        heads = [self.verifier.heads.of_source(source_of(problem)) for problem in problems]
        bound, lowest = self.features.bind(problems), float(np.log(self.floor))
        choice = self.verifier.kind == "choice"
        if not bound.of_answers_alone or not all(answers_of(problem) for problem in problems):
            if choice:
                raise ValueError("a verifier that chooses among answers needs answers, and features of these alone")
            return VerifierScorer(heads, bound, lowest)
        logits = [head.logits(bound.of_answers(p)) for p, head in enumerate(heads)]
        rewards = [log_softmax(values) if choice else log_expit(values) for values in logits]
        return AnswerScorer(problems, [AnswerValues(np.maximum(values, lowest), lowest) for values in rewards])


class VerifierScorer:
    """A verifier bound to problems."""

    def __init__(self, heads: Sequence[LogisticHead], features: BoundFeatures, lowest: float) -> None:
        self._heads, self._features, self._lowest = tuple(heads), features, lowest

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]."""
        rewards = np.full(len(samples), self._lowest)
        valid: Bool[np.ndarray, " B"] = self._features.valid(samples, problem)
        if valid.any():
            rows, owner = self._features(samples[valid], problem[valid]), problem[valid]
            logits = [float(self._heads[p].logits(row[None])[0]) for row, p in zip(rows, owner, strict=True)]
            rewards[valid] = np.maximum(log_expit(np.array(logits)), self._lowest)
        return rewards
