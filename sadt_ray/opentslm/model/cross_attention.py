"""The layers that OpenTSLM-Flamingo adds: a resampler of the series and gated cross-attention, named as in its files.

Alayrac et al. 2022, figures 4 and 5. Before each layer of the language model, with x the text and m the latents,

    x <- x + tanh(attn_gate) attn(x, m),    x <- x + tanh(ff_gate) ff(x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sadt_ray.opentslm.model.encoder import WIDTH

HEADS, HEAD_WIDTH = 8, 64
INNER = HEADS * HEAD_WIDTH
LATENTS, DEPTH = 64, 6


@dataclass(frozen=True)
class Media:
    """The latents of a prompt's series, as one layer needs them.

    Attributes:
        keys, values: keys and values of the latents, [1, 8, 64, 64].
        uniform: output for a token that attends to all latents equally, [H].
    """

    keys: Tensor
    values: Tensor
    uniform: Tensor


class Resampler(nn.Module):
    """Summarises the patches of all series of a prompt in 64 latents (Perceiver)."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(LATENTS, WIDTH))
        self.layers = nn.ModuleList(nn.ModuleList([ResamplerAttention(), feed_forward(WIDTH)]) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, patches: Float[Tensor, "rows patches 128"]) -> Float[Tensor, "rows 64 128"]:
        latents = self.latents.expand(len(patches), -1, -1)
        for layer in self.layers:
            attend, feed = cast(nn.ModuleList, layer)
            latents = latents + attend(patches, latents)
            latents = latents + feed(latents)
        return self.norm(latents)


class ResamplerAttention(nn.Module):
    """The latents attend to the patches and to themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_media = nn.LayerNorm(WIDTH)
        self.norm_latents = nn.LayerNorm(WIDTH)
        self.to_q = nn.Linear(WIDTH, INNER, bias=False)
        self.to_kv = nn.Linear(WIDTH, 2 * INNER, bias=False)
        self.to_out = nn.Linear(INNER, WIDTH, bias=False)

    def forward(
        self, patches: Float[Tensor, "rows patches 128"], latents: Float[Tensor, "rows 64 128"]
    ) -> Float[Tensor, "rows 64 128"]:
        latents = self.norm_latents(latents)
        keys, values = self.to_kv(torch.cat([self.norm_media(patches), latents], dim=1)).chunk(2, dim=-1)
        query, keys, values = map(split_heads, (self.to_q(latents), keys, values))
        found = functional.scaled_dot_product_attention(query, keys, values)
        return self.to_out(join_heads(found))


class MaskedAttention(nn.Module):
    """Attention of text to the latents, to all latents equally, or to nothing, by the number of series before it.

    This is upstream's rule for a prompt whose series are the frames of one medium. A token before the first ``<image>``
    gets nothing. A token after the first one attends. For a token after the second or a later one all latents are
    masked, and the softmax of equal numbers is uniform; with several series this is the case for each generated token.
    The checkpoints were trained this way.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.to_q = nn.Linear(hidden_size, INNER, bias=False)
        self.to_kv = nn.Linear(WIDTH, 2 * INNER, bias=False)
        self.to_out = nn.Linear(INNER, hidden_size, bias=False)

    def read(self, latents: Float[Tensor, "1 64 128"]) -> Media:
        """Everything that evaluations of text need of the latents."""
        keys, values = self.to_kv(latents.to(self.to_kv.weight.dtype)).chunk(2, dim=-1)
        return Media(split_heads(keys), split_heads(values), self.to_out(values.mean(dim=1))[0])

    def forward(
        self, text: Float[Tensor, "rows length H"], media: Media, followed: Int[Tensor, "_ length"], attends: bool
    ) -> Float[Tensor, "rows length H"]:
        """The update of each token.

        Args:
            text: hidden states of the tokens.
            media: the latents as ``read`` returns them.
            followed: number of ``<image>`` tokens before each token.
            attends: whether ``followed`` is 1 for any token.
        """
        found = media.uniform * (followed > 1)[..., None]
        return found + self._attend(text, media) * (followed == 1)[..., None] if attends else found

    def _attend(self, text: Float[Tensor, "rows length H"], media: Media) -> Float[Tensor, "rows length H"]:
        query = split_heads(self.to_q(self.norm(text)))
        keys, values = (tensor.expand(len(query), -1, -1, -1) for tensor in (media.keys, media.values))
        return self.to_out(join_heads(functional.scaled_dot_product_attention(query, keys, values)))


class GatedCrossAttention(nn.Module):
    """The block before one layer of the language model. With gates at 0 it does not change the text."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.attn = MaskedAttention(hidden_size)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        self.ff = feed_forward(hidden_size)
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(
        self, text: Float[Tensor, "rows length H"], media: Media, followed: Int[Tensor, "_ length"], attends: bool
    ) -> Float[Tensor, "rows length H"]:
        text = text + self.attn_gate.tanh() * self.attn(text, media, followed, attends)
        return text + self.ff_gate.tanh() * self.ff(text)


def feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
    )


def split_heads(rows: Float[Tensor, "rows length 512"]) -> Float[Tensor, "rows 8 length 64"]:
    return rows.unflatten(-1, (HEADS, HEAD_WIDTH)).transpose(1, 2)


def join_heads(rows: Float[Tensor, "rows 8 length 64"]) -> Float[Tensor, "rows length 512"]:
    return rows.transpose(1, 2).flatten(2)
