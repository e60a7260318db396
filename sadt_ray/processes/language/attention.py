"""Attention of branches to a prompt that they share without a copy of it, and to what each has said since.

    softmax([q K_prompt^T, q K_branch^T]) [V_prompt; V_branch]

All rows' queries against their prompt are one matrix product, whatever their number, and nothing is concatenated that
grows: a step costs what its tokens cost. It is an attention function of ``transformers``' own registry, so it serves
every model whose layers look theirs up there (Llama, Gemma, Qwen, Mistral, ...), and those layers stay as they are.
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
    """Which prompt each row continues: row b is number ``place[b]`` of the rows of prompt ``prompt[b]``."""

    prompt: Int[Tensor, " B"]
    place: Int[Tensor, " B"]
    most: int  # rows of one prompt


@runtime_checkable
class Shared(Protocol):
    """What the rows of a batch have in common with others."""

    lanes: Lanes | None  # None where all rows continue one prompt

    def prompts(self, layer: int) -> tuple[Float[Tensor, "h G P d"], Float[Tensor, "h G P d"]]:
        """Keys and values of the prompts, the shorter ones filled up."""

    def unseen(self, window: int | None) -> tuple[Bool[Tensor, "B Q P"] | None, Bool[Tensor, "B Q S"] | None]:
        """Which positions of its prompt and of its branch a query must not see; None where it sees them all."""


def configs_of(network: Any) -> list[Any]:
    """The configurations in which the layers of a network look their attention up."""
    _register()
    configs = {id(config): config for module in network.modules() if (config := getattr(module, "config", None))}
    return list(configs.values())


@contextmanager
def attending(configs: list[Any], shared: Shared) -> Iterator[None]:
    """Let the layers of these configurations attend to branches; what they did before is restored."""
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
    """One layer. Keys and values are those of the branches, heads first; the prompts' come from the context."""
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
    """Each row times the matrix of its prompt: one product a prompt, of all its rows."""
    heads, batch, each, width = rows.shape
    if lanes is None:
        return (rows.reshape(heads, batch * each, width) @ shared[:, 0]).view(heads, batch, each, -1)
    side_by_side = rows.new_zeros(heads, shared.shape[1], lanes.most, each, width)
    side_by_side[:, lanes.prompt, lanes.place] = rows
    products = side_by_side.flatten(2, 3) @ shared
    return products.view(*side_by_side.shape[:4], -1)[:, lanes.prompt, lanes.place]


def _mask(scores: Float[Tensor, "h B g Q n"], unseen: tuple[Tensor | None, Tensor | None]) -> None:
    """-inf where a query must not look: first its prompt, then its branch."""
    of_prompt, of_branch = unseen
    if of_prompt is not None:
        scores[..., : of_prompt.shape[-1]].masked_fill_(of_prompt[None, :, None], float("-inf"))
    if of_branch is not None:
        scores[..., -of_branch.shape[-1] :].masked_fill_(of_branch[None, :, None], float("-inf"))


def _register() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS.register(NAME, branch_attention)
