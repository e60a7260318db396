"""Joining a Ray cluster, or starting one on this machine. Ray is imported here only after its environment is set."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Mapping
from typing import Any

_INLINE_BYTES = 2_000_000  # results up to this size come with the reply: no object store, which takes a raylet's time
_OBJECT_STORE_BYTES = 1 << 30  # a local cluster's; results in flight are small, and what does not fit is spilled


class RayUnavailable(RuntimeError):
    """Ray is not installed, or does not start, or there is no cluster at the address."""


def connect(address: str | None, **local_options: Any) -> Mapping[str, float]:
    """Connect this process; returns the resources of the cluster that are there now.

    A cluster that is started here asks for a token that nobody else knows, since Ray listens on the network.

    Args:
        address: of a running cluster (``auto`` for the one on this machine); None starts one that ends with this
            process.
        local_options: for ``ray.init`` when it starts one.

    Raises:
        RayUnavailable: with the reason.
    """
    try:
        if address is None:
            keep_others_out()
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_max_direct_call_object_size", str(_INLINE_BYTES))
        import ray

        if not ray.is_initialized():
            local = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES, **local_options}
            ray.init(
                address="local" if address is None else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(local if address is None else {}),
            )
        return ray.cluster_resources()
    except ImportError as error:
        raise RayUnavailable(f"Ray cannot be imported ({error}); pip install 'ray>=2.60,<2.61'") from error
    except Exception as error:
        where = "does not start here" if address is None else f"cannot be reached at {address}"
        raise RayUnavailable(f"Ray {where}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Its kind, and what it says, if anything."""
    return f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")


def keep_others_out() -> None:
    """Have clusters that this process starts ask for a token of their own. Ray reads this when it is first imported;
    a program that imported it before has made its choice."""
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def disconnect() -> None:
    """Leave the cluster; one that was started here ends. A process that the cluster has started stays in it."""
    import ray

    if ray.is_initialized() and ray.get_runtime_context().get_actor_id() is None:
        ray.shutdown()
