"""Accuracy, macro-F1 and kappa against closed forms and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.opentslm.metrics.labels import accuracy, coded, cohens_kappa, confusion_f1, macro_f1

LABELS = st.sampled_from("abc")
ROWS = st.lists(st.tuples(LABELS, LABELS), min_size=2, max_size=40)


@settings(max_examples=40)
@given(ROWS)
def test_figures_equal_scikit_learns(rows):
    metrics = pytest.importorskip("sklearn.metrics")
    truths, claims = [list(x) for x in zip(*rows, strict=True)]
    assert accuracy(truths, claims) == pytest.approx(metrics.accuracy_score(truths, claims))
    theirs = metrics.f1_score(truths, claims, average="macro", labels=sorted(set(truths)), zero_division=0)
    assert macro_f1(truths, claims) == pytest.approx(theirs)
    if len({*truths, *claims}) > 1:
        assert cohens_kappa(truths, claims) == pytest.approx(metrics.cohen_kappa_score(truths, claims))


def test_no_answer_is_wrong_and_no_false_positive():
    truths = ["a", "a", "b", "b"]
    assert accuracy(truths, [None] * 4) == 0.0
    # a: tp 1, fp 0, fn 1 -> 2/3; b: tp 2 -> 1
    assert macro_f1(truths, ["a", None, "b", "b"]) == pytest.approx((2 / 3 + 1) / 2)
    assert macro_f1(truths, ["a", "b", "b", "b"]) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_a_class_that_never_occurs_has_no_say_in_the_macro_f1():
    assert macro_f1(["a", "b"], ["a", "b"]) == 1.0
    assert macro_f1(["a", "b"], ["a", "c"]) == pytest.approx(1 / 2)


def test_kappa_is_zero_for_a_constant_answer_and_one_for_the_truth():
    truths = ["a", "b", "b", "c"]
    assert cohens_kappa(truths, ["b"] * 4) == pytest.approx(0.0)
    assert cohens_kappa(truths, truths) == pytest.approx(1.0)
    assert math.isnan(cohens_kappa(["a", "a"], ["a", "a"]))
    # p_o = 1/2; p_e = (2*1 + 2*1)/16 = 1/4: no answer is a category that the truth does not have
    assert cohens_kappa(["a", "a", "b", "b"], ["a", None, "b", None]) == pytest.approx((0.5 - 0.25) / 0.75)


def test_the_macro_f1_of_groups_weighs_them_by_size():
    truths, claims = ["no", "no", "no", "yes"], ["no", "no", "no", "no"]
    assert confusion_f1(coded(truths, claims, ["x", "x", "x", "y"]).confusion()) == pytest.approx(0.75)
    rng = np.random.default_rng(0)
    many = rng.choice(list("abc"), (2, 50)).tolist()
    assert confusion_f1(coded(*many, ["one"] * 50).confusion()) == pytest.approx(macro_f1(*many))


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 claims cannot be compared with 2 truths"):
        accuracy(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="0 claims"):
        macro_f1([], [])
