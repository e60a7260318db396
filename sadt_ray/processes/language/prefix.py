"""A prompt that was evaluated once. All branches read its keys and values without copying them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.processes.language.model import LanguageModel
from sadt_ray.processes.language.prompt import Prompt


@dataclass(frozen=True)
class Prefix:
    """A prompt and the forced tokens after it, evaluated."""

    held: Float[Tensor, "2 L h P d"]  # keys and values
    hidden: Float[Tensor, " H"]  # last hidden state at the last position, float32
    logits: Float[Tensor, " V"]  # of the first token to be drawn

    @property
    def length(self) -> int:
        return self.held.shape[3]

    @property
    def nbytes(self) -> int:
        return self.held.nbytes + self.hidden.nbytes + self.logits.nbytes


class HeadInput:
    """Captures the input of a network's head: the last hidden states after the final norm, for any architecture."""

    def __init__(self, network: Any) -> None:
        self._head = network.get_output_embeddings()
        self.hidden: Tensor | None = None

    def __enter__(self) -> HeadInput:
        self._handle = self._head.register_forward_pre_hook(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()

    def _keep(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        self.hidden = inputs[0]


@torch.inference_mode()
def prefill(model: LanguageModel, prompt: Prompt) -> Prefix:
    """Evaluate a prompt. The model must be conditioned on it."""
    from transformers import DynamicCache

    network, cache = model.network, DynamicCache()  # without a config: sliding windows are applied by masks
    embeddings = model.embed(prompt).to(network.get_input_embeddings().weight.dtype)
    with HeadInput(network) as head:
        length = embeddings.shape[1]
        places = torch.arange(length + len(model.forced), device=embeddings.device)[None]
        given = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
        out = network(inputs_embeds=embeddings, position_ids=places[:, :length], **given)
        if model.forced:
            forced = torch.tensor([model.forced], device=embeddings.device)
            out = network(input_ids=forced, position_ids=places[:, length:], **given)
    assert head.hidden is not None
    layers: list[Any] = cache.layers
    return Prefix(
        torch.stack([torch.cat([layer.keys for layer in layers]), torch.cat([layer.values for layer in layers])]),
        head.hidden[0, -1].float(),
        out.logits[0, -1],
    )
