"""Merging adapters: W + (alpha/r) B A, in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_opentslm import tiny_llama
from torch import Tensor

from sadt_ray.opentslm.model.lora import merge_lora

pytest.importorskip("transformers")

LAYER = "model.layers.1.mlp.down_proj"


def adapter(rank: int = 4, scale: float = 1.0) -> dict[str, Tensor]:
    torch.manual_seed(1)
    key = f"base_model.model.{LAYER}.lora_"
    down, up = torch.randn(rank, 96), scale * torch.randn(64, rank)
    return {f"{key}A.default.weight": down, f"{key}B.default.weight": up}


def test_an_adapter_is_added_to_its_layer_and_to_no_other() -> None:
    network, before = tiny_llama(), {name: w.clone() for name, w in tiny_llama().state_dict().items()}
    state = adapter()
    merge_lora(network, state, {"default": {"lora_alpha": 6}})
    down, up = state.values()
    for name, weight in network.state_dict().items():
        expected = before[name] + (6 / 4) * up @ down if name == f"{LAYER}.weight" else before[name]
        torch.testing.assert_close(weight, expected)


def test_alpha_is_the_published_ones_where_the_file_does_not_say() -> None:
    network, state = tiny_llama(), adapter(rank=16)
    before = network.get_parameter(f"{LAYER}.weight").clone()
    merge_lora(network, state)
    down, up = state.values()
    torch.testing.assert_close(network.get_parameter(f"{LAYER}.weight"), before + 2 * up @ down)


def test_merging_rounds_once_and_not_before() -> None:
    network, state = tiny_llama().bfloat16(), adapter(rank=16, scale=1e-2)
    exact = network.get_parameter(f"{LAYER}.weight").double()
    down, up = state.values()
    exact = exact + 2 * up.double() @ down.double()
    merge_lora(network, state)
    assert torch.equal(network.get_parameter(f"{LAYER}.weight"), exact.float().bfloat16())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"base_model.model.{LAYER}.lora_magnitude_vector.default.weight": torch.ones(64)}, "only plain LoRA"),
        ({"base_model.model.model.layers.9.mlp.down_proj.lora_A.default.weight": torch.ones(4, 96),
          "base_model.model.model.layers.9.mlp.down_proj.lora_B.default.weight": torch.ones(64, 4)}, "no layer of"),
        ({f"base_model.model.{LAYER}.lora_A.default.weight": torch.ones(4, 95)}, r"do not fit a weight of \[64, 96\]"),
    ],
)  # fmt: skip
def test_adapters_of_another_model_are_named(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        merge_lora(tiny_llama(), adapter() | change)
    assert next(iter(change)) in str(raised.value)


@pytest.mark.parametrize("config", [{"use_dora": True}, {"default": {"use_rslora": True}}])
def test_other_kinds_of_adapters_are_refused(config: Any) -> None:
    with pytest.raises(ValueError, match=r"use_(dora|rslora); only plain LoRA"):
        merge_lora(tiny_llama(), adapter(), config)
