"""S-ADT's spectral reward for answers: does the spectrum of the series fit the label that a text claims?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import AnswerScorer, AnswerValues, bind_answers, source_of
from sadt_ray.opentslm.rewards.cross_fit import CrossFitted
from sadt_ray.opentslm.rewards.templates import LabelTemplates


@dataclass(frozen=True)
class SpectralLabelReward:
    """r(text) = -spectral_weight mean_w |log S_c(w) - log E[S | claimed label](w)|, nats; at most 0.

    S_c is the spectrum of the observed series. The templates come from the training split, so the reward is label-free.
    It amounts to a template classifier, so report ``template_accuracy`` beside its results. An answer without a
    template gets the mean reward of the others. A text that claims no answer gets the lowest reward.

    Attributes:
        templates: the templates, or a cross-fit of them, from which each problem gets those that left out its source.
        spectral_weight: nats of reward per nat of mean log-spectral difference, at inverse temperature 1.
    """

    templates: LabelTemplates | CrossFitted[LabelTemplates] = field(repr=False)
    spectral_weight: float = 1.0

    oracle = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.spectral_weight):
            raise ValueError(f"spectral_weight must be a finite number, got {self.spectral_weight}")

    def bind(self, problems: Sequence[Problem]) -> AnswerScorer:
        """Compare each series with the templates. Raises ValueError naming a problem that does not fit."""
        return bind_answers(problems, self._values, "the spectral label reward")

    def _values(self, problem: Problem) -> AnswerValues:
        templates = self.templates
        if isinstance(templates, CrossFitted):
            templates = templates.of_source(source_of(problem))
        rewards = -self.spectral_weight * without_opinion(templates.distances(problem))
        return AnswerValues(rewards, float(rewards.min()))


def without_opinion(distances: Float[np.ndarray, " answers"]) -> Float[np.ndarray, " answers"]:
    """Replace unknown distances (NaN) by the mean of the known ones, or by 0 if there are none."""
    known = np.isfinite(distances)
    return np.where(known, distances, distances[known].mean() if known.any() else 0.0)
