"""Splits: upstream's, row for row, and by source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data import split_by_source
from sadt_ray.opentslm.data.splits import parts_by_source, upstream_parts

PARTS = ("train", "validation", "test")


@pytest.mark.parametrize(("stage", "second_seed"), [(1, 42), (2, 43)])
def test_the_parts_of_tsqa_and_m4_are_those_of_the_datasets_library(stage, second_seed):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"row": list(range(103))})
    rest, test = table.train_test_split(test_size=0.1, seed=42).values()
    train, validation = rest.train_test_split(test_size=0.1 / (1 - 0.1), seed=second_seed).values()
    parts = upstream_parts(stage, [None] * 103)
    for part, theirs in zip(PARTS, (train, validation, test), strict=True):
        assert parts[part].tolist() == theirs["row"]


def test_the_parts_of_sleep_are_those_of_scikit_learn_with_every_label_in_each():
    sklearn = pytest.importorskip("sklearn.model_selection")
    labels = (["Wake"] * 50 + ["REM sleep"] * 30 + ["Non-REM stage 2"] * 40) * 2
    rest, test = sklearn.train_test_split(np.arange(240), test_size=0.1, random_state=42, stratify=labels)
    parts = upstream_parts(4, labels)
    assert parts["test"].tolist() == test.tolist()
    assert sorted(np.concatenate([parts["train"], parts["validation"]])) == sorted(rest)
    assert all({labels[i] for i in parts[part]} == set(labels) for part in PARTS)


def test_stages_whose_parts_are_files_cannot_be_split_as_upstream_does():
    with pytest.raises(ValueError, match="split this one by source"):
        upstream_parts(3, ["walking"] * 10)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab")), min_size=3, max_size=80), st.integers(0, 5))
def test_no_source_is_in_two_parts_and_no_row_is_lost(rows, seed):
    sources, labels = [f"s{source}" for source, _ in rows], [label for _, label in rows]
    if len(set(sources)) < 3:
        with pytest.raises(ValueError, match="cannot be split into 3 parts"):
            parts_by_source(sources, labels, seed)
        return
    parts = parts_by_source(sources, labels, seed)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(rows)))
    of_part = [{sources[i] for i in parts[part]} for part in PARTS]
    assert all(of_part)
    assert sum(map(len, of_part)) == len(set(sources))
    again = parts_by_source(sources, labels, seed)
    assert all(np.array_equal(parts[part], again[part]) for part in PARTS)


def test_parts_have_their_sizes_and_labels_are_spread_evenly():
    rng = np.random.default_rng(0)
    sources = rng.integers(0, 40, 800).astype(str).tolist()
    labels = ["a" if int(source) % 2 else "b" for source in sources]
    problems = [
        Problem(str(i), np.zeros(1), extras={"source": source, "label": label})
        for i, (source, label) in enumerate(zip(sources, labels, strict=True))
    ]
    parts = split_by_source(problems, seed=3, ratios=(0.5, 0.2, 0.3))
    for part, ratio in zip(PARTS, (0.5, 0.2, 0.3), strict=True):
        assert len(parts[part]) / 800 == pytest.approx(ratio, abs=0.03)
        share = np.mean([problem.extras["label"] == "a" for problem in parts[part]])
        assert share == pytest.approx(labels.count("a") / 800, abs=0.06)


@pytest.mark.parametrize("ratios", [(0.5, 0.5, 0.0), (0.5, 0.6, 0.1), (1.0,)])
def test_ratios_that_are_no_three_shares_are_refused(ratios):
    with pytest.raises(ValueError, match="three positive shares"):
        parts_by_source(["a", "b", "c"], [None] * 3, 0, ratios)
