"""Agreement of answers: pure functions of the true and the claimed labels of n questions.

A claim of ``None`` means that a text claims no answer. It is wrong, but not a false positive of any class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

Truths = Sequence[str]
Claims = Sequence[str | None]
Confusion = Int[np.ndarray, "*groups K K+1"]  # counts by true and claimed class; the last column is no answer


class Coded(NamedTuple):
    """Labels as numbers, for scores of many subsets of the same rows."""

    truths: Int[np.ndarray, " n"]
    claims: Int[np.ndarray, " n"]  # len(classes) for no answer
    groups: Int[np.ndarray, " n"]
    classes: tuple[str, ...]
    num_groups: int

    def confusion(self, rows: Int[np.ndarray, " k"] | slice = slice(None)) -> Confusion:
        """Confusion matrices of some rows, one per group: [G, K, K + 1]."""
        shape = (self.num_groups, len(self.classes), len(self.classes) + 1)
        cell = np.ravel_multi_index((self.groups[rows], self.truths[rows], self.claims[rows]), shape)
        return np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)


def coded(truths: Truths, claims: Claims, groups: Sequence[str] | None = None) -> Coded:
    """Encode labels. Raises ValueError if there are no truths, or not one claim (and group) for each."""
    if not len(truths) == len(claims) == len(truths if groups is None else groups) or not len(truths):
        raise ValueError(f"{len(claims)} claims cannot be compared with {len(truths)} truths; give one for each")
    classes = tuple(sorted({*truths, *(claim for claim in claims if claim is not None)}))
    code: dict[str | None, int] = {name: i for i, name in enumerate((*classes, None))}
    names, group = np.unique([""] * len(truths) if groups is None else list(groups), return_inverse=True)
    meant, said = (np.array([code[name] for name in labels]) for labels in (truths, claims))
    return Coded(meant, said, group, classes, len(names))


def correct(truths: Truths, claims: Claims) -> Bool[np.ndarray, " n"]:
    """Which claims are true."""
    labels = coded(truths, claims)
    return labels.truths == labels.claims


def accuracy(truths: Truths, claims: Claims) -> float:
    """Share of the claims that are true."""
    return float(correct(truths, claims).mean())


def macro_f1(truths: Truths, claims: Claims) -> float:
    """Mean over the classes that occur among the truths of 2 tp / (2 tp + fp + fn).

    A class that never occurs has no F1; counting it as 0 (upstream, stage 5) or as 1 would say nothing about the model.
    A claim of such a class counts as a miss of the true class.
    """
    return confusion_f1(coded(truths, claims).confusion())


def cohens_kappa(truths: Truths, claims: Claims) -> float:
    """(p_o - p_e) / (1 - p_e): agreement beyond that of independent draws from both margins (Cohen 1960).

    ``None`` is a category of its own. NaN if truths and claims all name one class, since then p_e = 1.
    """
    return confusion_kappa(coded(truths, claims).confusion())


def confusion_f1(confusion: Confusion) -> float:
    """Mean over groups of the macro-F1, weighted by the size of the group."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    meant, said = confusion.sum(-1), confusion[..., :-1].sum(-2)
    f1 = np.divide(2.0 * hits, meant + said, out=np.zeros(hits.shape), where=meant > 0)
    size = meant.sum(-1)
    of_group = f1.sum(-1) / np.maximum((meant > 0).sum(-1), 1)
    return float(np.average(of_group, weights=size))


def confusion_kappa(confusion: Confusion) -> float:
    """Cohen's kappa of all groups together."""
    table = confusion.reshape(-1, *confusion.shape[-2:]).sum(0)
    n = table.sum()
    observed = np.trace(table) / n
    expected = float(table.sum(1) @ table[:, :-1].sum(0)) / n**2
    return float((observed - expected) / (1 - expected)) if expected < 1 else float("nan")
