"""A diffusion prior as a frozen Markov chain: Karras noise levels, ancestral steps, branch levels along the way.

    x_T ~ the noisy prior at sigma_max,    x_{i+1} ~ q(x_{i+1} | x_i, x_0 = D(x_i; sigma_i, c)),    i = 0..n-1

The chain uses its denoiser through the ``Denoiser`` protocol only, so a trained network and an exact mixture both fit.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import Path, Problem, States, Step
from sadt_ray.numerics.clean_law import CleanLaw, Scores
from sadt_ray.numerics.rng import derive_seeds, normals
from sadt_ray.processes.branching import branch_steps_by_name, checked_branch_steps
from sadt_ray.processes.diffusion_walk import DiffusionWalk
from sadt_ray.processes.schedule import karras_sigmas, posterior_coefficients

_RESIDUAL_STREAM = 3

Conditioning = tuple[Tensor, ...]  # one row per problem; once gathered, one per row of the batch


@runtime_checkable
class Denoiser(Protocol):
    """D(x; sigma, c) = E[x_0 | x_0 + sigma * epsilon = x, c], in the units of the states."""

    @property
    def width(self) -> int:
        """Length of a state."""

    def encode(self, problems: Sequence[Problem], device: torch.device) -> Conditioning:
        """Conditioning of each problem, as tensors of P rows. Raises ValueError naming a problem that does not fit."""

    def initial(self, noise: Float[Tensor, "B W"], sigma: float, conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """x_T at noise level ``sigma`` from standard normal ``noise``."""

    def denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B W"]: ...

    def decode(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Tensor:
        """Clean states in the units of the data."""

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B F"]:
        """Inputs of a flow network for each state, without an evaluation of the denoiser."""


@runtime_checkable
class KnowsCleanSpread(Protocol):
    """A denoiser that knows the uncertainty of x_0. Its ancestral steps then include that uncertainty:

    Var(x_next | x) = spread^2 + (1 - keep)^2 Var(x_0 | x), the law of total variance over x_0 in q(x_next | x, x_0).
    Leaving the second term out, as DDPM does, loses variance when steps are few (Bao et al., *Analytic-DPM*, ICLR
    2022); with it the chain is exact for a Gaussian x_0 in any number of steps.
    """

    def clean_spread(self, sigma: Float[Tensor, " #B"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """sd(x_0 | x) along each coordinate, of coordinates that are independent given x."""


@runtime_checkable
class DraftsDenoised(Protocol):
    """A denoiser with a cheap draft of D, good enough to choose among candidates without an evaluation."""

    def draft_denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Tensor:
        """An approximation of D(x; sigma, c)."""


@runtime_checkable
class KnowsCoordinates(Protocol):
    """A denoiser that knows Cov(x_0 | x) in other coordinates y than those of its states, in which it is diagonal."""

    def to_coordinates(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """y of clean states; linear, and its inverse is its transpose."""

    def from_coordinates(self, y: Float[Tensor, "B W"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """Clean states of y."""

    def coordinate_spread(self, sigma: Float[Tensor, " #B"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """sd(y_0 | x) along each coordinate."""


@runtime_checkable
class HasScores(Protocol):
    """A denoiser whose values of a sample are monotone functions of Gaussian scores, x_h = T_h(z_h)."""

    def scores(self, x: Float[Tensor, "*n W"], conditioning: Conditioning) -> Tensor:
        """z of clean states, in the shape of samples; linear in x."""

    def scores_at(self, value: Tensor, conditioning: Conditioning) -> Tensor:
        """T_h^-1(value) for every value h of a sample, per row; ``value`` broadcasts to a sample."""

    def from_scores(self, z: Tensor, conditioning: Conditioning) -> Tensor:
        """T_h(z_h) of whole samples of scores, one per row."""


@dataclass(frozen=True)
class SamplerConfig:
    """The discretisation of the chain. Each step costs one evaluation of the denoiser.

    Attributes:
        num_steps: denoising steps from sigma_max to 0.
        sigma_min, sigma_max, rho: the Karras schedule, in the units of the states.
        noise_scale: factor on the noise of each step; slightly above 1 corrects for a denoiser that was trained to
            shrink (Karras et al. 2022, S_noise).
    """

    num_steps: int = 16
    sigma_min: float = 0.02
    sigma_max: float = 5.0
    rho: float = 7.0
    noise_scale: float = 1.0

    @property
    def sigmas(self) -> Float[np.ndarray, " levels"]:
        return karras_sigmas(self.num_steps, self.sigma_min, self.sigma_max, self.rho)


class DiffusionProcess:
    """The ``GenerativeProcess`` of a denoiser. Immutable: the ``with_`` methods return another one.

    Args:
        denoiser: D(x; sigma, c).
        sampler: the discretisation of the chain.
        branch_steps: numbers of denoising steps after which a state becomes a tree node, ascending, the last one
            ``num_steps``; 0 stands for x_T itself. Or the name of a preset in ``branching.PRESETS``.
        device: of the tensors.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        sampler: SamplerConfig | None = None,
        branch_steps: Sequence[int] | str = "published",
        device: str | torch.device = "cpu",
    ) -> None:
        self.denoiser = denoiser
        self.sampler = sampler or SamplerConfig()
        self.device = torch.device(device)
        if isinstance(branch_steps, str):
            self.branch_steps = branch_steps_by_name(branch_steps, self.sampler.sigmas)
        else:
            self.branch_steps = checked_branch_steps(branch_steps, self.sampler.num_steps)

    @property
    def num_levels(self) -> int:
        return len(self.branch_steps)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.denoiser.width,)

    @property
    def state_dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> DiffusionProcess:
        """The same prior with other branch levels."""
        return DiffusionProcess(self.denoiser, self.sampler, branch_steps, self.device)

    def with_device(self, device: str | torch.device) -> DiffusionProcess:
        """The same prior with a copy of its denoiser on another device."""
        denoiser = copy.deepcopy(self.denoiser)
        if isinstance(denoiser, torch.nn.Module):
            denoiser.to(device)
        return DiffusionProcess(denoiser, self.sampler, self.branch_steps, device)

    def with_sampler(self, branch_steps: Sequence[int] | str = "published", **changes: Any) -> DiffusionProcess:
        """The same denoiser discretised differently: ``changes`` are fields of ``SamplerConfig``."""
        return DiffusionProcess(self.denoiser, replace(self.sampler, **changes), branch_steps, self.device)

    def bind(self, problems: Sequence[Problem]) -> DiffusionChain:
        """Encode every problem's conditioning, once. Raises ValueError naming a problem that does not fit."""
        if not problems:
            raise ValueError("bind got no problems; give at least one")
        with torch.no_grad():
            return DiffusionChain(self, self.denoiser.encode(problems, self.device), problems)


class DiffusionChain:
    """A diffusion process bound to problems. Level l > 0 is the state after ``branch_steps[l - 1]`` denoising steps."""

    def __init__(self, process: DiffusionProcess, conditioning: Conditioning, problems: Sequence[Problem]) -> None:
        self.denoiser = process.denoiser
        self.process, self.problems = process, tuple(problems)
        self.sampler, self.device = process.sampler, process.device
        self._conditioning = conditioning
        self._num_problems = len(problems)
        self._affine: bool | None = None
        sigmas = process.sampler.sigmas
        keep, spread = posterior_coefficients(sigmas)
        self.sigma_max = float(sigmas[0])
        self._step_table = self.tensor(np.stack([sigmas[:-1], keep, spread * process.sampler.noise_scale]))
        self._noise_scale = process.sampler.noise_scale
        self._clean_spread = self.denoiser.clean_spread if isinstance(self.denoiser, KnowsCleanSpread) else None
        self._done = np.array((0, *process.branch_steps))  # denoising steps behind a state of each level
        self._level_sigma = self.tensor(sigmas[self._done])

    def root_states(self) -> States:
        """Zeros: nothing is sampled yet at the root, the dummy x_{T+1} of DTS."""
        return np.zeros((self._num_problems, self.denoiser.width), np.float32)

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Move each row to its next branch level. x_T uses stream 0 of its seed, denoising step i stream i + 1."""
        levels = np.asarray(levels)
        path = self._run(states, levels, levels + 1, problem, seeds)
        out = np.empty_like(path.states)
        out[path.rows] = path.states
        return Step(out, levels + 1, path.nfe)

    def run_down(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Path:
        """Move every row to x_0; returns the states at all branch levels on the way."""
        levels = np.asarray(levels)
        return self._run(states, levels, np.full_like(levels, len(self._done) - 1), problem, seeds)

    @torch.inference_mode()
    def _run(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        goals: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Path:
        """Move rows from level ``levels`` to level ``goals``. A row joins when the others reach its noise level.

        Rows are ordered by their start. A row that starts earlier does not finish later, so the moving rows are
        always a slice, and all of them have one noise level.
        """
        if np.any(levels >= len(self._done) - 1):
            raise ValueError(f"level {int(levels.max())} is x_0 already; a chain goes on from levels below it")
        if len(levels) == 0:
            nothing = np.zeros(0, np.int64)
            return Path(nothing, nothing, np.zeros((0, self.denoiser.width), np.float32), nothing)
        order = np.argsort(levels, kind="stable")
        levels, goals, seeds = levels[order], goals[order], np.asarray(seeds)[order]
        first, last = self._done[levels], self._done[goals]
        conditioning = self.gather(np.asarray(problem)[order])
        x = self._start(np.asarray(states)[order], int(np.sum(levels == 0)), seeds, conditioning)
        rows, row_levels, row_states = [], [], []
        for level in range(int(levels[0]) + 1, int(goals[-1]) + 1):
            for step in range(max(self._done[level - 1], first[0]), self._done[level]):
                moving = slice(int(np.searchsorted(last, step, "right")), int(np.searchsorted(first, step, "right")))
                part = conditioning if moving == slice(0, len(x)) else tuple(column[moving] for column in conditioning)
                x[moving] = self._step(x[moving], step, seeds[moving], part)
            passing = slice(np.searchsorted(goals, level, "left"), np.searchsorted(levels, level, "left"))
            rows.append(order[passing])
            row_levels.append(np.full(len(rows[-1]), level))
            row_states.append(x[passing].cpu().numpy().copy())
        nfe = np.empty_like(first)
        nfe[order] = last - first
        return Path(np.concatenate(rows), np.concatenate(row_levels), np.concatenate(row_states), nfe)

    @torch.inference_mode()
    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, "B W"]:
        """Samples in the units of the problems' contexts."""
        return self.denoiser.decode(self.tensor(states), self.gather(problem)).cpu().numpy()

    @torch.inference_mode()
    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """The denoiser's features of the states at their noise levels; no evaluation of the denoiser."""
        sigma = self._level_sigma[self.index(levels)]
        return self.denoiser.features(self.tensor(states), sigma, self.gather(problem)).cpu().numpy()

    @torch.inference_mode()
    def predict_clean(self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]) -> States:
        """x0_hat = D(x_t; sigma_t, c), one evaluation per row. Roots start from the mean of x_T; x_0 stays itself."""
        levels, conditioning = np.asarray(levels), self.gather(problem)
        x = self.tensor(states)
        sigma = self._level_sigma[self.index(levels)]
        root, clean = self.tensor(levels == 0).bool(), sigma == 0
        start = self.denoiser.initial(torch.zeros_like(x), self.sigma_max, conditioning)
        x = torch.where(root[:, None], start, x)
        denoised = self.denoiser.denoised(x, torch.where(clean, self._step_table[0, -1], sigma), conditioning)
        return torch.where(clean[:, None], x, denoised).cpu().numpy()

    def _start(
        self, states: States, num_roots: int, seeds: UInt64[np.ndarray, " B"], conditioning: Conditioning
    ) -> Tensor:
        """The batch on the device; its first rows are roots and become draws of x_T."""
        x = self.tensor(states.copy())
        if num_roots:
            noise = self.tensor(normals(seeds[:num_roots], np.zeros(num_roots, np.int64), x.shape[1]))
            roots = tuple(column[:num_roots] for column in conditioning)
            x[:num_roots] = self.denoiser.initial(noise, self.sigma_max, roots)
        return x

    def _step(self, x: Tensor, step: int, seeds: UInt64[np.ndarray, " B"], conditioning: Conditioning) -> Tensor:
        """One ancestral step of rows at the same noise level."""
        denoised = self.denoiser.denoised(x, self._step_table[0, step, None], conditioning)
        mean, spread = self.step_law(step, x, denoised, conditioning)
        noise = self.tensor(normals(seeds, np.full(len(seeds), step + 1), x.shape[1]))
        return mean.addcmul_(noise, spread)

    def walk(self, states: States, position: int, problem: Int[np.ndarray, " B"]) -> DiffusionWalk:
        """See ``processes.walk``: position 0 is the root, position k the state after k - 1 denoising steps."""
        return DiffusionWalk(self, states, position, problem)

    @property
    def level_positions(self) -> Int[np.ndarray, " levels"]:
        """Position of each level: 0 for the root, then each branch step plus one, for the draw of x_T."""
        return np.concatenate([[0], self._done[1:] + 1])

    @property
    def last_position(self) -> int:
        """Position of x_0."""
        return self._step_table.shape[1] + 1

    @property
    def knows_law(self) -> bool:
        """Whether views have the law of x_0 given x_t."""
        return self.supports_guidance

    @property
    def decodes_affinely(self) -> bool:
        """Whether decoding is affine, as far as two points and their middle show."""
        if self._affine is None:
            with torch.no_grad():
                number = np.arange(self._num_problems)
                every = self.gather(number)
                x = self.tensor(normals(np.zeros(len(number), np.uint64), number, self.denoiser.width))
                low, middle, high = (self.denoiser.decode(factor * x, every) for factor in (-1.0, 0.0, 1.0))
                size = float((high - low).abs().max())
                self._affine = bool(torch.allclose(low + high, 2 * middle, rtol=1e-4, atol=1e-4 * size))
        return self._affine

    @property
    def supports_guidance(self) -> bool:
        """Whether Cov(x_0 | x_t) is known, so that steps can follow a gradient."""
        return self._clean_spread is not None or isinstance(self.denoiser, KnowsCoordinates)

    @torch.no_grad()
    def residuals(self, position: int, count: int) -> Float[np.ndarray, "P count W"]:
        """Draws of x_0 - x0_hat from N(0, Cov(x_0 | x_t)) for every problem, in the units of the data.

        All problems use the same noise, so the draws of a problem do not depend on the others. Cov is that of
        ``clean_law``. The root has the Cov of pure noise. Where decoding is not affine, the residuals are those about
        the state 0. Raises ValueError for a denoiser that does not know Cov(x_0 | x_t).
        """
        if not self.supports_guidance:
            raise ValueError(f"{type(self.denoiser).__name__} does not know Cov(x_0 | x_t): it has no clean_spread")
        rows = np.repeat(np.arange(self._num_problems), count)
        conditioning, width = self.gather(rows), self.denoiser.width
        if position == self.last_position:
            return np.zeros((self._num_problems, count, width), np.float32)
        seed = derive_seeds(0, _RESIDUAL_STREAM, np.zeros(count, np.int64))
        noise = self.tensor(np.tile(normals(seed, np.arange(count), width), (self._num_problems, 1)))
        spread = self._spread_at(position, conditioning)
        centre = self.denoiser.decode(torch.zeros_like(noise), conditioning)
        drawn = self.denoiser.decode(self._states_of(spread * noise, conditioning), conditioning)
        return (drawn - centre).cpu().numpy().reshape(-1, count, width)

    def clean_law(self, position: int, clean: Tensor, decoded: Tensor, conditioning: Conditioning) -> CleanLaw | None:
        """Law of x_0 about x0_hat ``clean``, ``decoded`` in data units; None at x_0 or if Cov(x_0 | x_t) is unknown."""
        if not self.supports_guidance or position == self.last_position:
            return None
        denoiser = self.denoiser
        return CleanLaw(
            mean=denoiser.to_coordinates(clean, conditioning) if isinstance(denoiser, KnowsCoordinates) else clean,
            spread=self._spread_at(position, conditioning).expand_as(clean),
            clean=decoded,
            decode=self._decoded,
            conditioning=conditioning,
            position=position,
            linear=self.decodes_affinely,
            scores=self._scores,
        )

    def _decoded(self, y: Float[Tensor, "B K W"], conditioning: Conditioning) -> Tensor:
        """Decode K rows of coordinates per row of the batch."""
        denoiser, wide = self.denoiser, _widened(conditioning)
        x = denoiser.from_coordinates(y, wide) if isinstance(denoiser, KnowsCoordinates) else y
        if getattr(denoiser, "decode_broadcasts", False):
            return denoiser.decode(x, wide)
        rows, count = x.shape[:2]
        repeated = tuple(column.repeat_interleave(count, dim=0) for column in conditioning)
        decoded = denoiser.decode(x.flatten(0, 1), repeated)
        return decoded.reshape(rows, count, *decoded.shape[1:])

    @property
    def _scores(self) -> Scores | None:
        denoiser = self.denoiser
        if not isinstance(denoiser, HasScores):
            return None
        return Scores(self._scores_of, denoiser.scores_at, denoiser.from_scores)

    def _scores_of(self, y: Float[Tensor, "B K W"], conditioning: Conditioning) -> Tensor:
        assert isinstance(self.denoiser, HasScores)
        return self.denoiser.scores(y, _widened(conditioning))

    def _states_of(self, y: Float[Tensor, "B W"], conditioning: Conditioning) -> Tensor:
        return self.denoiser.from_coordinates(y, conditioning) if isinstance(self.denoiser, KnowsCoordinates) else y

    def _spread_at(self, position: int, conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """sd(y_0 | x_t) along each coordinate in which they are independent."""
        sigma = self._sigma_at(position)
        if isinstance(self.denoiser, KnowsCoordinates):
            return self.denoiser.coordinate_spread(sigma, conditioning)
        assert self._clean_spread is not None
        return self._clean_spread(sigma, conditioning)

    def denoised_at(self, position: int, x: Tensor, conditioning: Conditioning) -> Tensor:
        """D(x) of rows at one position below the root; at x_0, the rows themselves."""
        if position == self.last_position:
            return x
        return self.denoiser.denoised(x, self._sigma_at(position), conditioning)

    @property
    def can_choose(self) -> bool:
        """Whether the denoiser has a draft, so that candidates cost no evaluation."""
        return isinstance(self.denoiser, DraftsDenoised)

    def relative_cost(self, multiply_adds: int) -> float:
        """Cost of a twist on a decoded x0_hat, in evaluations of the denoiser; 0 if their cost is not known."""
        evaluation = getattr(self.denoiser, "multiply_adds", 0)
        decoding = getattr(self.denoiser, "decode_multiply_adds", 0)
        return (multiply_adds + decoding) / evaluation if evaluation else 0.0

    def draft_denoised(self, position: int, x: Tensor, conditioning: Conditioning) -> Tensor | None:
        """x0_hat of rows below the root without an evaluation; None if the denoiser has no draft."""
        if position == self.last_position:
            return x
        if not isinstance(self.denoiser, DraftsDenoised):
            return None
        return self.denoiser.draft_denoised(x, self._sigma_at(position), conditioning)

    def features_at(self, position: int, x: Tensor, conditioning: Conditioning) -> Tensor:
        """The denoiser's features of rows at one position."""
        at_end = position == self.last_position
        sigma = torch.zeros(1, device=self.device) if at_end else self._sigma_at(position)
        return self.denoiser.features(x, sigma.expand(len(x)), conditioning)

    def step_law(self, step: int, x: Tensor, denoised: Tensor, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a denoising step along each coordinate."""
        sigma, keep, spread = self._step_table[:, step, None]
        if self._clean_spread is not None:
            clean = self._clean_spread(sigma, conditioning)
            spread = torch.sqrt(spread.square() + ((self._noise_scale * (1 - keep)) * clean).square())
        return torch.lerp(denoised, x, keep), spread  # the last step of any other denoiser has spread 0

    def guidance_shift(self, step: int, gradient: Tensor, conditioning: Conditioning) -> Tensor:
        """(1 - keep) Cov(x_0 | x), the covariance of the next state with x_0, times a gradient in x0_hat."""
        keep = self._step_table[1, step]
        variance = self._spread_at(step + 1, conditioning).square()
        if not isinstance(self.denoiser, KnowsCoordinates):
            return (1 - keep) * variance * gradient
        along = self.denoiser.to_coordinates(gradient, conditioning)
        return (1 - keep) * self.denoiser.from_coordinates(variance * along, conditioning)

    def _sigma_at(self, position: int) -> Tensor:
        return self._step_table[0, max(position - 1, 0), None]

    def gather(self, problem: Int[np.ndarray, " B"]) -> Conditioning:
        index = self.index(problem)
        return tuple(column[index] for column in self._conditioning)

    def index(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self.device)

    def tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, np.float32), device=self.device)


def _widened(conditioning: Conditioning) -> Conditioning:
    """The conditioning of B rows for K states each, [B, 1, ...]."""
    return tuple(column[:, None] for column in conditioning)
