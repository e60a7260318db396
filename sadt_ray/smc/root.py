"""A guided root: x_T proposed where the look-ahead psi is large, instead of from the prior alone.

x_T is a function of standard normal noise z. The proposal is a mixture of unit normals about J centres and the prior,

    q(z) = (1 - eps) (1/J) sum_j N(z; s_j, I) + eps N(z; 0, I).

A pool of m n draws gets the weights p(z)/q(z) psi(z), and n particles are resampled from it. The mean weight of the
pool enters Z_hat, so Z_hat stays unbiased for any centres and any psi. The share eps of the prior bounds p/q by 1/eps.

It is guided for problems whose psi differs between draws of x_T from the prior: where the effective share of 256 draws
is below a fifth. Elsewhere nothing is decided at the root, and x_T comes from the prior.

The centres are the modes of psi(z) N(z; 0, I), climbed from J draws of the prior, so that several modes are found.
Without gradients they follow from draws that are tempered towards psi (cross-entropy method: Rubinstein 1999).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import Chain
from sadt_ray.numerics.rng import derive_seed_grid, derive_seeds, normals, uniforms
from sadt_ray.processes.walk import StartsFromNoise, walk_from
from sadt_ray.smc.twists import LOWEST, Twist

NUM_CENTRES = 16
PRIOR_SHARE = 0.1
GUIDED_BELOW = 0.2
_CLIMBS = 24
_CENTRES, _POOL, _PICK = 12, 13, 14  # streams
_SEED = 0x5AD7
_LONGEST = 3.0  # of a climbing step
_ROUNDS, _ROUND_SIZE = 8, 256  # of the cross-entropy method
_ROUND_ESS = 0.2


class RootProposal:
    """Proposals of x_T for the problems of a chain under a twist. The centres of a problem are found once.

    Args:
        chain: whose walks start from noise.
        twist: for the same problems.
        tickets: per problem, about, among which the cost of finding its centres is divided.
        guided_below: effective share of prior draws under psi below which x_T is proposed; above 1 for always.
    """

    def __init__(self, chain: Chain, twist: Twist, tickets: int = 1, guided_below: float = GUIDED_BELOW) -> None:
        self._chain, self._twist, self._tickets, self._guided_below = chain, twist, tickets, guided_below
        self._roots = chain.root_states()
        self._centres: dict[int, Tensor] = {}
        self._guides: dict[int, bool] = {}
        self._looks: dict[int, int] = {}  # evaluations of the twist that a problem took so far
        self._width = self._walk(np.zeros(1, np.int64)).noise_width

    def guides(self, problem: int) -> bool:
        """Whether x_T of a problem is proposed: whether psi differs between draws of the prior."""
        if problem not in self._guides:
            z = self._normals(_ROUND_SIZE, 0)
            log_psi = self._log_psi(z, np.full(len(z), problem))
            known = log_psi[log_psi > LOWEST]
            share = 1 / np.square(_normalised(known)).sum() / len(z) if len(known) else 1.0
            self._guides[problem], self._looks[problem] = bool(share < self._guided_below), len(z)
        return self._guides[problem]

    def _normals(self, count: int, stream: int) -> Float[Tensor, "count W"]:
        """Standard normal numbers that are the same for every problem and on every machine."""
        seeds = derive_seeds(_SEED, _CENTRES, np.arange(count))
        return torch.as_tensor(normals(seeds, np.full(count, stream), self._width))

    def propose(
        self, problem: Int[np.ndarray, " B"], seeds: UInt64[np.ndarray, " B"], count: int
    ) -> tuple[Float[Tensor, "B count W"], Float[np.ndarray, "B count"], Float[np.ndarray, "B count"]]:
        """Noises of ``count`` proposals of x_T for each row, their log p/q, and their log psi.

        The draws of a row depend on its problem and its seed alone.
        """
        centres = torch.stack([self._centres_of(int(p)) for p in problem])  # [B, J, W]
        rows, number, width = centres.shape
        inner = derive_seed_grid(seeds, _POOL, count)
        noise = torch.as_tensor(normals(inner.ravel(), np.zeros(rows * count, np.int64), width)).to(centres)
        u = uniforms(seeds, np.full(rows, _PICK), count)
        pick = np.floor((u - PRIOR_SHARE) / (1 - PRIOR_SHARE) * number).clip(0, number - 1).astype(np.int64)
        index = torch.as_tensor(pick, device=centres.device)[:, :, None].expand(rows, count, width)
        from_prior = torch.as_tensor(u < PRIOR_SHARE, device=centres.device)[:, :, None]
        noise = noise.reshape(rows, count, width) + torch.where(from_prior, 0.0, centres.gather(1, index))
        # log q - log p = log(eps + (1 - eps) mean_j exp(z s_j - |s_j|^2 / 2))
        tilt = noise @ centres.transpose(1, 2) - centres.square().sum(-1)[:, None] / 2
        log_mixture = torch.logsumexp(tilt, dim=-1) - math.log(number) + math.log(1 - PRIOR_SHARE)
        log_ratio = -torch.logaddexp(log_mixture, torch.full_like(log_mixture, math.log(PRIOR_SHARE)))
        flat = np.repeat(np.asarray(problem), count)
        log_psi = self._log_psi(noise.reshape(-1, width), flat).reshape(rows, count)
        return noise, log_ratio.double().cpu().numpy(), log_psi

    def setup(self, problem: Int[np.ndarray, " B"]) -> tuple[Float[np.ndarray, " B"], Int[np.ndarray, " B"]]:
        """Each row's share of what looking at its problem's root has cost so far: evaluations, and reward calls."""
        looks = np.array([self._looks.get(int(p), 0) for p in problem], np.int64)
        return self._twist.nfe * looks / self._tickets, -(-self._twist.reward_calls * looks // self._tickets)

    @torch.no_grad()
    def _log_psi(self, noise: Float[Tensor, "N W"], problem: Int[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        walk = self._walk(problem)
        return self._twist(walk.view_from(noise)).double().cpu().numpy()

    def _walk(self, problem: Int[np.ndarray, " N"]) -> StartsFromNoise:
        walk = walk_from(self._chain, self._roots[problem], 0, problem)
        assert isinstance(walk, StartsFromNoise)
        return walk

    def _centres_of(self, problem: int) -> Float[Tensor, "J W"]:
        if problem not in self._centres:
            if self._twist.differentiable:
                start = self._normals(NUM_CENTRES, 0)
                found, looks = self._climbed(self._walk(np.full(NUM_CENTRES, problem)), start)
            else:
                found, looks = self._tempered(problem)
            self._centres[problem], self._looks[problem] = found.detach(), self._looks.get(problem, 0) + looks
        return self._centres[problem]

    def _climbed(self, walk: StartsFromNoise, s: Float[Tensor, "J W"]) -> tuple[Float[Tensor, "J W"], int]:
        """Modes of log psi(s) - |s|^2 / 2, by gradient steps whose length follows their success, and their looks.

        A gradient costs as much as a look.
        """
        rate = torch.full((len(s), 1), 0.5)
        height, slope = self._climb_from(walk, s)
        for _ in range(_CLIMBS):
            step = rate * slope
            step = step * (_LONGEST / step.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
            higher, new_slope = self._climb_from(walk, s + step)
            better = (higher > height)[:, None]
            s, slope = torch.where(better, s + step, s), torch.where(better, new_slope, slope)
            height = torch.where(better[:, 0], higher, height)
            rate = torch.where(better, 1.3 * rate, 0.4 * rate)
        return s, 2 * len(s) * (1 + _CLIMBS)

    def _climb_from(self, walk: StartsFromNoise, s: Float[Tensor, "J W"]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            s = s.detach().requires_grad_(True)
            log_psi = self._twist(walk.view_from(s))
            (slope,) = torch.autograd.grad(log_psi.sum(), s)
        s = s.detach()
        return log_psi.detach().to(s) - s.square().sum(1) / 2, torch.nan_to_num(slope - s, 0.0, 0.0, 0.0)

    def _tempered(self, problem: int) -> tuple[Float[Tensor, "J W"], int]:
        """Draws of N(m, I) whose mean m moves to where psi^tau is large, tau from 0 to 1 as far as the draws reach.

        Returns the centres, and how often the twist was looked at.
        """
        mean, looks = torch.zeros(self._width), 0
        rows = np.full(_ROUND_SIZE, problem)
        for turn in range(_ROUNDS):
            z = mean + self._normals(_ROUND_SIZE, 1 + turn)
            log_psi = self._log_psi(z, rows)
            looks = (1 + turn) * _ROUND_SIZE
            known = log_psi > LOWEST
            if not known.any():
                break
            log_psi = np.where(known, log_psi, log_psi[known].min())
            base = -(z @ mean).double().numpy() + float(mean.square().sum()) / 2  # log p/q
            tau = _largest_power(base, log_psi)
            weights = _normalised(base + tau * log_psi)
            mean = torch.as_tensor(weights).float() @ z
            if tau == 1.0:
                ancestors = np.searchsorted(np.cumsum(weights), (np.arange(NUM_CENTRES) + 0.5) / NUM_CENTRES)
                half = z[torch.as_tensor(ancestors.clip(0, len(z) - 1))]
                return mean + (half - mean) / 2, looks
        return mean[None].repeat(NUM_CENTRES, 1), looks


def _normalised(log_weights: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def _largest_power(base: Float[np.ndarray, " N"], log_psi: Float[np.ndarray, " N"]) -> float:
    """The largest tau up to 1 that leaves enough effective draws, by bisection."""

    def enough(tau: float) -> bool:
        weights = _normalised(base + tau * log_psi)
        return 1 / np.square(weights).sum() >= _ROUND_ESS * len(weights)

    if enough(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low
