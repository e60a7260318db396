"""OpenTSLM-Flamingo: a language model whose layers attend to the series through gated cross-attention.

The gated layers are hooks before the layers of an ordinary network of ``transformers``, so caches, masks and positions
work as usual. The number of series before a token follows from its position: a prompt begins at position 0, and
generated tokens have the positions after it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sadt_ray.opentslm.model.cross_attention import GatedCrossAttention, Media, Resampler
from sadt_ray.opentslm.model.encoder import SeriesEncoder, padded_series
from sadt_ray.processes.language.prompt import Prompt

IMAGE, END_OF_CHUNK, PAD = "<image>", "<|endofchunk|>", "<PAD>"


class FlamingoModel:
    """A frozen causal language model with gated layers that read series: a ``LanguageModel``.

    It differs from upstream in one point: there, the tokens after a generated ``<image>`` attend to the series again.
    No checkpoint was trained to generate that token.

    Attributes:
        network: a network of ``transformers``. Its layers attend to the series of the last prompt of ``condition``.
        tokenizer: its tokenizer, with the tokens that ``grow_vocabulary`` adds.
        forced: empty, because answers were trained as continuations of the prompt's text.
        encoder, resampler: float32, whatever the type of the network is.
        gated: one block per layer of the network.
    """

    one_prompt_at_a_time = True

    def __init__(
        self, network: Any, tokenizer: Any, encoder: SeriesEncoder, resampler: Resampler, gated: nn.ModuleList
    ) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.forced: tuple[int, ...] = ()
        self.encoder, self.resampler, self.gated = encoder, resampler, gated
        self._image: int = tokenizer.convert_tokens_to_ids(IMAGE)
        self._seen = _Seen()
        self._asked: Prompt | None = None
        look(network, gated, self._seen)

    @torch.no_grad()
    def embed(self, prompt: Prompt) -> Float[Tensor, "1 P H"]:
        """The text of a prompt as input embeddings. Raises ValueError for a prompt without series."""
        table = self.network.get_input_embeddings()
        return table(self._tokens(prompt).to(table.weight.device))[None]

    @torch.no_grad()
    def condition(self, prompt: Prompt) -> None:
        """Make the layers attend to the series of this prompt. Raises ValueError for series that do not fit."""
        if self._asked is not None and _same(prompt, self._asked):
            return
        device = self.encoder.pos_embed.device
        tokens = self._tokens(prompt)
        patches = self.encoder(padded_series(prompt, device))
        latents = self.resampler(patches.flatten(0, 1)[None])
        media = [cast(GatedCrossAttention, block).attn.read(latents) for block in self.gated]
        self._seen.hold(media, (tokens == self._image).cumsum(0).to(device))
        self._asked = prompt

    def check(self, prompt: Prompt) -> None:
        """Raises ValueError for a series that the encoder cannot read; nothing is evaluated."""
        for series in prompt.series:
            self.encoder.check_length(len(series))

    def to(self, device: torch.device | str) -> FlamingoModel:
        """Move all parts. ``condition`` must be called before the next evaluation."""
        for part in (self.network, self.encoder, self.resampler, self.gated):
            part.to(device)
        self._asked, self._seen.media = None, []
        return self

    def _tokens(self, prompt: Prompt) -> Int[Tensor, " P"]:
        if not prompt.series:
            raise ValueError(
                "OpenTSLM-Flamingo reads series: give the prompt at least one, or take a soft-prompt model"
            )
        return torch.tensor(self.tokenizer(flamingo_text(prompt)).input_ids, dtype=torch.long)


class _Seen:
    """What the layers attend to: state between ``condition`` and the evaluations that belong to it."""

    def __init__(self) -> None:
        self.media: list[Media] = []
        self.table = torch.zeros(0)  # number of series before each token of the prompt; later tokens are as its last
        self.followed = torch.zeros(0)
        self.attends = False

    def hold(self, media: list[Media], table: Int[Tensor, " P"]) -> None:
        self.media, self.table = media, table

    def place(self, positions: Int[Tensor, "_ length"]) -> None:
        """Set the positions of the tokens that are evaluated next."""
        self.followed = self.table[positions.clamp(max=len(self.table) - 1)]
        self.attends = bool((self.followed == 1).any())


def look(network: Any, gated: nn.ModuleList, seen: _Seen) -> None:
    """Register the gated blocks as hooks before the layers of the network."""
    network.model.register_forward_pre_hook(partial(_place, seen), with_kwargs=True)
    for i, (layer, block) in enumerate(zip(network.model.layers, gated, strict=True)):
        layer.register_forward_pre_hook(partial(_look, seen, cast(GatedCrossAttention, block), i), with_kwargs=True)


def flamingo_text(prompt: Prompt) -> str:
    """The prompt as one text, as upstream tokenizes it."""
    described = "".join(f" {IMAGE} {text} {END_OF_CHUNK}" for text in prompt.texts)
    return prompt.pre + described + (f" {prompt.post}" if prompt.post else "")


def grow_vocabulary(tokenizer: Any) -> None:
    """Add Flamingo's tokens in upstream's order, which determines their numbers."""
    tokens = [END_OF_CHUNK, IMAGE] + ([PAD] if tokenizer.pad_token is None else [])
    tokenizer.add_tokens(tokens, special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = PAD


def _same(one: Prompt, other: Prompt) -> bool:
    if one is other:
        return True
    texts = (one.pre, one.texts, one.post) == (other.pre, other.texts, other.post)
    return texts and all(map(np.array_equal, one.series, other.series))


def _place(seen: _Seen, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
    if not seen.media:
        raise ValueError("condition() was not called: the layers have no series to attend to")
    positions = kwargs.get("position_ids")
    if positions is None:
        inputs = kwargs.get("inputs_embeds")
        inputs = inputs if inputs is not None else kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        cache = kwargs.get("past_key_values")
        past = cache.get_seq_length() if cache is not None else 0
        positions = torch.arange(past, past + inputs.shape[1], device=inputs.device)[None]
    seen.place(positions)


def _look(
    seen: _Seen, block: GatedCrossAttention, i: int, module: nn.Module, args: tuple, kwargs: dict[str, Any]
) -> tuple[tuple, dict[str, Any]]:
    """The input of a layer after its gated block."""
    if args:
        return (block(args[0], seen.media[i], seen.followed, seen.attends), *args[1:]), kwargs
    return args, kwargs | {"hidden_states": block(kwargs["hidden_states"], seen.media[i], seen.followed, seen.attends)}
