"""The verifier of a stage with answers: how far the vote, the spectrum and the claim itself can be trusted.

Its columns are the margins of agreement with a pilot's vote and of the spectral label reward, and an indicator of each
claim, since a model that often says *walking* is less often right when it does. On the HAR stand-in these three, fitted
on sources that neither model nor test had seen, were right for .68 of the test questions with four rationales, where
the vote was for .60 and the templates for .66 (303 windows, one seed); fitted on the sources that the model was trained
on, for .61: there the vote looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.rewards.stages.agreement import AgreementReward, Marginal
from sadt_ray.rewards.stages.answers import answers_of, claim_of, gold_label, prompt_of
from sadt_ray.rewards.stages.cross_fit import CrossFitted
from sadt_ray.rewards.stages.features import Feature, TextFeatures
from sadt_ray.rewards.stages.oracle import OracleAccuracy
from sadt_ray.rewards.stages.spectral_label import SpectralLabelReward
from sadt_ray.rewards.stages.templates import LabelTemplates
from sadt_ray.rewards.stages.verifier import Verifier, fit_verifier

Templates = LabelTemplates | CrossFitted[LabelTemplates]


def answer_features(
    marginals: Mapping[str, Marginal], templates: Templates | None = None, claims: Sequence[str] = ()
) -> TextFeatures:
    """Of problems that ``marginals`` has: those of a pilot, of as many rationales in training as in use."""
    features: dict[str, Feature] = {"agreement": AgreementReward(marginals)}
    if templates is not None:
        features["spectral-label"] = SpectralLabelReward(templates)
    return TextFeatures(features, tuple(claims))


def fit_answer_verifier(
    problems: Sequence[Problem],
    marginals: Mapping[str, Marginal],
    templates: Templates | None = None,
    folds: int = 5,
    ridge: float = 1.0,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> Verifier:
    """Learn from every answer of every problem, right or wrong; see ``fit_verifier``.

    Args:
        problems: with labels, of sources that the model was not trained on.
        templates: cross-fitted, if they were fitted on these sources.
    """
    claims = sorted({claim_of(problem, gold_label(problem)) for problem in problems})
    owner = np.repeat(np.arange(len(problems)), [len(answers_of(problem)) for problem in problems])
    texts = np.array([_saying(problem, answer) for problem in problems for answer in answers_of(problem)])
    right = OracleAccuracy().bind(problems)(texts, owner)
    features = answer_features(marginals, templates, claims)
    return fit_verifier(problems, texts, owner, right, features, folds, ridge, seed, facts)


def _saying(problem: Problem, answer: str) -> str:
    marker = prompt_of(problem).marker
    return f"{marker} {answer}" if marker else answer
