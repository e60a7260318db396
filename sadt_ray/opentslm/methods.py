"""The methods of a stage by name: how the prior answers, how it is searched, and whether the reward counts.

All methods but ``greedy`` and ``sample`` use the same number of rationales. Where answers are *enumerated*, each
rationale ends in all of them, weighted by their probabilities; where they are sampled, it ends in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sadt_ray.methods import Method, best_of_n, dts, dts_star, prior, sadt


@dataclass(frozen=True)
class StageMethod:
    """A named way to answer.

    Attributes:
        name: as in tables.
        make: builds the search method; a function of ``sadt_ray.methods``.
        enumerated: whether answers are enumerated; otherwise they are sampled.
        rewarded: whether the reward counts; otherwise the target is the prior itself.
        rollouts: fixed number of rationales per question; None for the number that is asked for.
        greedy: whether the most probable token is taken at each step.
        flat: whether all rollouts start at the prompt, so that they may run at once.
    """

    name: str
    make: Callable[..., Method]
    enumerated: bool
    rewarded: bool
    rollouts: int | None = None
    greedy: bool = False
    flat: bool = True

    def search_method(self, n_rollouts: int, **settings: Any) -> Method:
        """The search method for ``n_rollouts`` rationales per question, named as this method is.

        Args:
            settings: further parameters of ``make``.
        """
        return replace(self.make(n_rollouts=self.rollouts or n_rollouts, **settings), name=self.name)


STAGE_METHODS: dict[str, StageMethod] = {
    method.name: method
    for method in (
        StageMethod("greedy", prior, enumerated=False, rewarded=False, rollouts=1, greedy=True),
        StageMethod("sample", prior, enumerated=False, rewarded=False, rollouts=1),
        StageMethod("self-consistency", prior, enumerated=False, rewarded=False),
        StageMethod("answer-vote", prior, enumerated=True, rewarded=False),
        StageMethod("best-of-n", best_of_n, enumerated=False, rewarded=True),
        StageMethod("dts", dts, enumerated=True, rewarded=True, flat=False),
        StageMethod("dts-star", dts_star, enumerated=True, rewarded=True, flat=False),
        StageMethod("sadt", partial(sadt, split_factor=1, num_candidates=1), enumerated=True, rewarded=True),
    )
}


def stage_methods(names: Sequence[str]) -> list[StageMethod]:
    """Methods by name, each once. Raises ValueError for an unknown name or none, listing the methods."""
    unknown = [name for name in names if name not in STAGE_METHODS]
    if unknown or not names:
        raise ValueError(f"there is no stage method {', '.join(unknown)!r}; choose from {', '.join(STAGE_METHODS)}")
    return [STAGE_METHODS[name] for name in dict.fromkeys(names)]
