"""The parts of a Flamingo checkpoint. A file has up to four names for each tensor; one of them is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_MARK = "perceiver.latents"
_LAYER = re.compile(r"lang_encoder\.old_decoder_blocks\.(\d+)\.(.+)")
_GATED = "lang_encoder.gated_cross_attn_layers."
_AGAIN = "lang_encoder.model.layers."  # the layers a second time, wrapped


@dataclass(frozen=True)
class FlamingoState:
    """States of the encoder, the resampler, the gated layers and the language model, by their modules' names."""

    encoder: dict[str, Tensor]
    resampler: dict[str, Tensor]
    gated: dict[str, Tensor]
    network: dict[str, Tensor]

    @property
    def hidden_size(self) -> int:
        """Width of the language model; 0 if its embeddings are missing."""
        table = self.network.get("model.embed_tokens.weight")
        return 0 if table is None else int(table.shape[1])


def split_state(state: Mapping[str, Tensor]) -> FlamingoState:
    """Sort the tensors by part, with one name each. Raises ValueError for a state without a resampler."""
    marks = [key.removesuffix(_MARK) for key in state if key.endswith(_MARK)]
    if not marks:
        raise ValueError(f"the checkpoint's model_state has no {_MARK}; it is not one of OpenTSLM-Flamingo")
    prefix = min(marks, key=len)
    parts = FlamingoState({}, {}, {}, {})
    for key, tensor in state.items():
        if key.startswith(prefix):
            _sort(parts, key.removeprefix(prefix), tensor)
    return parts


def _sort(parts: FlamingoState, key: str, tensor: Tensor) -> None:
    if key.startswith("vision_encoder."):
        parts.encoder[key.removeprefix("vision_encoder.")] = tensor
    elif key.startswith("perceiver."):
        parts.resampler[key.removeprefix("perceiver.")] = tensor
    elif key.startswith(_GATED):
        parts.gated[key.removeprefix(_GATED)] = tensor
    elif layer := _LAYER.fullmatch(key):
        parts.network[f"model.layers.{layer[1]}.{layer[2]}"] = tensor
    elif key.startswith("lang_encoder.") and not key.startswith(_AGAIN):
        parts.network[key.removeprefix("lang_encoder.")] = tensor
