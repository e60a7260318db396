"""OpenTSLM-SP: series as soft tokens between the texts of a prompt, for training and inference alike.

    [pre][text_1][patches_1] ... [text_n][patches_n][post],

Each text is tokenized separately, with its own BOS; there is nothing between the parts, and all patches are attended.
The published checkpoints were trained this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.opentslm.model.encoder import Projector, SeriesEncoder, padded_series
from sadt_ray.processes.language.prompt import Prompt


class SoftPromptModel:
    """A frozen causal language model that reads series as soft tokens: a ``LanguageModel``.

    Attributes:
        network, tokenizer: of ``transformers``.
        encoder, projector: float32, whatever the type of the network is.
        forced: BOS if the tokenizer puts it before texts, because answers were trained with it.
    """

    one_prompt_at_a_time = False

    def __init__(self, network: Any, tokenizer: Any, encoder: SeriesEncoder, projector: Projector) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.encoder, self.projector = encoder, projector
        self.forced = first_tokens(tokenizer)

    @torch.no_grad()
    def embed(self, prompt: Prompt) -> Float[Tensor, "1 P H"]:
        """The prompt as input embeddings. Raises ValueError for a series that the encoder cannot read."""
        return embed_prompts([prompt], self.network, self.tokenizer, self.encoder, self.projector)[0][None]

    def condition(self, prompt: Prompt) -> None:
        """Does nothing, because the embeddings hold everything."""

    def check(self, prompt: Prompt) -> None:
        """Raises ValueError for a series that the encoder cannot read; nothing is evaluated."""
        for series in prompt.series:
            self.encoder.check_length(len(series))

    def to(self, device: torch.device | str) -> SoftPromptModel:
        """Move all parts; returns the model itself."""
        for part in (self.network, self.encoder, self.projector):
            part.to(device)
        return self


def embed_prompts(
    prompts: Sequence[Prompt], network: Any, tokenizer: Any, encoder: SeriesEncoder, projector: Projector
) -> list[Float[Tensor, "_ H"]]:
    """Input embeddings of each prompt, [length, H]. Gradients flow to network, encoder and projector.

    The result for a prompt does not depend on the others: only series of the same length share a batch.
    """
    table = network.get_input_embeddings()
    patches = _patches_of(prompts, table.weight.device, encoder, projector)
    return [_embed(prompt, rows, table, tokenizer) for prompt, rows in zip(prompts, patches, strict=True)]


def first_tokens(tokenizer: Any) -> tuple[int, ...]:
    """BOS if the tokenizer puts it before a text; otherwise empty."""
    bos = tokenizer.bos_token_id
    return (bos,) if bos is not None and tokenizer("a").input_ids[:1] == [bos] else ()


def text_tokens(prompt: Prompt, tokenizer: Any) -> list[list[int]]:
    """The tokens of ``pre, text_1, ..., text_n, post`` as upstream feeds them.

    Upstream pads them to one length and keeps as many columns from the left as a text has tokens. With a tokenizer that
    pads on the left (Gemma's), this keeps masked padding and loses the end of each text but the longest. Checkpoints
    were trained this way. Set ``tokenizer.padding_side = "right"`` to keep the texts whole.

    Masked positions are left out here. This makes a difference only for Gemma's sliding window, which counts them.
    """
    texts = [prompt.pre, *prompt.texts, prompt.post]
    tokens: list[list[int]] = tokenizer(texts).input_ids
    if tokenizer.padding_side == "right":
        return tokens
    longest = max(map(len, tokens))
    return [part[: max(2 * len(part) - longest, 0)] for part in tokens]


def _patches_of(
    prompts: Sequence[Prompt], device: torch.device, encoder: SeriesEncoder, projector: Projector
) -> list[Float[Tensor, "_ _ H"]]:
    """Projected patches of the series of each prompt, [n, patches, H]."""
    padded = {i: padded_series(prompt, device) for i, prompt in enumerate(prompts) if prompt.series}
    order = sorted(padded, key=lambda i: padded[i].shape[1])
    patches: dict[int, Tensor] = {}
    for _, group in groupby(order, key=lambda i: padded[i].shape[1]):
        members = list(group)
        lifted = projector(encoder(torch.cat([padded[i] for i in members])))
        patches |= zip(members, lifted.split([len(padded[i]) for i in members]), strict=True)
    return [patches.get(i, torch.empty(0, 0, 0, device=device)) for i in range(len(prompts))]


def _embed(prompt: Prompt, patches: Float[Tensor, "n _ H"], table: Any, tokenizer: Any) -> Float[Tensor, "_ H"]:
    device = table.weight.device
    texts = [table(torch.tensor(part, dtype=torch.long, device=device)) for part in text_tokens(prompt, tokenizer)]
    parts = [texts[0]]
    for text, rows in zip(texts[1:-1], patches, strict=True):
        parts += [text, rows.to(text.dtype)]
    return torch.cat([*parts, texts[-1]])
