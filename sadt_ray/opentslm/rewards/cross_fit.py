"""Fits that never see the source they are asked about: K folds by source, and one fit of everything for new sources.

Windows of one subject are alike. What was fitted to some of them looks better on the others than it will on a new
subject, so whatever is learned, templates or a verifier, is judged and weighted by the fold that left them out.
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
    """K + 1 fits of one thing.

    Attributes:
        fold_of: by source; those of fold k were left out of ``fits[k]``.
        fits: one a fold.
        full: of all sources.
    """

    fold_of: Mapping[str, int]
    fits: tuple[T, ...]
    full: T

    def of_source(self, source: str) -> T:
        """The fit that has not seen this source; that of everything for a source that nothing has seen."""
        return self.fits[self.fold_of[source]] if source in self.fold_of else self.full


def source_folds(sources: Sequence[str], folds: int, seed: int = 0) -> dict[str, int]:
    """Whole sources to folds at random, the fold with the fewest rows first, large sources first.

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
    """``fit`` of problems, left out fold by fold. Raises what ``source_folds`` and ``fit`` raise."""
    sources = [source_of(problem) for problem in problems]
    fold_of = source_folds(sources, folds, seed)
    kept = [[p for p, s in zip(problems, sources, strict=True) if fold_of[s] != k] for k in range(folds)]
    return CrossFitted(fold_of, tuple(fit(rest) for rest in kept), fit(problems))
