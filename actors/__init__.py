"""Searches on Ray: a tree owner, rollout workers and a learner as actors. The only package that imports Ray.

``ray_session`` is what library users need; it is imported on first use, so that Ray is not loaded before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.cluster import ray_session

__all__ = ["ray_session"]


def __getattr__(name: str) -> Any:
    if name == "ray_session":
        from actors.cluster import ray_session

        return ray_session
    raise AttributeError(f"module 'actors' has no attribute {name!r}")
