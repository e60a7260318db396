"""Whether a text claims an answer at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import UNPARSABLE, claimed_answers, prompt_of, texts_of


@dataclass(frozen=True)
class FormatReward:
    """r = 0 for a text that claims an answer of its problem (a caption: that is not empty), else ``unparsable``.

    Without it, best-of-N selects texts that the other rewards cannot read.

    Attributes:
        unparsable: -inf excludes such texts from the target, a finite number only penalises them. Use a finite one if
            all texts of a search may be unparsable (an untrained model).

    Raises:
        ValueError: for a number that is not below 0.
    """

    unparsable: float = -np.inf

    oracle = False

    def __post_init__(self) -> None:
        if not self.unparsable < 0:
            raise ValueError(f"the reward of an unparsable text must be below 0, got {self.unparsable}")

    def bind(self, problems: Sequence[Problem]) -> FormatScorer:
        """Raises ValueError naming a problem without a prompt."""
        return FormatScorer(self.unparsable, problems)


class FormatScorer:
    """The format reward bound to problems."""

    def __init__(self, unparsable: float, problems: Sequence[Problem]) -> None:
        self._unparsable = unparsable
        self._prompts = [prompt_of(problem) for problem in problems]

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]."""
        free = np.array([not self._prompts[p].answers for p in problem], dtype=bool)
        valid = np.array([bool(text.strip()) for text in texts_of(samples)], dtype=bool)
        valid[~free] = claimed_answers(samples[~free], problem[~free], self._prompts) != UNPARSABLE
        return np.where(valid, 0.0, self._unparsable)
