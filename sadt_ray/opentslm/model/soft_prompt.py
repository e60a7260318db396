"""OpenTSLM-SP: series as soft tokens between the texts of a prompt, for training and inference alike.

    [pre][text_1][patches_1] ... [text_n][patches_n][post],

each text tokenised on its own with its own BOS, nothing between the parts, every patch attended. That is how the
published checkpoints were trained.
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
        encoder, projector: in float32, whatever the network's type is.
        forced: BOS where the tokenizer puts one before a text, since answers were trained with it.
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
        """Nothing: a soft prompt has all of it in its embeddings."""

    def check(self, prompt: Prompt) -> None:
        """Raises ValueError for a series that the encoder cannot read; nothing is evaluated."""
        for series in prompt.series:
            self.encoder.check_length(len(series))

    def to(self, device: torch.device | str) -> SoftPromptModel:
        """Move every part."""
        for part in (self.network, self.encoder, self.projector):
            part.to(device)
        return self


def embed_prompts(
    prompts: Sequence[Prompt], network: Any, tokenizer: Any, encoder: SeriesEncoder, projector: Projector
) -> list[Float[Tensor, "_ H"]]:
    """Every prompt as input embeddings, each of its own length; gradients reach network, encoder and projector.

    Prompts are encoded together, and are what they would be alone: only those whose series have as many points share
    a batch.
    """
    table = network.get_input_embeddings()
    patches = _patches_of(prompts, table.weight.device, encoder, projector)
    return [_embed(prompt, rows, table, tokenizer) for prompt, rows in zip(prompts, patches, strict=True)]


def first_tokens(tokenizer: Any) -> tuple[int, ...]:
    """BOS if the tokenizer puts it before a text, else nothing."""
    bos = tokenizer.bos_token_id
    return (bos,) if bos is not None and tokenizer("a").input_ids[:1] == [bos] else ()


def text_tokens(prompt: Prompt, tokenizer: Any) -> list[list[int]]:
    """The tokens of ``pre, text_1, ..., text_n, post`` as upstream feeds them.

    Upstream pads them to one length and keeps as many columns from the left as a text has tokens. Where a tokenizer
    pads on the left (Gemma's does), that keeps the padding, which is masked, and loses the end of every text but the
    longest. Checkpoints were trained so. Set ``tokenizer.padding_side = "right"`` to keep the texts whole.
    Masked places are left out here; only Gemma's sliding window tells, which upstream counts in places with them.
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
    """Projected patches of each prompt's series [n, patches, H]."""
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
