"""Attention of branches to a prompt that they share without a copy of it, and to what each has said since.

    softmax([q K_prompt^T, q K_branch^T]) [V_prompt; V_branch]

All rows' queries against the prompt are one matrix product, whatever their number, and nothing is concatenated that
grows: a step costs what its tokens cost. It is an attention function of ``transformers``' own registry, so it serves
every model whose layers look theirs up there (Llama, Gemma, Qwen, Mistral, ...), and those layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NAME = "sadt_branches"
_branches: ContextVar[Shared] = ContextVar("branches")


class Shared(Protocol):
    """What the rows of a batch have in common with others, layer by layer."""

    def prompts(self, layer: int) -> list[tuple[Float[Tensor, "h P d"], Float[Tensor, "h P d"], int]]:
        """Keys and values of each prompt, and the number of consecutive rows that continue it."""

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
    groups = heads // key.shape[0]
    q = query.view(batch, -1, groups, length, width).transpose(0, 1).reshape(-1, batch, groups * length, width)
    q = q * (width**-0.5 if scaling is None else scaling)
    prompts = shared.prompts(module.layer_idx)
    scores = torch.cat([_prompt_scores(q, prompts), q @ key.transpose(-1, -2)], -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = _masked(scores.unflatten(2, (groups, length)), prompts, shared.unseen(sliding_window))
    weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype).flatten(2, 3)
    out = _prompt_values(weights[..., : -key.shape[2]], prompts) + weights[..., -key.shape[2] :] @ value
    return out.unflatten(2, (groups, length)).permute(1, 3, 0, 2, 4).reshape(batch, length, heads, width), None


def _prompt_scores(q: Tensor, prompts: list) -> Tensor:
    """q K^T of every row with its own prompt, [h, B, g Q, P]; shorter prompts are filled up."""
    if len(prompts) == 1:
        return (q.flatten(1, 2) @ prompts[0][0].transpose(-1, -2)).unflatten(1, q.shape[1:3])
    scores = q.new_zeros(*q.shape[:3], max(keys.shape[1] for keys, _, _ in prompts))
    start = 0
    for keys, _, rows in prompts:
        some = q[:, start : start + rows]
        scores[:, start : start + rows, :, : keys.shape[1]] = _prompt_scores(some, [(keys, None, rows)])
        start += rows
    return scores


def _prompt_values(weights: Tensor, prompts: list) -> Tensor:
    """The prompts' share of the output, [h, B, g Q, d]."""
    if len(prompts) == 1:
        return (weights.flatten(1, 2) @ prompts[0][1]).unflatten(1, weights.shape[1:3])
    parts, start = [], 0
    for _, values, rows in prompts:
        some = weights[:, start : start + rows, :, : values.shape[1]]
        parts.append(_prompt_values(some, [(None, values, rows)]))
        start += rows
    return torch.cat(parts, 1)


def _masked(scores: Tensor, prompts: list, unseen: tuple[Tensor | None, Tensor | None]) -> Tensor:
    """-inf where a query must not look; scores are [h, B, g, Q, P + S]."""
    of_prompt, of_branch = unseen
    longest = max(keys.shape[1] for keys, _, _ in prompts)
    if of_prompt is not None:
        scores[..., :longest].masked_fill_(of_prompt[None, :, None], float("-inf"))
    if of_branch is not None:
        scores[..., longest:].masked_fill_(of_branch[None, :, None], float("-inf"))
    return scores


def _register() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS.register(NAME, branch_attention)
