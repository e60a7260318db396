"""How well answers match: pure functions of the true and the claimed label of n questions.

A claim of ``None`` is a text that claims no answer. It is wrong, and never a false positive of a class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

Truths = Sequence[str]
Claims = Sequence[str | None]


def correct(truths: Truths, claims: Claims) -> Bool[np.ndarray, " n"]:
    """Which claims are true. Raises ValueError if there are not as many claims as truths, or none."""
    if len(truths) != len(claims) or not len(truths):
        raise ValueError(f"{len(claims)} claims cannot be compared with {len(truths)} truths; give one for each")
    return np.array([truth == claim for truth, claim in zip(truths, claims, strict=True)])


def accuracy(truths: Truths, claims: Claims) -> float:
    """Share of the claims that are true."""
    return float(correct(truths, claims).mean())


def macro_f1(truths: Truths, claims: Claims, classes: Sequence[str] | None = None) -> float:
    """Mean over classes of 2 tp / (2 tp + fp + fn).

    Over the classes that occur among the truths, if none are given: a class that never occurs has no F1, and counting
    it as 0 (upstream, stage 5) or as 1 says nothing of the model. A claim of such a class is its truth's miss.
    """
    right = correct(truths, claims)
    hits = Counter(truth for truth, is_right in zip(truths, right, strict=True) if is_right)
    named = Counter(truths) + Counter(claim for claim in claims if claim is not None)
    classes = sorted(set(truths)) if classes is None else classes
    return float(np.mean([2 * hits[name] / named[name] if named[name] else 0.0 for name in classes]))


def cohens_kappa(truths: Truths, claims: Claims) -> float:
    """(p_o - p_e) / (1 - p_e): agreement beyond that of independent draws from both margins (Cohen 1960).

    ``None`` is a category of its own. NaN where both name one and the same class throughout: p_e = 1.
    """
    observed = accuracy(truths, claims)
    said, meant = Counter(claims), Counter(truths)
    expected = sum(meant[name] * said[name] for name in meant) / len(truths) ** 2
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def macro_f1_by_group(truths: Truths, claims: Claims, groups: Sequence[str]) -> float:
    """Mean over groups, weighted by size, of the macro-F1 in each: where an answer means something else in each."""
    of_group: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        of_group.setdefault(group, []).append(i)
    scores = [macro_f1([truths[i] for i in rows], [claims[i] for i in rows]) for rows in of_group.values()]
    return float(np.average(scores, weights=[len(rows) for rows in of_group.values()]))
