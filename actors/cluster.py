"""Joining a Ray cluster, or starting one on this machine, and sessions on it.

Ray is imported here only after its environment is set.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sadt_ray.engine.plan import default_batch_size
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.runs.recording import Recording
from sadt_ray.session import NO_FLOW, FlowSource, Session, SessionFactory

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


def ray_session(
    num_workers: int | None = None,
    *,
    address: str | None = None,
    cpus_per_worker: float = 1.0,
    gpus_per_worker: float | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
) -> SessionFactory:
    """Sessions on the workers of a Ray cluster, for ``sadt_ray.sample(..., session=ray_session(num_workers=8))``.

    Args:
        num_workers: rollout workers; as many as the cluster has room for now, and the rollouts keep busy, if not given.
        address: of a running cluster, ``auto`` for the one on this machine; None starts one on this machine that ends
            with this process.
        cpus_per_worker: CPUs of each worker, which are also its threads.
        gpus_per_worker: GPUs of each worker, or a fraction of one; 1 on a cuda device, else 0, if not given.
        device: where the process runs: cpu or cuda.
        batch_size: rollouts per batch; two per problem, within 16 and 256, and more if a device can take them, if not
            given.

    Raises:
        RayUnavailable: if Ray is not installed, does not start, or there is no cluster at the address.
        ValueError: if the cluster has no room for a worker.
    """
    resources = connect(address)
    from actors.session import RaySession, WorkerSpec
    from actors.tree_owner import BatchPolicy

    gpus = (0.0 if device == "cpu" else 1.0) if gpus_per_worker is None else gpus_per_worker
    worker_spec = WorkerSpec(num_workers, cpus_per_worker, gpus, None if device == "cpu" else device)
    worker_spec.size(resources, may_grow=address is not None)  # refused here, before anything is written

    def open_session(
        process: GenerativeProcess,
        reward: Reward,
        problems: Sequence[Problem],
        recording: Recording | None = None,
        simulations: int | None = None,
        flow_source: FlowSource = NO_FLOW,
    ) -> AbstractContextManager[Session]:
        size = batch_size or default_batch_size(len(problems))
        batch_policy = BatchPolicy(size, fixed=batch_size is not None)
        flow, learning = flow_source
        return RaySession(
            process, reward, problems, worker_spec, recording, batch_policy, resources, simulations,
            flow=flow, learning=learning,
        )  # fmt: skip

    return open_session
