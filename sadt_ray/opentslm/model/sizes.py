"""Sizes of the published models, computed from their shapes without loading them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sadt_ray.opentslm.model.cross_attention import GatedCrossAttention, Resampler
from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder

ADDED = 3  # Flamingo's tokens; Gemma pads with one of its own, but its tokenizer has one more than its table has rows


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters by part, and the size of the cache.

    Attributes:
        network: parameters of the language model; tied embeddings count once.
        series: parameters of the networks that read series, which stay in float32.
        gated: parameters of Flamingo's gated layers; 0 with a soft prompt.
        cached: numbers per token in the cache: keys and values of all layers.
    """

    network: int
    series: int
    gated: int
    cached: int

    def bytes(self, number: int = 2) -> int:
        """Bytes of the weights, with ``number`` bytes per number of the language model (bfloat16: 2, float32: 4)."""
        return number * (self.network + self.gated) + 4 * self.series

    def cache_bytes(self, tokens: int, number: int = 2) -> int:
        """Bytes of the keys and values of ``tokens`` tokens."""
        return number * self.cached * tokens


def sizes(base: str, variant: str = "sp") -> Sizes:
    """Sizes of a published model: ``base`` as in ``names.BASES``, ``variant`` ``"sp"`` or ``"flamingo"``.

    Raises ValueError for an unknown base.
    """
    from transformers import AutoModelForCausalLM

    config = shape_of(base)
    flamingo = variant == "flamingo"
    if flamingo:
        config.vocab_size += ADDED
    width, layers = config.hidden_size, config.num_hidden_layers
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
        parts = (SeriesEncoder(layers=0), Resampler()) if flamingo else (SeriesEncoder(), Projector(width))
        gated = [GatedCrossAttention(width) for _ in range(layers)] if flamingo else []
    cached = 2 * layers * config.num_key_value_heads * config.head_dim
    return Sizes(_count([network]), _count(parts), _count(gated), cached)


def shape_of(base: str) -> Any:
    """The configuration of a published base model, as its (gated) repository states it."""
    from transformers import Gemma3TextConfig, LlamaConfig

    if base not in _SHAPES:
        raise ValueError(f"there is no published base model {base!r}; choose one of {', '.join(_SHAPES)}")
    kind, *numbers = _SHAPES[base]
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    shape: dict[str, Any] = dict(zip((*names, "head_dim", "vocab_size"), numbers, strict=True)) | {
        "tie_word_embeddings": True
    }
    if kind == "llama":
        return LlamaConfig(**shape, max_position_embeddings=131072)
    return Gemma3TextConfig(**shape, sliding_window=512, query_pre_attn_scalar=256, max_position_embeddings=32768)


_SHAPES = {
    "llama-3.2-1b": ("llama", 2048, 8192, 16, 32, 8, 64, 128256),
    "llama-3.2-3b": ("llama", 3072, 8192, 28, 24, 8, 128, 128256),
    "gemma-3-270m": ("gemma", 640, 2048, 18, 4, 1, 256, 262144),
    "gemma-3-1b-pt": ("gemma", 1152, 6912, 26, 4, 1, 256, 262144),
}


def _count(modules: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
