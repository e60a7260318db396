"""ROUGE-L and BLEU of one candidate and one reference, in [0, 1].

Words are runs of letters and digits in lower case, as in Google's ``rouge_score`` without a stemmer.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(text.lower())


def rouge_l(candidate: str, reference: str) -> float:
    """F1 of the longest common subsequence of words, 2 P R / (P + R) (Lin 2004); 0 if no word is shared."""
    ours, theirs = words(candidate), words(reference)
    common = _longest_common_subsequence(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def bleu(candidate: str, reference: str, max_order: int = 4) -> float:
    """Geometric mean of the n-gram precisions, n = 1..4, times exp(1 - r/c) for a candidate that is too short.

    For n > 1 the precisions are (matches + 1) / (n-grams + 1), because most would be 0 for a single pair of texts
    (Papineni et al. 2002; smoothing of Lin & Och 2004). 0 if no word is shared.
    """
    ours, theirs = words(candidate), words(reference)
    if not ours:
        return 0.0
    log_precision = 0.0
    for n in range(1, max_order + 1):
        matches, total = _matches(ours, theirs, n), max(len(ours) - n + 1, 0)
        if n == 1 and matches == 0:
            return 0.0
        smooth = int(n > 1)
        log_precision += math.log((matches + smooth) / (total + smooth)) / max_order
    return math.exp(log_precision + min(0.0, 1 - len(theirs) / len(ours)))


def _matches(ours: Sequence[str], theirs: Sequence[str], n: int) -> int:
    counts = (Counter(zip(*(text[i:] for i in range(n)), strict=False)) for text in (ours, theirs))
    first, second = counts
    return (first & second).total()


def _longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): each row of the table is one integer."""
    at: dict[str, int] = {}
    for i, word in enumerate(first):
        at[word] = at.get(word, 0) | 1 << i
    row = full = (1 << len(first)) - 1
    for word in second:
        matched = row & at.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(first) - row.bit_count()
