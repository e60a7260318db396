"""Compile the kernels before a clock starts. Once on a machine, about twenty seconds; later from the cache, at once."""

from __future__ import annotations

from getpass import getuser
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir

import numpy as np
from filelock import FileLock

from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Results
from sadt_ray.numerics.rng import normals
from sadt_ray.tree.search import Search


def compile_kernels() -> None:
    """Compile what this machine has not compiled yet; other processes of this installation and user wait for it."""
    here = blake2b(str(Path(__file__).resolve()).encode(), digest_size=8).hexdigest()
    with FileLock(Path(gettempdir()) / f"sadt-ray-kernels-{getuser()}-{here}.lock"):
        _run_kernels()


def _run_kernels() -> None:
    """Run every kernel of a search once, on one simulation of one level."""
    search = Search(SearchConfig(n_rollouts=2), ["warm-up"], np.zeros((1, 1), np.float32), 1)
    first, second = search.ask(1), search.ask(1)
    one, splits = np.ones(1, np.int64), np.arange(2)
    search.tell(
        Results(
            id=first.id, value=np.zeros(1), path_splits=splits, path_level=one, path_state=np.zeros((1, 1), np.float32),
            path_log_flow=np.zeros(1), sample_splits=splits, samples=np.zeros((1, 1), np.float32), rewards=np.zeros(1),
            sample_log_weight=np.zeros(1), nfe=one, reward_calls=one,
        )
    )  # fmt: skip
    search.forget(second.id)
    search.refresh_log_flow(one, np.zeros(1))
    search.samples()
    search.problem_of_nodes()
    normals(first.seed, np.zeros(1, np.int64), 1)
