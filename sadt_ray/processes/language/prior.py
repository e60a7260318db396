"""The law of the next token: that of the network at a sampling temperature, cut to its most probable tokens.

    p(v) proportional to softmax(logits / sampling_temperature)(v) on the top-k tokens, and among these on the nucleus
    of mass top_p, in the order of ``transformers``.

All probabilities of the search refer to this law: those of drawn tokens, of enumerated answers and of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class TokenLaw:
    """How logits become probabilities.

    Attributes:
        sampling_temperature: 1 for the model as it was trained, 0 for the most probable token (greedy).
        top_k: number of tokens that are kept; None for all.
        top_p: mass of the nucleus that is kept; None for all.

    Raises ValueError for values out of range.
    """

    sampling_temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.sampling_temperature < np.inf:
            raise ValueError(f"sampling_temperature is {self.sampling_temperature}; it must be finite and at least 0")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; keep at least one token, or None for all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1, or None for all")

    def log_probs(self, logits: Float[Tensor, "*B V"]) -> Float[Tensor, "*B V"]:
        """log p of each token, float32; -inf for tokens that are cut off."""
        logits = logits.float()
        if self.sampling_temperature == 0:
            best = logits.argmax(-1, keepdim=True)
            return torch.full_like(logits, -torch.inf).scatter_(-1, best, 0.0)
        if self.sampling_temperature != 1:
            logits = logits / self.sampling_temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, -1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        if self.top_p is not None and self.top_p < 1:
            logits = self._nucleus(logits, self.top_p)
        return logits.log_softmax(-1)

    def draw(self, logits: Float[Tensor, "B V"], uniforms: Float[np.ndarray, " B"]) -> Int[Tensor, " B"]:
        """Draw one token per row by the inverse of the distribution function, with one uniform per row."""
        if self.sampling_temperature == 0:
            return logits.argmax(-1)
        cumulative = self.log_probs(logits).exp().cumsum(-1, dtype=torch.float64)
        u = torch.as_tensor(uniforms, device=logits.device)[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, u)[:, 0]

    def _nucleus(self, logits: Tensor, top_p: float) -> Tensor:
        ordered, index = logits.sort(dim=-1, descending=True, stable=True)
        probs = ordered.softmax(-1)
        outside = probs.cumsum(-1) - probs >= top_p
        return logits.masked_fill(torch.zeros_like(outside).scatter_(-1, index, outside), -torch.inf)
