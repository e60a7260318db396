"""What is true of a cell: log Z, and samples of the target, by prior sampling or by long runs that it checks.

Samples of the prior say what is true where enough of them count. Where they do not, many large particle systems are
pooled by their estimates of Z, each unbiased, and the samples of the prior check them. Either is made once and kept in
the user's cache under a digest of what it depends on.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from benchmarks.posterior.any_problem import Cell, Prior, settings_of
from sadt_ray.api import search
from sadt_ray.data.etth1 import cache_directory
from sadt_ray.methods import sadt
from sadt_ray.numerics.tensor_file import Damaged, read_tensors, write_tensors
from sadt_ray.processes.fingerprint import digest

FORMAT = "sadt_ray cells 1"  # to be counted up whenever the sampler changes
_PILOT_SEED, _PRIOR_SEED, _SYSTEM_SEED = 101, 202, 303
_CHUNK = 100_000
_FEW = 64  # samples of a prior by which it is known in the cache


@dataclass(frozen=True)
class GoldSize:
    """How much is spent on the truth.

    Attributes:
        pilot: samples from which bounds and lambdas come.
        draws: samples of a prior, of one that is cheap.
        dear_draws: of one that is not.
        enough: effective samples of the target from which on prior samples are the truth.
        systems, particles: of the long runs.
        kept: samples of the target.
    """

    pilot: int = 20_000
    draws: int = 1_000_000
    dear_draws: int = 100_000
    enough: float = 800.0
    systems: int = 16
    particles: int = 1_024
    kept: int = 1_000


@dataclass(frozen=True)
class CellGold:
    """The truth about a cell.

    Attributes:
        log_z, log_z_se: log E_p[exp(lambda r)].
        second: E_p[exp(2 lambda r)] / Z^2; less one, over n, it is the relative variance of n prior samples.
        samples: of the target, equally weighted.
        how: where it comes from, in words, with the disagreement of two ways where there are two.
        off: that disagreement in standard errors; NaN where there is one way.
    """

    log_z: float
    log_z_se: float
    second: float
    samples: np.ndarray
    how: str
    off: float


class Truths:
    """The truths of one prior's cells. Samples of the prior are drawn when a cell is not in the cache.

    Args:
        prior: the prior.
        size: of the truth.
        directory: of the files; ``cells`` in the user's cache if left out.
    """

    def __init__(self, prior: Prior, size: GoldSize, directory: Path | None = None) -> None:
        self.prior, self.size = prior, size
        self._directory = directory or cache_directory() / "cells"
        self._samples: np.ndarray | None = None
        few = prior.draw(_FEW, _PILOT_SEED)
        self._key = digest(FORMAT, prior.name, np.round(few, 3).tobytes(), np.asarray(prior.problem.context).tobytes())

    def settings(self) -> dict[str, float]:
        """Bounds and lambdas of the prior's rewards."""

        def arrays() -> dict[str, np.ndarray]:
            made = settings_of(self.prior, self.prior.draw(self.size.pilot, _PILOT_SEED))
            return {name: np.array(value) for name, value in made.items()}

        names = self._kept("settings", digest(self._key, str(self.size.pilot)), arrays)
        return {name: float(value) for name, value in names.items()}

    def of(self, cell: Cell) -> CellGold:
        """The truth about one cell."""
        key = digest(self._key, repr(cell.reward), f"{cell.inv_temperature}", repr(self.size), repr(cell.given))

        def arrays() -> dict[str, np.ndarray]:
            gold = self._made(cell)
            numbers = np.array([gold.log_z, gold.log_z_se, gold.second, gold.off])
            return {"numbers": numbers, "samples": gold.samples, "how": np.frombuffer(gold.how.encode(), np.uint8)}

        found = self._kept(cell.kind.replace(" ", "-"), key, arrays)
        log_z, se, second, off = found["numbers"].tolist()
        return CellGold(log_z, se, second, found["samples"], found["how"].tobytes().decode(), off)

    def _made(self, cell: Cell) -> CellGold:
        by_prior = self._by_prior(cell)
        return by_prior if _hits(by_prior, self._count) >= self.size.enough else self._checked(cell, by_prior)

    @property
    def _count(self) -> int:
        return self.size.draws if self.prior.cheap else self.size.dear_draws

    def _by_prior(self, cell: Cell) -> CellGold:
        samples = self._prior_samples()
        scorer = cell.reward.bind([cell.problem])
        parts = np.array_split(samples, -(-len(samples) // _CHUNK))
        log_weights = cell.inv_temperature * np.concatenate(
            [scorer(part, np.zeros(len(part), np.int64)) for part in parts]
        )
        log_z = float(logsumexp(log_weights) - np.log(len(samples)))
        second = (
            float(np.exp(logsumexp(2 * log_weights) - np.log(len(samples)) - 2 * log_z)) if log_z > -np.inf else 0.0
        )
        kept = _systematic(samples, log_weights, self.size.kept) if log_z > -np.inf else samples[:0]
        se = float(np.sqrt(max(second - 1, 0.0) / len(samples))) if second else np.inf
        return CellGold(log_z, se, second, kept, f"{len(samples):,} prior samples", np.nan)

    def _checked(self, cell: Cell, by_prior: CellGold) -> CellGold:
        """Long runs, checked by the samples of the prior. The truth is what has the smaller standard error."""
        runs = self._by_runs(cell)
        gap = runs.log_z - by_prior.log_z
        off = abs(gap) / np.hypot(runs.log_z_se, by_prior.log_z_se) if np.isfinite(by_prior.log_z) else np.nan
        better = runs if runs.log_z_se < by_prior.log_z_se else by_prior
        hits = _hits(by_prior, self._count)
        how = f"{better.how}; long runs - prior samples ({hits:.0f} effective) {gap:+.2f} nats, {off:.1f} se"
        return replace(better, how=how, off=float(off))

    def _by_runs(self, cell: Cell) -> CellGold:
        size = self.size
        scale = {"guidance_scale": 1.0} if cell.has_condition else {}
        method = sadt(
            n_rollouts=size.particles, particles=size.particles, inv_temperature=cell.inv_temperature, **scale
        )
        log_zs, samples, log_weights, rewards = [], [], [], []
        for number in range(size.systems):
            found = search(
                cell.prior.process, [cell.problem], cell.reward, method, seed=_SYSTEM_SEED + number, flow=None
            ).samples()[0]
            log_zs.append(found.log_z)
            samples.append(found.samples)
            rewards.append(found.rewards)
            with np.errstate(divide="ignore"):
                log_weights.append(found.log_z + np.log(found.weights))
        log_z = float(logsumexp(log_zs) - np.log(size.systems))
        ratios = np.exp(np.array(log_zs) - log_z)
        weights = np.exp(np.concatenate(log_weights) - logsumexp(np.concatenate(log_weights)))
        held = weights > 0
        second = float(weights[held] @ np.exp(cell.inv_temperature * np.concatenate(rewards)[held] - log_z))
        with np.errstate(divide="ignore"):
            kept = _systematic(np.concatenate(samples), np.log(weights), size.kept)
        se = float(ratios.std(ddof=1) / np.sqrt(size.systems))
        return CellGold(log_z, se, second, kept, f"{size.systems} runs of {size.particles:,} particles", np.nan)

    def _prior_samples(self) -> np.ndarray:
        if self._samples is None:
            self._samples = self.prior.draw(self._count, _PRIOR_SEED)
        return self._samples

    def _kept(self, name: str, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays from the cache, or made now and put there; where that cannot be written, do without."""
        path = self._directory / f"{self.prior.name}-{name}-{key[:16]}.safetensors"
        with contextlib.suppress(FileNotFoundError, Damaged), path.open("rb") as file:
            return read_tensors(file, path.stat().st_size)[0]
        arrays = make()
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                part = Path(folder) / path.name
                with part.open("wb") as file:
                    write_tensors(file, arrays, {})
                os.replace(part, path)
        return arrays


def _hits(gold: CellGold, count: int) -> float:
    """Effective number of ``count`` prior samples that are samples of the target: of a condition, those that hold."""
    return count / gold.second if gold.second else 0.0


def _systematic(samples: np.ndarray, log_weights: Float[np.ndarray, " n"], count: int) -> np.ndarray:
    """``count`` samples of equal weight: those at the weight quantiles (i + 1/2) / count."""
    ends = np.cumsum(np.exp(log_weights - log_weights.max()))
    rows: np.ndarray = samples[
        np.searchsorted(ends / ends[-1], (np.arange(count) + 0.5) / count).clip(0, len(ends) - 1)
    ]
    return rows
