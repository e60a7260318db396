"""Sizes of the published models, against what their makers state."""

from __future__ import annotations

import pytest

from sadt_ray.opentslm.model.names import BASES, WIDTHS, base_of_width, hub_ids, published
from sadt_ray.opentslm.model.sizes import shape_of, sizes

pytest.importorskip("transformers")

STATED = {  # parameters of the models on the hub
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b-pt": 999_885_952,
}


@pytest.mark.parametrize("base", BASES)
def test_a_base_model_has_as_many_parameters_as_its_makers_state(base: str) -> None:
    assert sizes(base).network == STATED[base]
    assert shape_of(base).hidden_size == {name: width for width, name in WIDTHS.items()}[base]


def test_a_token_of_llama_1b_leaves_32_kib_in_the_cache() -> None:
    assert sizes("llama-3.2-1b").cache_bytes(1) == 32 * 1024


def test_a_flamingo_of_llama_1b_is_a_file_of_seven_gigabytes() -> None:
    assert 7e9 < sizes("llama-3.2-1b", "flamingo").bytes(4) < 7.5e9


def test_every_published_name_says_its_base_stage_and_variant() -> None:
    assert len(set(hub_ids())) == 40
    for name in hub_ids():
        found = published(name)
        assert found is not None
        assert found.stage in name
        assert name.endswith(found.variant)
    gemma = published("OpenTSLM/gemma-3-1b-pt-har-sp")
    assert gemma is not None
    assert gemma.base == "google/gemma-3-1b-pt"
    assert published("OpenTSLM/llama-3.2-1b-har-spx") is None
    assert (base_of_width(2048), base_of_width(17)) == ("meta-llama/Llama-3.2-1B", None)
