"""CPU threads of PyTorch: one for rollouts, unless the user asks for more.

The matrices of a rollout are too small for several threads. A sum that is split over threads is also rounded
differently. With one thread everywhere, a search gives the same bits in this process and on any worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def limited_threads(threads: int = 1) -> Iterator[None]:
    """Context in which PyTorch uses ``threads`` threads."""
    before = torch.get_num_threads()
    if before == threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
