"""The spectral reward of S-ADT: it compares the power spectrum of a sample with that of its context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Problem
from sadt_ray.numerics.psd import METHODS, log_psd
from sadt_ray.rewards.look_ahead import Ahead, LookAhead, Residuals


@dataclass(frozen=True)
class SpectralReward:
    """r(x) = -spectral_weight * mean_w |log S_x(w) - log E[S_c(w)]| in nats; the maximum is 0.

    The mean over the resolved frequencies is the integral of the S-ADT specification divided by the bandwidth, so the
    scale of the reward does not grow with ``nperseg``. E[S_c] is the average over the segments of the context.

    Attributes:
        spectral_weight: nats of reward per nat of mean log-spectral difference, at inverse temperature 1.
        method: PSD estimator of samples and contexts, "welch" or "multitaper".
        nperseg: segment length in time steps. Contexts and samples must be at least as long.
        eps: density added before the logarithm, in squared units of the series per cycle per sample.

    Raises:
        ValueError: for an unknown method, a weight that is not finite, nperseg < 2, or eps <= 0.
    """

    spectral_weight: float = 1.0
    method: str = "welch"
    nperseg: int = 48
    eps: float = 1e-4

    oracle = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.spectral_weight):
            raise ValueError(f"spectral_weight must be a finite number, got {self.spectral_weight}")
        if self.method not in METHODS:
            raise ValueError(f"unknown PSD method {self.method!r}; choose one of {', '.join(METHODS)}")
        if self.nperseg < 2:
            raise ValueError(f"nperseg must be at least 2 samples, got {self.nperseg}")
        if not self.eps > 0:
            raise ValueError(f"eps must be positive, got {self.eps}: a silent frequency has no logarithm otherwise")

    def bind(self, problems: Sequence[Problem]) -> SpectralScorer:
        """Estimate the spectra of all contexts, once.

        Raises ValueError with the name of a problem whose context is too short, not finite or not one series.
        """
        return SpectralScorer(self, torch.stack([self._context_log_psd(problem) for problem in problems]))

    def log_psd(self, x: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch frequencies"]:
        """log(S_x + eps) with the settings of this reward."""
        return log_psd(x, self.nperseg, self.eps, self.method)

    def _context_log_psd(self, problem: Problem) -> Float[Tensor, " frequencies"]:
        context = np.asarray(problem.context, dtype=float)
        if context.ndim != 1 or len(context) < self.nperseg or not np.isfinite(context).all():
            raise ValueError(
                f"problem {problem.name!r}: the spectral reward needs a context of one channel with at least "
                f"nperseg = {self.nperseg} finite values, got shape {context.shape}"
            )
        return self.log_psd(torch.tensor(context))


class SpectralScorer:
    """The spectral reward bound to P problems. ``score_tensor`` is differentiable."""

    def __init__(self, reward: SpectralReward, context_log_psds: Float[Tensor, "P frequencies"]) -> None:
        self.reward = reward
        self.context_log_psds = context_log_psds

    @property
    def feature_groups(self) -> int:
        """Number of frequencies. The look-ahead has two features per frequency, one kind after the other."""
        return self.context_log_psds.shape[1]

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of samples [B, time]. Raises ValueError for samples of another shape."""
        samples = np.asarray(samples)
        if samples.ndim != 2:
            raise ValueError(f"the spectral reward scores samples [B, time], got shape {samples.shape}")
        with torch.no_grad():
            return self.score_tensor(torch.tensor(samples, dtype=torch.float64), torch.tensor(problem)).numpy()

    def score_tensor(self, x: Float[Tensor, "B time"], problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Rewards as a function of a tensor. Gradients flow to ``x``."""
        target = self.context_log_psds.to(x.device, x.dtype)[problem]
        return -self.reward.spectral_weight * (self.reward.log_psd(x) - target).abs().mean(-1)

    def look_ahead(self, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
        """r~: the reward of the expected spectrum of x_0, E[S | x_t] = S(x0_hat) + E[S(x_0 - x0_hat)].

        The posterior mean x0_hat has too little power where x_0 is uncertain. The mean spectrum of the residuals adds
        the missing power, exactly, because a periodogram is quadratic. Features of each frequency: the difference of
        the logarithms, and the logarithm of the residuals' share of the expected power.
        """
        psd = METHODS[self.reward.method]
        scatter = torch.stack(
            [psd(torch.tensor(residuals(at)), self.reward.nperseg).mean(1) for at in range(num_positions)]
        )  # [positions, P, frequencies]

        def ahead(clean: Tensor, position: int, problem: np.ndarray) -> Ahead:
            index = torch.as_tensor(problem, device=clean.device)
            open_power = scatter.to(clean.device, clean.dtype)[position, index]
            power = psd(clean, self.reward.nperseg) + open_power + self.reward.eps
            difference = power.log() - self.context_log_psds.to(clean.device, clean.dtype)[index]
            value = -self.reward.spectral_weight * difference.abs().mean(-1)
            return Ahead(value, torch.cat([difference, ((open_power + self.reward.eps) / power).log()], dim=-1))

        frequencies = scatter.shape[-1]
        return LookAhead(
            ahead, 2 * frequencies * 2 * residuals(0).shape[-1]
        )  # a transform of half-overlapping segments
