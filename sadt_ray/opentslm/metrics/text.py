"""Agreement of texts with references: BLEU of a corpus as in sacreBLEU, ROUGE as in Google's ``rouge_score``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sadt_ray.opentslm.rouge_bleu import rouge_l, words

_ORDER = 4
_SEPARATED = (  # mteval-v13a: punctuation is a word of its own, but not inside numbers
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def corpus_bleu(predictions: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of a corpus with one reference per text, in [0, 1]. N-grams are counted over all texts before dividing.

    exp(mean_n log p_n) min(1, exp(1 - r/c)) (Papineni et al. 2002), tokenized by 13a with case; the first order without
    a match counts as 1/2, the next as 1/4, ... (``exp`` of sacreBLEU). Raises ValueError if the lists differ in length.
    """
    return bleu_of_counts(bleu_counts(predictions, references))


def bleu_counts(predictions: Sequence[str], references: Sequence[str]) -> Float[np.ndarray, "n 10"]:
    """Counts of each text: matches of orders 1 to 4, n-grams of orders 1 to 4, its length, length of its reference."""
    check_pairs(predictions, references)
    counted = []
    for prediction, reference in zip(predictions, references, strict=True):
        ours, theirs = _tokens(prediction), _tokens(reference)
        orders = [(_ngrams(ours, n), _ngrams(theirs, n)) for n in range(1, _ORDER + 1)]
        matches = [(mine & other).total() for mine, other in orders]
        counted.append([*matches, *(mine.total() for mine, _ in orders), len(ours), len(theirs)])
    return np.array(counted, np.float64)


def bleu_of_counts(counts: Float[np.ndarray, "n 10"]) -> float:
    """BLEU of texts with these counts."""
    matches, totals, (ours, theirs) = np.split(counts.sum(axis=0), [_ORDER, 2 * _ORDER])
    if matches[0] == 0 or totals.min() == 0:
        return 0.0
    smoothed = np.where(matches > 0, matches, 0.5 ** np.cumsum(matches == 0))
    return float(math.exp(np.mean(np.log(smoothed / totals)) + min(0.0, 1.0 - theirs / ours)))


def rouge(prediction: str, reference: str) -> dict[str, float]:
    """F1 of shared words (``rouge_1``), pairs of words (``rouge_2``) and the longest common subsequence (``rouge_l``).

    Lin 2004; words are runs of letters and digits in lower case, not stemmed.
    """
    ours, theirs = words(prediction), words(reference)
    shared = {f"rouge_{n}": _overlap_f1(_ngrams(ours, n), _ngrams(theirs, n)) for n in (1, 2)}
    return {**shared, "rouge_l": rouge_l(prediction, reference)}


def rouge_scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """ROUGE of each text, by name of the score. Raises ValueError if the lists differ in length."""
    check_pairs(predictions, references)
    each = [rouge(prediction, reference) for prediction, reference in zip(predictions, references, strict=True)]
    return {name: [scores[name] for scores in each] for name in each[0]}


def _tokens(text: str) -> list[str]:
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "
    for pattern, separated in _SEPARATED:
        text = pattern.sub(separated, text)
    return text.split()


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _overlap_f1(ours: Counter, theirs: Counter) -> float:
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 0.0


def check_pairs(predictions: Sequence[str], references: Sequence[str]) -> None:
    """Raises ValueError unless there is one reference per text, and at least one text."""
    if len(predictions) != len(references) or not predictions:
        raise ValueError(f"{len(predictions)} texts need as many references, got {len(references)}")
