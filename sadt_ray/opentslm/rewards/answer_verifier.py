"""The verifier of a stage with answers. It weighs the vote, the spectral reward and the claim itself:

    F(answer) = log P(answer),    P(answer) proportional to vote(answer)^a exp(b r_S(answer) + c_claim)

c is needed because a model that says *walking* too often is right less often when it does, and a because a vote may be
overconfident. About seven numbers are fitted to a hundred labelled problems. On two stand-ins (four rationales, one
seed, fitted on validation problems) its accuracy was .69 (HAR, 303 windows) and .75 (sleep, 300 epochs); that of the
vote .60 and .68, that of the templates .66 and .56. Fitted on the sources of the model's own training it was .65 and
.70, because there the vote looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.agreement import AgreementReward, Marginal
from sadt_ray.opentslm.rewards.answers import claim_of, gold_label, source_of
from sadt_ray.opentslm.rewards.choice import fit_choice, held_out_choice, log_choice
from sadt_ray.opentslm.rewards.cross_fit import CrossFitted, source_folds
from sadt_ray.opentslm.rewards.features import Feature, TextFeatures
from sadt_ray.opentslm.rewards.logistic import LogisticHead
from sadt_ray.opentslm.rewards.oracle import is_gold
from sadt_ray.opentslm.rewards.spectral_label import SpectralLabelReward
from sadt_ray.opentslm.rewards.templates import LabelTemplates
from sadt_ray.opentslm.rewards.verifier import Verifier

Templates = LabelTemplates | CrossFitted[LabelTemplates]


def answer_features(
    marginals: Mapping[str, Marginal], templates: Templates | None = None, claims: Sequence[str] = ()
) -> TextFeatures:
    """The inputs of the verifier.

    Args:
        marginals: answer marginals of a pilot, with the same number of rationales in training and in use.
        templates: for the spectral reward; None leaves it out.
        claims: claims with an indicator each.
    """
    features: dict[str, Feature] = {"agreement": AgreementReward(marginals)}
    if templates is not None:
        features["spectral-label"] = SpectralLabelReward(templates)
    return TextFeatures(features, tuple(claims), margins=False)


def fit_answer_verifier(
    problems: Sequence[Problem],
    marginals: Mapping[str, Marginal],
    templates: Templates | None = None,
    folds: int = 5,
    ridge: float = 1.0,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> Verifier:
    """Fit a verifier to labelled problems; see ``choice`` and ``fit_verifier``.

    Args:
        problems: problems of sources that the model was not trained on.
        marginals: answer marginals of a pilot, by problem name.
        templates: templates for the spectral reward; cross-fitted, if they were fitted on these sources.
        folds: number of folds of sources.
        ridge: penalty on the weights, in nats.
        seed: seed of the folds.
        facts: further facts to record.

    Raises:
        ValueError: naming a problem without a label or a marginal; for too few sources.
    """
    claims = sorted({claim_of(problem, gold_label(problem)) for problem in problems})
    features = answer_features(marginals, templates, claims)
    bound, gold = features.bind(problems), np.array([is_gold(problem).argmax() for problem in problems])
    rows = [bound.of_answers(p) for p in range(len(problems))]
    sources = [source_of(problem) for problem in problems]
    fold_of = source_folds(sources, folds, seed)
    fold = np.array([fold_of[source] for source in sources])

    def fit(kept: Bool[np.ndarray, " n"]) -> LogisticHead:
        return fit_choice([row for row, wanted in zip(rows, kept, strict=True) if wanted], gold[kept], ridge)

    heads = CrossFitted(fold_of, tuple(fit(fold != k) for k in range(folds)), fit(fold >= 0))
    held_out = [log_choice(heads.fits[k], row) for k, row in zip(fold, rows, strict=True)]
    about = {"problems": len(problems), "sources": len(fold_of), "folds": folds, "ridge": ridge, **(facts or {})}
    about |= held_out_choice(held_out, gold)
    return Verifier(tuple(features.features), features.claims, heads, "choice", about)
