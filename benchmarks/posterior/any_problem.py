"""Five priors and six rewards that people may bring: every pair of them is a cell of ``jobs.bench generality``.

Bounds and lambda of a prior's rewards come from a pilot of its samples, so that each is as rare, or tilts as much,
under one prior as under another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import stats
from scipy.special import logsumexp
from torch import Tensor

from benchmarks.apparatus.mixture_denoiser import HOURS, Bare, days
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.data.etth1 import DataNotFound, load_etth1
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig
from sadt_ray.processes.joint import JointProcess, joint_problem
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.processes.sampling import sample_prior
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rewards.spectral import SpectralReward, SpectralScorer

REWARDS = ("limit", "total", "count", "spectral", "black box", "sum of two")
PRIORS = ("diff-k", "copula", "mixture", "bare", "joint")
_RARE, _BAND, _COUNT, _MEAN = 1e-3, 1e-2, 5e-3, 0.03  # probabilities of the conditions
_TILT = {"spectral": 3.0, "black box": 2.5, "sum of two": 1.0}  # nats, the KL divergence of the target from the prior
_STEPS, _SIGMA_MAX = 16, 20.0
_PEAK_HOUR = "peak_hour"
_CONTEXT_DAYS = 4


@dataclass(frozen=True)
class Prior:
    """A prior and its problem.

    Attributes:
        name: one of ``PRIORS``.
        process, problem: what is searched.
        draw: number of samples, seed -> independent samples [n, ...] in the units of the samples.
        cheap: whether a million samples are a matter of seconds.
    """

    name: str
    process: GenerativeProcess
    problem: Problem
    draw: Callable[[int, int], np.ndarray]
    cheap: bool = True

    def totals(self, samples: np.ndarray) -> Float[np.ndarray, "n T"]:
        """What the conditions read, in the units of the file: the series, or the sum of two."""
        scale = self.problem.scale
        mean, std = np.array(scale.mean)[:, None], np.array(scale.std)[:, None]
        stacked = samples.astype(float) if samples.ndim == 3 else samples[:, None].astype(float)
        found: np.ndarray = (mean + std * stacked).sum(1)
        return found


@dataclass(frozen=True)
class Cell:
    """A prior, a reward, and lambda of the search."""

    prior: Prior
    kind: str  # one of REWARDS
    reward: Reward
    problem: Problem
    inv_temperature: float
    given: str  # in words

    @property
    def has_condition(self) -> bool:
        return self.kind not in ("spectral", "black box")


def prior_named(name: str) -> Prior:
    """Make one of ``PRIORS``."""
    if name == "diff-k":
        return _diff_k()
    if name == "copula":
        forecast = _load_forecast("load", 9)
        return Prior(name, forecast.process(), forecast.problems()[0], _draws_of([forecast], stacked=False))
    if name == "joint":
        forecast = Forecast.from_law(
            stats.lognorm(np.stack([_widening(), 1.5 * _widening()]), scale=np.stack([_daily(9), 0.4 * _daily(15)])),
            (2, HOURS), start="2026-01-05", step="h", unit="MW", names=["A", "B"], correlation=0.95,
            history=np.stack([_history(9, 1.0), _history(15, 0.4)]),
        )  # fmt: skip
        named = [replace(part, scale=replace(part.scale, channels=(part.name,))) for part in forecast.problems()]
        return Prior(
            name,
            JointProcess(forecast.process(), 2),
            joint_problem("A and B", named),
            _draws_of([forecast], stacked=True),
        )
    denoiser = days() if name == "mixture" else Bare(days())
    process = DiffusionProcess(denoiser, SamplerConfig(_STEPS, sigma_max=_SIGMA_MAX), "none")
    return _of_process(name, process, Problem(name, _days_before()), cheap=True)


def _diff_k() -> Prior:
    try:
        data = load_etth1()
        problem = data.problem("test", 7, "OT")
    except DataNotFound:
        data = synthetic_hourly()
        problem = data.problem("test", 7, len(data.columns) - 1)
    return _of_process("diff-k", load_pretrained(), problem, cheap=False)


def _of_process(name: str, process: GenerativeProcess, problem: Problem, cheap: bool) -> Prior:
    return Prior(name, process, problem, lambda n, seed: sample_prior(process, [problem], n, seed, 8192)[0], cheap)


def _daily(peak: int) -> Float[np.ndarray, " T"]:
    return 1000 + 250 * np.cos(2 * np.pi * (np.arange(HOURS) - peak) / 24)


def _widening() -> Float[np.ndarray, " T"]:
    return 0.08 + 0.12 * np.sqrt((np.arange(HOURS) + 1) / HOURS)


def _history(peak: int, scale: float) -> Float[np.ndarray, " L"]:
    """Days before the forecast that are rougher than it."""
    rng = np.random.default_rng(peak)
    return scale * (np.tile(_daily(peak), _CONTEXT_DAYS) + 60 * rng.standard_normal(_CONTEXT_DAYS * HOURS))


def _load_forecast(name: str, peak: int) -> Forecast:
    """Load of a day in MW: log-normal laws that widen with the horizon."""
    law = stats.lognorm(_widening(), scale=_daily(peak))
    return Forecast.from_law(
        law,
        (HOURS,),
        start="2026-01-05",
        step="h",
        unit="MW",
        names=name,
        correlation=0.95,
        history=_history(peak, 1.0),
    )


def _draws_of(forecasts: Sequence[Forecast], stacked: bool) -> Callable[[int, int], np.ndarray]:
    """Samples of the scores and their values, without a chain."""
    (forecast,) = forecasts

    def draw(count: int, seed: int) -> np.ndarray:
        rng, items = np.random.default_rng(seed), len(forecast.names)
        root = np.linalg.cholesky(np.broadcast_to(forecast.correlation.matrix, (items, HOURS, HOURS)))
        z = np.einsum("itu,niu->nit", root, rng.standard_normal((count, items, HOURS)))
        item = torch.arange(items).repeat(count)
        values = forecast.marginals.transform(torch.as_tensor(z.reshape(-1, 1, HOURS)), item).numpy()
        samples = values.reshape(count, items, HOURS).astype(np.float32)
        return samples if stacked else samples[:, 0]

    return draw


def _days_before() -> Float[np.ndarray, " L"]:
    """Four days of the mixture, with noise: rougher than most of its days."""
    rng, mixture = np.random.default_rng(3), days()
    chosen = rng.choice(len(mixture.weights), _CONTEXT_DAYS, p=mixture.weights)
    drawn = [rng.multivariate_normal(mixture.means[k], mixture.covariances[k]) for k in chosen]
    return np.concatenate(drawn) + 0.3 * rng.standard_normal(_CONTEXT_DAYS * HOURS)


# ---- rewards --------------------------------------------------------------------------------------------------------


def peak_distance(samples: np.ndarray, problem: Problem) -> Float[np.ndarray, " n"]:
    """Minus the number of hours between the largest value and the hour where it is wanted. It has no gradient."""
    total = samples.sum(1) if samples.ndim == 3 else samples
    return -np.abs(total.argmax(1) - problem.extras[_PEAK_HOUR]).astype(float)


@dataclass(frozen=True)
class TotalSpectrum:
    """The spectral reward of the sum of several series: differentiable, without a look-ahead of its own."""

    spectral: SpectralReward
    oracle = False

    def bind(self, problems: Sequence[Problem]) -> TotalSpectrumScorer:
        return TotalSpectrumScorer(self.spectral.bind([replace(p, context=p.context.sum(0)) for p in problems]))


@dataclass(frozen=True)
class TotalSpectrumScorer:
    """``TotalSpectrum`` bound to problems."""

    inner: SpectralScorer

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        return self.inner(samples.sum(1), problem)

    def score_tensor(self, x: Float[Tensor, "B C T"], problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        return self.inner.score_tensor(x.sum(1), problem)


def settings_of(prior: Prior, samples: np.ndarray) -> dict[str, float]:
    """Bounds, hours and lambdas of a prior's rewards, rounded, from a pilot of its samples."""
    x = prior.totals(samples)
    total, steps = x.sum(1), x.shape[1]
    number = max(steps // 4, 1)
    centre = np.quantile(total, 0.97)
    away = np.quantile(np.abs(total - centre), _BAND)
    hours = np.bincount(x.argmax(1), minlength=steps) / len(x)
    hour = int(np.abs(hours - 0.02).argmin())
    found = {
        "limit": np.quantile(x.max(1), 1 - _RARE),
        "centre": centre,
        "width": away,
        "number": number,
        "level": np.quantile(np.sort(x, axis=1)[:, -number], 1 - _COUNT),
        "mean": np.quantile(x.mean(1), 1 - _MEAN),
        "hour": hour,
    }
    found = {key: float(f"{value:.4g}") for key, value in found.items()}
    for kind, reward in _soft_rewards(prior).items():
        problem = _with_hour(prior, found)
        rewards = reward.bind([problem])(samples, np.zeros(len(samples), np.int64))
        found[f"lambda {kind}"] = _lambda_of(rewards, _TILT[kind])
    return found


def _soft_rewards(prior: Prior) -> dict[str, Reward]:
    segment = 48 if prior.name == "diff-k" else HOURS
    spectral = SpectralReward(nperseg=segment)
    spectrum: Reward = TotalSpectrum(spectral) if prior.name == "joint" else spectral
    peak = FunctionReward(peak_distance)
    second = spectrum if prior.name in ("diff-k", "mixture") else peak
    return {"spectral": spectrum, "black box": peak, "sum of two": second}


def _with_hour(prior: Prior, settings: dict[str, float]) -> Problem:
    return replace(prior.problem, extras={**prior.problem.extras, _PEAK_HOUR: settings["hour"]})


def _lambda_of(rewards: Float[np.ndarray, " n"], nats: float) -> float:
    """lambda at which the target has this KL divergence from the prior, by bisection of its logarithm; 2 digits."""

    def divergence(lam: float) -> float:
        log_weights = lam * rewards
        log_weights -= logsumexp(log_weights)
        return float((np.exp(log_weights) * (log_weights + np.log(len(rewards)))).sum())

    low, high = -6.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(np.exp(middle)) < nats else (low, middle)
    return float(f"{np.exp(low):.2g}")


def cell_of(prior: Prior, kind: str, settings: dict[str, float]) -> Cell:
    """One of ``REWARDS`` with the settings of the prior's pilot."""
    joint, problem = prior.name == "joint", _with_hour(prior, settings)
    series, of_series = ("A + B", "(A + B)") if joint else ("", "")
    lam = settings.get(f"lambda {kind}", 1.0)
    soft = _soft_rewards(prior).get(kind)
    texts = {
        "limit": f"max{of_series} > {settings['limit']:g}",
        "total": f"sum{of_series} = {settings['centre']:g} +- {settings['width']:g}",
        "count": f"count({series} > {settings['level']:g}) >= {settings['number']:g}",
        "sum of two": f"mean{of_series} > {settings['mean']:g}",
    }
    condition = ConditionReward(texts[kind], lam) if kind in texts else None
    words = f"{texts[kind]}" if condition else ""
    if soft is None:
        assert condition is not None
        return Cell(prior, kind, condition, problem, lam, words)
    about = "spectrum" if not isinstance(soft, FunctionReward) else f"peak at hour {settings['hour']:g}"
    if condition is None:
        return Cell(prior, kind, soft, problem, lam, about)
    return Cell(prior, kind, WeightedSum((1.0, condition), (1.0, soft)), problem, lam, f"{words}, {about}")
