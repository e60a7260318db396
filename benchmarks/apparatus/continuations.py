"""Ways of drawing K texts after one prompt, to be timed against each other: each prefills and draws L tokens per text.

All but the last evaluate the prompt once, and draw the same tokens. ``shared_rows`` is what the library does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.prefix import prefill
from sadt_ray.processes.language.prior import TokenLaw
from sadt_ray.processes.language.prompt import Prompt

Way = Callable[["RandomModel", int, int], Int[Tensor, "K L"]]  # the tokens


class RandomModel:
    """A network with random weights and a prompt of random embeddings: a ``LanguageModel``."""

    one_prompt_at_a_time = False
    forced: tuple[int, ...] = ()

    def __init__(self, network: Any, positions: int) -> None:
        self.network, self.tokenizer = network, _Letters(network.config.vocab_size)
        torch.manual_seed(positions)
        self._embeddings = 0.02 * torch.randn(1, positions, network.config.hidden_size)

    def embed(self, prompt: Prompt) -> Float[Tensor, "1 P H"]:
        return self._embeddings

    def condition(self, prompt: Prompt) -> None:
        """Nothing."""


class _Letters:
    """Every token is a letter; the last of the vocabulary ends a text."""

    def __init__(self, vocab_size: int) -> None:
        self.eos_token_id = vocab_size - 1

    def encode(self, text: str, **_: object) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(chr(ord("a") + token % 26) for token in ids if token != self.eos_token_id)


@torch.inference_mode()
def shared_rows(model: RandomModel, count: int, length: int) -> Tensor:
    """K rows; each holds its own tokens only."""
    prefix, said = prefill(model, Prompt("")), _Said(count)
    branches = Branches(model.network, [(prefix, count)], length)
    tokens = said.next(prefix.logits.expand(count, -1))
    for slot in range(length - 1):
        tokens = said.next(branches.feed(tokens[:, None], torch.full((count, 1), slot)).logits[:, 0])
    return said.all()


@torch.inference_mode()
def tree_in_one_row(model: RandomModel, count: int, length: int) -> Tensor:
    """One row that holds everything, with a mask; its attention is that of ``shared_rows``."""
    prefix, said = prefill(model, Prompt("")), _Said(count)
    branches = Branches(model.network, [(prefix, 1)], count * length)
    tokens = said.next(prefix.logits.expand(count, -1))
    for depth in range(length - 1):
        slots = torch.arange(depth * count, (depth + 1) * count)[None]
        fed = branches.feed(tokens[None], slots, torch.full_like(slots, depth), _own(count, depth)[None], count)
        tokens = said.next(fed.logits[0])
    return said.all()


@torch.inference_mode()
def tree_by_mask(model: RandomModel, count: int, length: int) -> Tensor:
    """The same by a 4-D mask that transformers passes on to its own attention."""
    (cache, logits, past), said = _evaluated(model), _Said(count)
    tokens = said.next(logits.expand(count, -1))
    for depth in range(length - 1):
        seen = torch.cat([torch.ones(count, past, dtype=torch.bool), _own(count, depth)], 1)
        mask = torch.zeros(seen.shape, dtype=model.network.dtype)
        mask = mask.masked_fill(~seen, torch.finfo(mask.dtype).min)[None, None]
        places = torch.full((1, count), past + depth)
        given = {"position_ids": places, "past_key_values": cache, "attention_mask": mask}
        tokens = said.next(model.network(input_ids=tokens[None], **given).logits[0])
    return said.all()


@torch.inference_mode()
def copied_rows(model: RandomModel, count: int, length: int) -> Tensor:
    """K rows, each with a copy of the prompt's keys and values, by transformers' own cache."""
    (cache, logits, past), said = _evaluated(model), _Said(count)
    cache = copy.deepcopy(cache)
    cache.batch_repeat_interleave(count)
    tokens = said.next(logits.expand(count, -1))
    for slot in range(length - 1):
        places = torch.full((count, 1), past + slot)
        out = model.network(input_ids=tokens[:, None], position_ids=places, past_key_values=cache)
        tokens = said.next(out.logits[:, 0])
    return said.all()


@torch.inference_mode()
def generated(model: RandomModel, count: int, length: int) -> Tensor:
    """``generate`` on a batch of K copies of the prompt: plain batched generation."""
    prompts = model.embed(Prompt("")).to(model.network.dtype).expand(count, -1, -1)
    return model.network.generate(
        inputs_embeds=prompts, attention_mask=torch.ones(prompts.shape[:2], dtype=torch.long), do_sample=True,
        max_new_tokens=length, min_new_tokens=length, pad_token_id=0,
    )  # fmt: skip


WAYS: dict[str, Way] = {
    "shared rows": shared_rows,
    "token tree": tree_in_one_row,
    "4-D mask": tree_by_mask,
    "copied rows": copied_rows,
    "generate": generated,
}


class _Said:
    """What K texts have said: token i of text k is drawn with the same uniform in every way."""

    def __init__(self, count: int) -> None:
        self._count, self._tokens = count, list[Tensor]()

    def next(self, logits: Float[Tensor, "K V"]) -> Int[Tensor, " K"]:
        """One token more of each."""
        uniforms = np.random.default_rng(len(self._tokens)).uniform(size=self._count)
        self._tokens.append(TokenLaw().draw(logits, uniforms))
        return self._tokens[-1]

    def all(self) -> Int[Tensor, "K L"]:
        return torch.stack(self._tokens, 1)


def _evaluated(model: RandomModel) -> tuple[Any, Float[Tensor, "1 V"], int]:
    """The prompt in transformers' own cache, the logits after it and its length."""
    from transformers import DynamicCache

    embeddings = model.embed(Prompt("")).to(model.network.dtype)
    cache = DynamicCache()
    out = model.network(inputs_embeds=embeddings, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache, out.logits[:, -1], embeddings.shape[1]


def _own(count: int, depth: int) -> Tensor:
    """Which of the tokens that K texts said in turns are each one's own."""
    return (torch.arange((depth + 1) * count) % count)[None] == torch.arange(count)[:, None]
