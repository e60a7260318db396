"""How much two texts have in common."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadt_ray.opentslm.rouge_bleu import bleu, rouge_l, words

SENTENCES = st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join)


def by_table(first, second):
    """Longest common subsequence by the textbook's table."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(SENTENCES, SENTENCES)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(first, second):
    common, total = by_table(first.split(), second.split()), len(first.split()) + len(second.split())
    assert rouge_l(first, second) == pytest.approx(2 * common / total if common else 0.0)
    assert rouge_l(first, second) == rouge_l(second, first)


@given(SENTENCES)
def test_a_text_overlaps_fully_with_itself_whatever_its_case_and_punctuation(sentence):
    assert rouge_l(sentence, sentence.upper() + "!") == bleu(sentence, f'"{sentence}".') == float(bool(sentence))


def test_bleu_by_hand():
    # 3 of 4 words, 2 of 3 bigrams, 1 of 2 trigrams, 0 of 1 four-gram, one added from the bigrams on; as long as it
    expected = math.exp((math.log(3 / 4) + math.log(3 / 4) + math.log(2 / 3) + math.log(1 / 2)) / 4)
    assert bleu("the cat sat there", "the cat sat down") == pytest.approx(expected)


def test_bleu_punishes_a_text_that_is_too_short_and_has_nothing_for_another_one():
    assert bleu("a b c d", "a b c d e f g h") == pytest.approx(math.exp(1 - 8 / 4))
    assert bleu("x y", "a b") == bleu("", "a b") == 0.0


def test_words_are_letters_and_digits():
    assert words("A 24-hour cycle, +3.5%") == ["a", "24", "hour", "cycle", "3", "5"]
