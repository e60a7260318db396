"""Cross-fitting by source: K fits that each leave out a fold of sources, and one fit of all sources for new ones.

Windows of one subject are alike. A fit to some of them looks better on the others than it will on a new subject. So
templates and verifiers are evaluated on the fold that was left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.answers import source_of

T = TypeVar("T")


@dataclass(frozen=True)
class CrossFitted(Generic[T]):
    """K + 1 fits.

    Attributes:
        fold_of: fold of each source; ``fits[k]`` leaves out the sources of fold k.
        fits: one fit per fold.
        full: the fit of all sources.
    """

    fold_of: Mapping[str, int]
    fits: tuple[T, ...]
    full: T

    def of_source(self, source: str) -> T:
        """The fit that left out this source; the full fit for a new source."""
        return self.fits[self.fold_of[source]] if source in self.fold_of else self.full


def source_folds(sources: Sequence[str], folds: int, seed: int = 0) -> dict[str, int]:
    """Assign sources to folds at random: large sources first, each to the fold with the fewest rows.

    Raises ValueError for fewer than two folds, or fewer sources than folds.
    """
    names, counts = np.unique(np.asarray(sources), return_counts=True)
    if not 2 <= folds <= len(names):
        raise ValueError(f"cross-fitting needs 2 folds or more and as many sources; got {folds} for {len(names)}")
    shuffled = np.random.default_rng(seed).permutation(len(names))
    size, fold_of = np.zeros(folds, dtype=np.int64), {}
    for i in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
        smallest = int(size.argmin())
        fold_of[str(names[i])] = smallest
        size[smallest] += counts[i]
    return fold_of


def cross_fit(
    problems: Sequence[Problem], fit: Callable[[Sequence[Problem]], T], folds: int = 5, seed: int = 0
) -> CrossFitted[T]:
    """Call ``fit`` without the problems of each fold, and on all. Raises what ``source_folds`` and ``fit`` raise."""
    sources = [source_of(problem) for problem in problems]
    fold_of = source_folds(sources, folds, seed)
    kept = [[p for p, s in zip(problems, sources, strict=True) if fold_of[s] != k] for k in range(folds)]
    return CrossFitted(fold_of, tuple(fit(rest) for rest in kept), fit(problems))
