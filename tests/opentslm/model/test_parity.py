"""Ours against upstream's recorded logits, through the real loading path and with the network forbidden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.opentslm_parity.cases import Case, Question, cases, load_record, question
from benchmarks.opentslm_parity.compare import Difference, compare, decode, load
from benchmarks.opentslm_parity.tiny_base import LLAMA
from benchmarks.parity import RECORD

pytest.importorskip("transformers")

NAMES = [case.name for case in cases()]


@pytest.fixture(scope="module")
def differences(home: Path) -> dict[str, Difference]:
    return compare(home, load_record(RECORD)[0])


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_greedy_tokens_are_upstreams(name: str, differences: dict[str, Difference]) -> None:
    difference = differences[name]
    assert difference.same == difference.tokens >= 15
    assert difference.logits < 3e-6 * difference.spread


def test_the_table_has_every_kind_with_one_three_and_twelve_series_on_llama_and_gemma() -> None:
    families = {"llama-3.2-1b", "gemma-3-270m"}
    wanted = {
        f"{family} {kind} {n}" for family in families for kind in ("sp", "sp-lora", "flamingo") for n in (1, 3, 12)
    }
    assert wanted <= set(NAMES)
    assert set(load_record(RECORD)[0]) == set(NAMES)


@pytest.mark.parametrize("kind", ["sp", "flamingo"])
def test_parity_is_a_matter_of_the_series_and_of_every_text(kind: str, home: Path) -> None:
    model, asked = load(home, Case(LLAMA, kind, 1)), question(1)
    variants = (asked, _negated(asked), replace(asked, texts=("other",)), replace(asked, post="So:"))
    first = [decode(model, variant).logits[1 if model.forced else 0] for variant in variants]
    assert all(np.abs(other - first[0]).max() > 1e-2 for other in first[1:])


def _negated(asked: Question) -> Question:
    return replace(asked, series=tuple(-one for one in asked.series))
