"""The networks that turn a series into embeddings, with the parameter names of the published checkpoints.

In OpenTSLM-SP a series is cut into patches of 4 points, each patch becomes a vector of 128 numbers, six post-norm
transformer layers mix them, and the projector maps them to the width H of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from sadt_ray.processes.language.prompt import Prompt

PATCH = 4
WIDTH = 128
LAYERS = 6
MAX_PATCHES = 1024


class SeriesEncoder(nn.Module):
    """Patches of a series, embedded and mixed: h = layers(norm(conv(x) + pos)).

    Args:
        max_patches: most patches per series, 4 points each; in a checkpoint, the length of ``pos_embed``.
        layers: number of transformer layers; 0 in OpenTSLM-Flamingo.
    """

    def __init__(self, max_patches: int = MAX_PATCHES, layers: int = LAYERS) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, max_patches, WIDTH))
        self.patch_embed = nn.Conv1d(1, WIDTH, kernel_size=PATCH, stride=PATCH, bias=False)
        self.input_norm = nn.LayerNorm(WIDTH)
        self.encoder = _transformer(layers) if layers else nn.Identity()

    @property
    def max_points(self) -> int:
        """Length of the longest series that the encoder can read."""
        return PATCH * self.pos_embed.shape[1]

    def check_length(self, points: int) -> None:
        """Raises ValueError for a series of more than ``max_points``."""
        if points > self.max_points:
            raise ValueError(
                f"a series of {points} points cannot be read: shorten it to at most {self.max_points} points, which is "
                "what this checkpoint was trained for"
            )

    def forward(self, series: Float[Tensor, "rows points"]) -> Float[Tensor, "rows patches 128"]:
        """Embeddings of series whose length is a multiple of 4 (``pad_to_patches``).

        Raises ValueError for a length that is not, or that exceeds ``max_points``.
        """
        points = series.shape[-1]
        if points % PATCH:
            raise ValueError(f"a series of {points} points cannot be read: pad it to a multiple of {PATCH}")
        self.check_length(points)
        patches = self.patch_embed(series[:, None]).transpose(1, 2)
        return self.encoder(self.input_norm(patches + self.pos_embed[:, : points // PATCH]))


class Projector(nn.Module):
    """Maps embeddings of patches to the width of the language model: gelu(W norm(h) + b)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, hidden_size), nn.GELU())

    def forward(self, patches: Float[Tensor, "*rows 128"]) -> Float[Tensor, "*rows H"]:
        return self.projector(patches)


def pad_to_patches(series: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "rows points"]:
    """The series of one prompt in one array, padded with zeros to the next multiple of 4 of the longest.

    This is upstream's padding. Its language model attends to the zeros, so all series have as many patches as the
    longest.
    """
    longest = max(len(one) for one in series)
    points = -(-longest // PATCH) * PATCH
    return torch.stack([functional.pad(one, (0, points - len(one))) for one in series])


def padded_series(prompt: Prompt, device: torch.device) -> Float[Tensor, "rows points"]:
    """The series of a prompt as the encoder needs them. Raises ValueError for a series that is empty or not finite."""
    series = [torch.as_tensor(one, dtype=torch.float32, device=device) for one in prompt.series]
    for i, one in enumerate(series):
        if not len(one) or not torch.isfinite(one).all():
            raise ValueError(f"series {i} of the prompt is empty or holds values that are not finite; mend it first")
    return pad_to_patches(series)


def _transformer(layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        WIDTH, nhead=8, dim_feedforward=1024, dropout=0.0, activation="gelu", batch_first=True
    )
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
