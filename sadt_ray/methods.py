"""The methods by name: where the tree branches, how it is searched, how finished samples are weighted.

Independent sampling is the tree with one level: every simulation starts at the root and runs to x_0. ``prior``,
``best-of-n`` and ``snis`` then differ in the final draw alone, and share one search where they share their budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sadt_ray.config import SearchConfig
from sadt_ray.sweep_config import PLAIN_ROLLOUT, SweepConfig


@dataclass(frozen=True)
class Method:
    """A named way to sample.

    Attributes:
        name: as on the command line and in tables.
        branch_steps: a preset of the process, or numbers of its steps.
        search: how the tree grows and is drawn from.
        sweep: what a rollout is; one particle without a twist if not given.
    """

    name: str
    branch_steps: str | Sequence[int]
    search: SearchConfig
    sweep: SweepConfig = PLAIN_ROLLOUT

    def same_search(self, other: Method) -> bool:
        """Do the two differ in the final draw alone?"""
        drawn_alike = replace(
            self.search, draw=other.search.draw, draw_inv_temperature=other.search.draw_inv_temperature
        )
        return (self.branch_steps, drawn_alike, self.sweep) == (other.branch_steps, other.search, other.sweep)


def prior(**settings: Any) -> Method:
    """Samples of the prior, unweighted: what the reward does not touch."""
    return _independent("prior", draw="uniform", **settings)


def best_of_n(**settings: Any) -> Method:
    """The sample with the highest reward: a mode, not a distribution."""
    return _independent("best-of-n", draw="argmax", **settings)


def snis(**settings: Any) -> Method:
    """Self-normalised importance sampling: prior samples weighted by exp(lambda r)."""
    return _independent("snis", draw="softmax", **settings)


def dts(**settings: Any) -> Method:
    """Diffusion Tree Sampling as published (arXiv 2506.20701): Boltzmann selection, evenly spaced branch steps."""
    return _tree("dts", "published", **settings)


def dts_late(**settings: Any) -> Method:
    """DTS that branches where the reward is decided, late in the chain, and reaches those levels at small budgets.

    With the published alpha = .8 a node has grandchildren only after some forty visits, so levels below the first stay
    unused; alpha = .5 gives each level its share. Selection at lambda / 2 takes a third off the error of log Z that
    comes with it, for a little of the mean reward (validation windows of ETTh1, docs/experiments.md).
    """
    inv_temperature = settings.get("inv_temperature", SearchConfig.inv_temperature)
    late = {"widen_alpha": 0.5, "selection_inv_temperature": inv_temperature / 2}
    return _tree("dts-late", "late", **{**late, **settings})


def dts_star(**settings: Any) -> Method:
    """DTS*, the optimiser: UCT selection and a greedy final draw."""
    return _tree("dts-star", "published", **{"selection": "uct", "draw": "argmax", **settings})


METHODS: dict[str, Callable[..., Method]] = {
    "prior": prior,
    "best-of-n": best_of_n,
    "snis": snis,
    "dts": dts,
    "dts-late": dts_late,
    "dts-star": dts_star,
}


def method_named(name: str, **settings: Any) -> Method:
    """A method by name, with fields of ``SearchConfig``. Raises ValueError naming the methods there are."""
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}")
    return METHODS[name](**settings)


def _independent(name: str, **settings: Any) -> Method:
    shared = {"widen_c": math.inf, "selection": "boltzmann", "selection_inv_temperature": None}
    return Method(name, "none", SearchConfig(**{**settings, **shared}))


def _tree(name: str, branching: str, branch_steps: str | Sequence[int] | None = None, **settings: Any) -> Method:
    return Method(name, branching if branch_steps is None else branch_steps, SearchConfig(**settings))
