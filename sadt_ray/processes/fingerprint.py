"""What a prior is known by in files: a digest of its weights and of how it is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from sadt_ray.interfaces import GenerativeProcess


def prior_fingerprint(process: GenerativeProcess) -> str:
    """Of a diffusion whose denoiser is a network; branch levels do not change it. Empty for any other process."""
    denoiser, sampler = getattr(process, "denoiser", None), getattr(process, "sampler", None)
    if not isinstance(denoiser, torch.nn.Module):
        return ""
    weights = {name: tensor.cpu().numpy() for name, tensor in denoiser.state_dict().items()}
    return digest(repr(sampler), *pieces_of(weights))


def pieces_of(named: Mapping[str, Any]) -> list[str | bytes]:
    """Names and values, in the order of the names: arrays by their bytes, other things by their ``repr``."""
    return [
        piece
        for name in sorted(named)
        for piece in (name, named[name].tobytes() if isinstance(named[name], np.ndarray) else repr(named[name]))
    ]


def digest(*pieces: str | bytes) -> str:
    """32 hexadecimal digits; where one piece ends and the next begins counts."""
    found = blake2b(digest_size=16)
    for piece in pieces:
        content = piece.encode() if isinstance(piece, str) else piece
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()
