"""The methods by name: where the tree branches, how it is searched, how finished samples are weighted.

Independent sampling is the tree with one level: every simulation starts at the root and runs to x_0. ``prior``,
``best-of-n`` and ``snis`` then differ in the final draw alone, and share one search where they share their budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from sadt_ray.config import SearchConfig
from sadt_ray.sweep_config import PLAIN_ROLLOUT, SweepConfig, family_size


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


def fk(**settings: Any) -> Method:
    """Feynman-Kac steering, twisted SMC by r(x0_hat) (Singhal et al. 2025; Wu et al. 2023 without gradients)."""
    return _sweeps("fk", {"twist": "clean"}, **settings)


def tds(**settings: Any) -> Method:
    """Twisted Diffusion Sampler (Wu et al. 2023): the same, with proposals along the gradient of r(x0_hat)."""
    return _sweeps("tds", {"twist": "clean", "lean": "always"}, **settings)


def dps(**settings: Any) -> Method:
    """Diffusion Posterior Sampling (Chung et al. 2023): proposals along the gradient of r(x0_hat), and no weights.

    Biased at any budget: nothing makes up for what the proposal does. Its estimate of log Z means nothing.
    """
    return _sweeps("dps", {"twist": "clean", "lean": "always", "weighted": False}, draw="uniform", **settings)


def smc_debiased(**settings: Any) -> Method:
    """SMC by r~, the look-ahead that takes the scatter of x_0 into account: the strongest that learns nothing."""
    return _sweeps("smc-debiased", {"twist": "debiased"}, **settings)


def sweep(**settings: Any) -> Method:
    """Independent sweeps under the flow: guided, chosen among candidates, weighted. r~ until there is a flow."""
    return _sweeps("sweep", _GUIDED, **settings)


def sadt(**settings: Any) -> Method:
    """S-ADT: a tree whose rollouts are sweeps under the flow, and whose selection reads the flow alone.

    Selection that depends on states and counts, not on what rollouts happened to bring, keeps log Z unbiased. Fewer
    than eight sweeps make no tree: all start at the root, as those of ``sweep`` do. (One large sweep from a single x_T
    has the right weights and too little diversity: docs/experiments.md.)
    """
    tree = _sweeps("sadt", _GUIDED, **{"branch_steps": "start", "alpha": 1.0, "widen_c": 2.0, **settings})
    few = tree.search.n_rollouts is not None and tree.search.n_rollouts < _SMALLEST_TREE
    return _sweeps("sadt", _GUIDED, **settings) if few and "branch_steps" not in settings else tree


def sadt_tree(**settings: Any) -> Method:
    """S-ADT as specified: single rollouts, selection by exp(lambda [(1 - alpha) v + alpha F]), alpha = 1/2."""
    method = _tree("sadt-tree", "published", **{"alpha": 0.5, **settings})
    return replace(method, sweep=SweepConfig(twist="flow"))


METHODS: dict[str, Callable[..., Method]] = {
    "prior": prior,
    "best-of-n": best_of_n,
    "snis": snis,
    "dts": dts,
    "dts-late": dts_late,
    "dts-star": dts_star,
    "fk": fk,
    "tds": tds,
    "dps": dps,
    "smc-debiased": smc_debiased,
    "sweep": sweep,
    "sadt": sadt,
    "sadt-tree": sadt_tree,
}


SWEEPS = frozenset({"fk", "tds", "dps", "smc-debiased", "sweep", "sadt"})
"""Methods whose rollouts are sweeps of particles."""
FLOWN_TREES = frozenset({"sadt", "sadt-tree"})
"""Methods whose selection reads the flow."""
TREES = frozenset({"dts", "dts-late", "dts-star"}) | FLOWN_TREES
"""Methods whose trees have more than one level, or may."""


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


_GUIDED: dict[str, Any] = {
    "twist": "flow", "lean": "possible", "lean_scale": 0.5, "candidates": 4, "growth": 4, "ess_threshold": 0.7,
}  # fmt: skip
_PARTICLES = 64  # of a sweep under a budget of evaluations, if nobody says otherwise
_LARGEST_SWEEP = 256
_SMALLEST_TREE = 8  # sweeps
_SWEEP_SETTINGS = {field.name for field in fields(SweepConfig)}


def _sweeps(
    name: str,
    sweep: dict[str, Any],
    branch_steps: str | Sequence[int] = "none",
    **settings: Any,
) -> Method:
    """Sweeps whose particles are counted as rollouts: as few sweeps, and as large ones, as make up ``n_rollouts``."""
    sweep = {**sweep, **{key: settings.pop(key) for key in _SWEEP_SETTINGS & settings.keys()}}
    search = SearchConfig(**{"draw": "softmax", "widen_c": math.inf, **settings})
    particles = sweep.pop("particles", None)
    if search.n_rollouts is not None and search.max_nfe is None:
        sizes = [family_size(sweep.get(name) or "") for name in ("resampling", "harvest_resampling")]
        multiple = sweep.get("growth", 1) * math.lcm(*sizes)
        count, particles = sweeps_of(search.n_rollouts, particles, multiple)
        search = replace(search, n_rollouts=count)
    config = SweepConfig(particles=_PARTICLES if particles is None else particles, **sweep)
    return Method(name, branch_steps, search, config)


def sweeps_of(rollouts: int, particles: int | None = None, multiple: int = 1) -> tuple[int, int]:
    """Number of sweeps, and particles of each, that make up so many rollouts or a few less; at least one sweep.

    Args:
        particles: of a sweep, if it is decided; else sweeps are few and large, and of a multiple of ``multiple``.
    """
    if particles is not None:
        return max(rollouts // max(particles, 1), 1), particles
    count = -(-rollouts // _LARGEST_SWEEP)
    return count, max(rollouts // count // multiple, 1) * multiple
