"""The log-likelihood of a text per token under a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import prompt_of, texts_of
from sadt_ray.processes.language.prompt import Prompt


@runtime_checkable
class TextLogProbs(Protocol):
    """Log-likelihoods of texts; ``processes.language.scoring.TextScoring`` computes them for any language model."""

    def __call__(self, prompt: Prompt, texts: Sequence[str]) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """log p(text | prompt) in nats, and the number of tokens of each text, its end included."""


@dataclass(frozen=True)
class LikelihoodReward:
    """r(text) = log p(text | prompt) / tokens, nats per token; label-free.

    Texts are tokenized and evaluated again; these evaluations belong to the reward calls and are not in ``nfe``. As the
    only reward it sharpens the prior, p^(1 + lambda / tokens): it prefers fluent texts, right or wrong.

    Attributes:
        log_probs: log-likelihoods of the prior, or of another model.
    """

    log_probs: TextLogProbs = field(repr=False)

    oracle = False

    def bind(self, problems: Sequence[Problem]) -> LikelihoodScorer:
        """Raises ValueError naming a problem without a prompt."""
        return LikelihoodScorer(self.log_probs, [prompt_of(problem) for problem in problems])


class LikelihoodScorer:
    """The likelihood reward bound to problems."""

    def __init__(self, log_probs: TextLogProbs, prompts: Sequence[Prompt]) -> None:
        self._log_probs, self._prompts = log_probs, tuple(prompts)

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]. Each prompt is evaluated once."""
        texts, rewards = texts_of(samples), np.empty(len(samples))
        for p in np.unique(problem):
            rows = np.flatnonzero(problem == p)
            log_probs, tokens = self._log_probs(self._prompts[p], [texts[row] for row in rows])
            rewards[rows] = log_probs / np.maximum(tokens, 1)
        return rewards
