"""Merge low-rank adapters into the weights that they adapt, W + (alpha/r) B A (Hu et al. 2021, eq. 3).

The sum is computed in float32 and cast afterwards, because the seven bits of bfloat16 would lose the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

ALPHA = 32  # of the published checkpoints, whose rank is 16
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight"


@torch.no_grad()
def merge_lora(network: nn.Module, state: Mapping[str, Tensor], config: Any = None) -> None:
    """Add each adapter to the weight of its layer, in place.

    Args:
        network: the base model.
        state: adapters by peft's names, ``base_model.model.model.layers.N.self_attn.q_proj.lora_A.default.weight``
            [r, in] and ``...lora_B...`` [out, r].
        config: ``lora_config`` of the file; without one, alpha is that of the published checkpoints.

    Raises:
        ValueError: naming a key that belongs to no layer of this network or does not fit it.
    """
    alpha = _alpha(config)
    for key, down in state.items():
        if key.endswith(_UP) and key.removesuffix(_UP) + _DOWN in state:
            continue
        if not key.endswith(_DOWN) or key.removesuffix(_DOWN) + _UP not in state:
            raise ValueError(f"the adapter {key!r} is no lora_A or lora_B of a pair; only plain LoRA can be merged")
        up = state[key.removesuffix(_DOWN) + _UP]
        weight = _weight(network, key)
        if weight.shape != (len(up), down.shape[1]) or up.shape[1] != len(down):
            raise ValueError(
                f"{key} {list(down.shape)} and its lora_B {list(up.shape)} do not fit a weight of {list(weight.shape)}"
                f"; give the base model that the checkpoint was trained on"
            )
        weight.copy_(merged(weight, down.to(weight.device), up.to(weight.device), alpha / len(down)))


def merged(
    weight: Float[Tensor, "out in"], down: Float[Tensor, "r in"], up: Float[Tensor, "out r"], scale: float
) -> Float[Tensor, "out in"]:
    """W + scale * B A in float32."""
    return torch.addmm(weight.float(), up.float(), down.float(), alpha=scale)


def _weight(network: nn.Module, key: str) -> nn.Parameter:
    name = key.removesuffix(_DOWN).removeprefix(_PREFIX)
    try:
        return network.get_parameter(f"{name}.weight")
    except AttributeError:
        raise ValueError(
            f"the adapter {key!r} belongs to no layer of this base model; give the one that it was trained on"
        ) from None


def _alpha(config: Any) -> float:
    """Alpha of a pickled ``peft.LoraConfig`` or of a mapping, which may be keyed by the name of the adapter."""
    if isinstance(config, Mapping) and "default" in config:
        config = config["default"]
    entries = config if isinstance(config, Mapping) else getattr(config, "state", {})
    for unusual in ("use_dora", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern"):
        if entries.get(unusual):
            raise ValueError(f"the adapters were trained with {unusual}; only plain LoRA can be merged")
    return float(entries.get("lora_alpha", ALPHA))
