"""Agreement among captions: the one that is most like all others (minimum Bayes risk under ROUGE-L)."""

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
    """r(text) = sum_m w_m ROUGE-L(text, pilot text m), in [0, 1]; weights that sum to one.

    The expected overlap with a text drawn from the pilot: its maximum is the minimum-Bayes-risk caption (Kumar & Byrne
    2004). A pilot text counts itself, one in as many as there are.

    Attributes:
        pilot: by problem name, its texts and their log-weights.
    """

    pilot: Mapping[str, tuple[Sequence[str], Sequence[float]]] = field(repr=False)

    oracle = False

    def bind(self, problems: Sequence[Problem]) -> ConsensusScorer:
        """Raises ValueError naming a problem that the pilot has no texts of."""
        return ConsensusScorer([self._weighted(problem) for problem in problems])

    def _weighted(self, problem: Problem) -> dict[str, float]:
        """Different texts with their weights."""
        texts, log_weights = self.pilot.get(problem.name, ((), ()))
        if len(texts) == 0 or len(texts) != len(log_weights) or not np.isfinite(np.max(log_weights)):
            raise ValueError(f"problem {problem.name!r} has no pilot texts with weights: sample some captions first")
        weights = np.exp(np.asarray(log_weights) - np.max(log_weights))
        total: dict[str, float] = {}
        for text, weight in zip(texts, weights / weights.sum(), strict=True):
            total[str(text)] = total.get(str(text), 0.0) + float(weight)
        return total


class ConsensusScorer:
    """Consensus bound to problems; texts that come again are not compared again."""

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
