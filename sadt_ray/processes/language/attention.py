"""Attention of branches to a shared prompt, without a copy of it, and to the tokens of each branch.

    softmax([q K_prompt^T, q K_branch^T]) [V_prompt; V_branch]

The queries of all rows against their prompt are one matrix product, and nothing that grows with the text is
concatenated, so the cost of a step does not grow with the number of copies of the prompt. The function is registered
with ``transformers``, so it works for every model whose layers look up their attention there (Llama, Gemma, Qwen,
Mistral, ...), without changes to these layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NAME = "sadt_branches"
_branches: ContextVar[Shared] = ContextVar("branches")


class Lanes(NamedTuple):
    """The prompt that each row continues: row b is number ``place[b]`` among the rows of prompt ``prompt[b]``."""

    prompt: Int[Tensor, " B"]
    place: Int[Tensor, " B"]
    most: int  # the largest number of rows of one prompt


@runtime_checkable
class Shared(Protocol):
    """What the rows of a batch share."""

    lanes: Lanes | None  # None if all rows continue one prompt

    def prompts(self, layer: int) -> tuple[Float[Tensor, "h G P d"], Float[Tensor, "h G P d"]]:
        """Keys and values of the prompts, shorter ones padded."""

    def unseen(self, window: int | None) -> tuple[Bool[Tensor, "B Q P"] | None, Bool[Tensor, "B Q S"] | None]:
        """Positions of its prompt and of its branch that a query must not see; None if it sees all."""


def configs_of(network: Any) -> list[Any]:
    """The configurations where the layers of a network look up their attention function."""
    _register()
    configs = {id(config): config for module in network.modules() if (config := getattr(module, "config", None))}
    return list(configs.values())


@contextmanager
def attending(configs: list[Any], shared: Shared) -> Iterator[None]:
    """Switch the layers of these configurations to branch attention; restores the previous setting at the end."""
    before = [config._attn_implementation for config in configs]
    token = _branches.set(shared)
    try:
        for config in configs:
            config._attn_implementation = NAME
        yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name
        _branches.reset(token)


def branch_attention(
    module: Any,
    query: Float[Tensor, "B H Q d"],
    key: Float[Tensor, "h B S d"],
    value: Float[Tensor, "h B S d"],
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Float[Tensor, "B Q H d"], None]:
    """Attention of one layer. ``key`` and ``value`` are those of the branches, heads first; those of the prompts come
    from the context variable."""
    shared = _branches.get()
    batch, heads, length, width = query.shape
    groups, own = heads // key.shape[0], key.shape[2]
    q = query.view(batch, -1, groups, length, width).transpose(0, 1).reshape(-1, batch, groups * length, width)
    q = q * (width**-0.5 if scaling is None else scaling)
    prompt_keys, prompt_values = shared.prompts(module.layer_idx)
    scores = torch.cat([_lanewise(q, prompt_keys.transpose(-1, -2), shared.lanes), q @ key.transpose(-1, -2)], -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    _mask(scores.view(-1, batch, groups, length, scores.shape[-1]), shared.unseen(sliding_window))
    weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
    out = _lanewise(weights[..., :-own], prompt_values, shared.lanes) + weights[..., -own:] @ value
    out = out.view(-1, batch, groups, length, width).permute(1, 3, 0, 2, 4)
    return out.reshape(batch, length, heads, width), None


def _lanewise(
    rows: Float[Tensor, "h B r n"], shared: Float[Tensor, "h G n m"], lanes: Lanes | None
) -> Float[Tensor, "h B r m"]:
    """Multiply each row by the matrix of its prompt, with one product per prompt."""
    heads, batch, each, width = rows.shape
    if lanes is None:
        return (rows.reshape(heads, batch * each, width) @ shared[:, 0]).view(heads, batch, each, -1)
    side_by_side = rows.new_zeros(heads, shared.shape[1], lanes.most, each, width)
    side_by_side[:, lanes.prompt, lanes.place] = rows
    products = side_by_side.flatten(2, 3) @ shared
    return products.view(*side_by_side.shape[:4], -1)[:, lanes.prompt, lanes.place]


def _mask(scores: Float[Tensor, "h B g Q n"], unseen: tuple[Tensor | None, Tensor | None]) -> None:
    """Set scores to -inf where a query must not look, in its prompt and in its branch."""
    of_prompt, of_branch = unseen
    if of_prompt is not None:
        scores[..., : of_prompt.shape[-1]].masked_fill_(of_prompt[None, :, None], float("-inf"))
    if of_branch is not None:
        scores[..., -of_branch.shape[-1] :].masked_fill_(of_branch[None, :, None], float("-inf"))


def _register() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS.register(NAME, branch_attention)
