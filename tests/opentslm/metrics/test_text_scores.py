"""BLEU and ROUGE against sacreBLEU's and rouge_score's figures, recorded by ``record_text_scores.py``."""

import json
from pathlib import Path

import numpy as np
import pytest

from sadt_ray.opentslm.metrics.text import bleu_counts, bleu_of_counts, corpus_bleu, rouge, rouge_scores

RECORDED = json.loads(Path(__file__).with_name("text_scores.json").read_text())
PAIRS = RECORDED["pairs"]


def _texts(rows):
    return [PAIRS[i][0] for i in rows], [PAIRS[i][1] for i in rows]


@pytest.mark.parametrize("name", RECORDED["corpora"])
def test_the_bleu_of_a_corpus_is_sacrebleus(name):
    assert corpus_bleu(*_texts(RECORDED["corpora"][name])) == pytest.approx(RECORDED["bleu"][name], abs=1e-12)


@pytest.mark.parametrize("number", range(len(PAIRS)))
def test_rouge_is_googles(number):
    ours = rouge(*PAIRS[number])
    assert ours == pytest.approx(RECORDED["rouge"][number], abs=1e-12)


def test_bleu_is_of_the_counts_of_all_texts_and_not_a_mean():
    counts = bleu_counts(*_texts([0, 1, 3]))
    assert bleu_of_counts(counts) == corpus_bleu(*_texts([0, 1, 3]))
    assert bleu_of_counts(counts) != pytest.approx(np.mean([bleu_of_counts(row[None]) for row in counts]))


def test_scores_come_text_by_text():
    scores = rouge_scores(*_texts([0, 3]))
    assert scores["rouge_l"] == [rouge(*PAIRS[0])["rouge_l"], 1.0]


def test_texts_without_as_many_references_are_refused():
    with pytest.raises(ValueError, match="2 texts need as many references, got 1"):
        corpus_bleu(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="0 texts"):
        rouge_scores([], [])
