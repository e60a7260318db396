"""Whether a torch device can be used in this process."""

from __future__ import annotations

import torch


def check_device(device: str) -> None:
    """Raises ValueError for a device that cannot be used in this process."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise ValueError(f"device {device!r} cannot be used here ({error}); use cpu") from None
