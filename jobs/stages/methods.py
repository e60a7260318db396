"""The methods of a stage by name: which prior answers, how it is searched, and whether a reward is asked.

All but ``greedy`` have the same number of rationales. Where answers are *enumerated* every rationale ends in all of
them, with their probabilities; where they are sampled it ends in one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sadt_ray.methods import Method, best_of_n, dts, dts_star, prior, sadt


@dataclass(frozen=True)
class StageMethod:
    """A named way to answer.

    Attributes:
        make: the search, from settings of ``SearchConfig``.
        enumerated: whether answers are listed, or drawn.
        rewarded: whether the reward counts; else the target is the prior itself.
        rollouts: if they do not depend on the budget.
        greedy: whether the likeliest token is taken, always.
        flat: whether all rollouts begin at the prompt, so that they may run at once.
    """

    name: str
    make: Callable[..., Method]
    enumerated: bool
    rewarded: bool
    rollouts: int | None = None
    greedy: bool = False
    flat: bool = True

    def search(self, n_rollouts: int, **settings: Any) -> Method:
        """The search under its name here."""
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


def stage_methods(names: tuple[str, ...]) -> list[StageMethod]:
    """Methods by name, each once. Raises ValueError naming the methods there are."""
    unknown = [name for name in names if name not in STAGE_METHODS]
    if unknown or not names:
        raise ValueError(f"there is no stage method {', '.join(unknown)!r}; choose of {', '.join(STAGE_METHODS)}")
    return [STAGE_METHODS[name] for name in dict.fromkeys(names)]
