"""Agreement among captions: minimum Bayes risk under ROUGE-L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import texts_of
from sadt_ray.opentslm.rouge_bleu import rouge_l


@dataclass(frozen=True)
class ConsensusReward:
    """r(text) = sum_m w_m ROUGE-L(text, pilot text m), in [0, 1], with weights that sum to 1.

    This is the expected overlap with a text of the pilot. Its maximum is the minimum-Bayes-risk caption (Kumar & Byrne
    2004). A text of the pilot is compared with itself too.

    Attributes:
        pilot: texts and their log-weights by problem name.
    """

    pilot: Mapping[str, tuple[Sequence[str], Sequence[float]]] = field(repr=False)

    oracle = False

    def bind(self, problems: Sequence[Problem]) -> ConsensusScorer:
        """Raises ValueError naming a problem without texts in the pilot."""
        return ConsensusScorer([self._weighted(problem) for problem in problems])

    def _weighted(self, problem: Problem) -> dict[str, float]:
        """The different texts with their total weights."""
        texts, log_weights = self.pilot.get(problem.name, ((), ()))
        if len(texts) == 0 or len(texts) != len(log_weights) or not np.isfinite(np.max(log_weights)):
            raise ValueError(f"problem {problem.name!r} has no pilot texts with weights: sample some captions first")
        weights = np.exp(np.asarray(log_weights) - np.max(log_weights))
        total: dict[str, float] = {}
        for text, weight in zip(texts, weights / weights.sum(), strict=True):
            total[str(text)] = total.get(str(text), 0.0) + float(weight)
        return total


class ConsensusScorer:
    """The consensus reward bound to problems. The rewards of known texts are cached."""

    def __init__(self, weighted: Sequence[Mapping[str, float]]) -> None:
        self._weighted = tuple(weighted)
        self._known: dict[tuple[int, str], float] = {}

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]."""
        return np.array([self._of(int(p), text) for text, p in zip(texts_of(samples), problem, strict=True)])

    def _of(self, problem: int, text: str) -> float:
        key = (problem, text)
        if key not in self._known:
            pairs = self._weighted[problem].items()
            self._known[key] = sum(weight * rouge_l(text, other) for other, weight in pairs)
        return self._known[key]
