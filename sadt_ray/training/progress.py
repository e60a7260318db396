"""How trainings say how far they are."""

from __future__ import annotations

from collections.abc import Callable

Show = Callable[[str, int, int, str], None]
"""Told after every step: phase, step, most steps, losses in words."""


def show_nothing(phase: str, step: int, of: int, losses: str) -> None:
    """The default: nobody watches."""
