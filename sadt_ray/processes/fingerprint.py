"""The fingerprint of a prior in files: a digest of its weights and its sampler."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from sadt_ray.interfaces import GenerativeProcess


def prior_fingerprint(process: GenerativeProcess) -> str:
    """Digest of a diffusion whose denoiser is a network, whatever its branch levels. Empty for another process."""
    denoiser, sampler = getattr(process, "denoiser", None), getattr(process, "sampler", None)
    if not isinstance(denoiser, torch.nn.Module):
        return ""
    weights = {name: tensor.cpu().numpy() for name, tensor in denoiser.state_dict().items()}
    return digest(repr(sampler), *pieces_of(weights))


def pieces_of(named: Mapping[str, Any]) -> list[str | bytes]:
    """Names and values, ordered by name: the bytes of an array, the ``repr`` of another value."""
    return [
        piece
        for name in sorted(named)
        for piece in (name, named[name].tobytes() if isinstance(named[name], np.ndarray) else repr(named[name]))
    ]


def digest(*pieces: str | bytes) -> str:
    """Digest of 32 hexadecimal digits. It depends on the boundaries between the pieces."""
    found = blake2b(digest_size=16)
    for piece in pieces:
        content = piece.encode() if isinstance(piece, str) else piece
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()
