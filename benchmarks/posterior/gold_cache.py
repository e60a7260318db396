"""Gold that is made once: kept in the user's cache under a digest of everything it depends on."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.posterior.gold import Gold, GoldConfig, gold_samples
from sadt_ray.data.etth1 import cache_directory
from sadt_ray.interfaces import Problem, Reward
from sadt_ray.numerics.tensor_file import Damaged, read_tensors, write_tensors
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.fingerprint import digest, pieces_of, prior_fingerprint
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.spectral import SpectralReward

FORMAT = "sadt_ray gold 1"  # to be counted up whenever the sampler changes
INV_TEMPERATURES = (10.0, 50.0)
REPLICATES = 2

Replicates = dict[float, list[Gold]]  # by inverse temperature, independent runs


def gold_for(
    problems: Sequence[Problem],
    inv_temperatures: Sequence[float] = INV_TEMPERATURES,
    progress: Callable[[int, int], None] | None = None,
    *,
    process: DiffusionProcess | None = None,
    reward: Reward | None = None,
    config: GoldConfig | None = None,
    replicates: int = REPLICATES,
    directory: Path | None = None,
) -> list[Replicates]:
    """The gold of every problem, from the cache or made now: some seconds per problem and replicate.

    Args:
        problems: what to sample.
        inv_temperatures: ascending.
        progress: called after each run with the runs done and all runs.
        process, reward: the shipped prior of ETTh1 and the spectral reward if left out.
        config: of the sampler.
        replicates: independent runs; see ``gold.pooled``.
        directory: of the files; ``gold`` in the user's cache if left out.

    Raises:
        ValueError: for a reward, or a denoiser that is no module, whose ``repr`` does not say what it is.
    """
    process, reward, config = process or load_pretrained(), reward or SpectralReward(), config or GoldConfig()
    directory = directory or cache_directory() / "gold"
    sampler = digest(FORMAT, _fingerprint(process), _named(reward), repr(list(inv_temperatures)), repr(config))
    found: list[Replicates] = [{lam: [] for lam in inv_temperatures} for _ in problems]
    for number, problem in enumerate(problems):
        for replicate in range(replicates):
            key = digest(sampler, _fingerprint_of_problem(problem), str(replicate))
            path = directory / f"{problem.name.replace('/', '-')}-{replicate}-{key[:16]}.safetensors"
            golds = _read(path)
            if golds is None:
                golds = gold_samples(process, problem, reward, inv_temperatures, config, int(key[:15], 16))
                _write(path, golds)
            for gold in golds:
                found[number][gold.inv_temperature].append(gold)
            if progress is not None:
                progress(number * replicates + replicate + 1, len(problems) * replicates)
    return found


def _write(path: Path, golds: Sequence[Gold]) -> None:
    """Put it into the cache, where it appears whole or not at all; where that cannot be written, do without."""
    arrays: dict[str, np.ndarray] = {}
    scalars = []
    for number, gold in enumerate(golds):
        fields = dict(vars(gold))
        arrays |= {f"{name}_{number}": fields.pop(name) for name in ("samples", "rewards")}
        scalars.append(fields)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            part = Path(directory) / path.name
            with part.open("wb") as file:
                write_tensors(file, arrays, {"golds": json.dumps(scalars)})
            os.replace(part, path)


def _read(path: Path) -> list[Gold] | None:
    """What a file holds; None if there is none, or it is damaged and has to be made again."""
    try:
        with path.open("rb") as file:
            arrays, metadata = read_tensors(file, path.stat().st_size)
    except (FileNotFoundError, Damaged):
        return None
    scalars = json.loads(metadata["golds"])
    return [
        Gold(samples=arrays[f"samples_{number}"], rewards=arrays[f"rewards_{number}"], **fields)
        for number, fields in enumerate(scalars)
    ]


def _fingerprint(process: DiffusionProcess) -> str:
    """Of the weights and the sampler; branch levels do not change the prior."""
    return prior_fingerprint(process) or digest(_named(process.denoiser), repr(process.sampler))


def _named(thing: object) -> str:
    """Its ``repr``, by which it is known in the cache. Raises ValueError if it does not always have the same."""
    name = repr(thing)
    if any(sign in name for sign in (" at 0x", "<lambda>", "<locals>")):
        raise ValueError(f"{name} has no repr that says what it is, and gold made for it could not be found again")
    return name


def _fingerprint_of_problem(problem: Problem) -> str:
    conditioning = problem.context if problem.conditioning is None else problem.conditioning
    return digest(
        problem.name, *pieces_of({"context": problem.context, "conditioning": conditioning, **problem.extras})
    )
