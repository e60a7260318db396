"""Walk down a denoising chain step by step. Each step evaluates the denoiser once; twist and step share the result.

A denoiser with a cheap draft of x0_hat (``draft_denoised``) shows the twist that draft. Several candidates for the next
state then cost no more evaluations than one.

A guided step follows the gradient g of log psi(x0_hat). It moves the mean of the ancestral step by

    (1 - keep) C g,    C = Cov(x_0 | x_t),

the optimal proposal of a Gaussian x_0 under a log-linear twist, since (1 - keep) C is the covariance of the next state
with x_0. It needs no gradient through the denoiser: by Tweedie's formula C = sigma^2 dD/dx, so this is the shift of TDS
(Wu et al., *Practical and asymptotically exact conditional sampling in diffusion models*, NeurIPS 2023) with the
Jacobian known in closed form.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import States
from sadt_ray.numerics.clean_law import CleanLaw
from sadt_ray.numerics.rng import derive_seed_grid, normals
from sadt_ray.processes.walk import Choice, View, chosen

_CANDIDATES = 7  # stream of a row's seed
LONGEST_SHIFT = 3.0
"""Largest norm of a shift, in standard deviations of the step: a gradient is valid only nearby."""
Conditioning = tuple[Tensor, ...]


@runtime_checkable
class DecodesStates(Protocol):
    """What a walk needs of a denoiser."""

    def initial(self, noise: Float[Tensor, "B W"], sigma: float, conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """x_T from standard normal noise."""

    def decode(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Tensor:
        """Clean states in the units of the data."""


@runtime_checkable
class DenoisingChain(Protocol):
    """What a walk needs of its chain. ``position`` is that of the walk, ``step`` = ``position`` - 1."""

    @property
    def denoiser(self) -> DecodesStates: ...

    @property
    def sigma_max(self) -> float: ...

    @property
    def last_position(self) -> int:
        """Position of x_0."""

    def gather(self, problem: Int[np.ndarray, " B"]) -> Conditioning:
        """The conditioning of each row."""

    def index(self, values: np.ndarray) -> Tensor:
        """Row numbers on the chain's device."""

    def tensor(self, values: np.ndarray) -> Tensor:
        """Float32 values on the chain's device."""

    def denoised_at(self, position: int, x: Tensor, conditioning: Conditioning) -> Tensor:
        """D(x); one evaluation."""

    def draft_denoised(self, position: int, x: Tensor, conditioning: Conditioning) -> Tensor | None:
        """A draft of D(x) without an evaluation; None if the denoiser has none."""

    def clean_law(self, position: int, clean: Tensor, decoded: Tensor, conditioning: Conditioning) -> CleanLaw | None:
        """Law of x_0 about x0_hat ``clean``, in data units ``decoded``; None if it is not known."""

    def features_at(self, position: int, x: Tensor, conditioning: Conditioning) -> Tensor:
        """Features of the states, [B, F]."""

    def step_law(self, step: int, x: Tensor, denoised: Tensor, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a denoising step along each coordinate."""

    def guidance_shift(self, step: int, gradient: Tensor, conditioning: Conditioning) -> Tensor:
        """The covariance of the next state with x_0, times a gradient with respect to x0_hat."""


class DiffusionWalk:
    """B rows at one noise level. Position 0 is the root, position k > 0 the state after k - 1 denoising steps."""

    def __init__(self, chain: DenoisingChain, states: States, position: int, problem: Int[np.ndarray, " B"]) -> None:
        self._chain, self._problem, self.position = chain, np.asarray(problem), position
        self._conditioning = chain.gather(self._problem)
        self._x = chain.tensor(states)
        self._denoised: Tensor | None = None  # D(x), once known
        self._leaf: Tensor | None = None  # x0_hat as a leaf of the graph of the last look
        self._unpaid = 0  # evaluations per row since the last take_nfe

    def states(self) -> States:
        return self._x.cpu().numpy()

    def look(self, gradient: bool = False) -> View:
        if self.position == 0:
            return View(0, self._problem, None, self._features)
        with torch.no_grad():
            clean = self._chain.draft_denoised(self.position, self._x, self._conditioning)
            clean = self._evaluated() if clean is None else clean
        self._leaf = clean.clone().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            return self._view(self.position, self._problem, self._x, self._leaf, self._conditioning)

    def _view(
        self, position: int, problem: np.ndarray, x: Tensor, clean: Tensor, conditioning: tuple[Tensor, ...]
    ) -> View:
        """Rows x with their x0_hat ``clean``, both in the coordinates of the states."""
        chain = self._chain
        decoded = chain.denoiser.decode(clean, conditioning)
        law = chain.clean_law(position, clean, decoded, conditioning)

        @torch.no_grad()
        def features() -> Tensor:
            return chain.features_at(position, x, conditioning)

        return View(position, problem, decoded, features, law)

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Float[Tensor, "B W"]:
        """The gradient of each row's log psi with respect to its x0_hat, in the coordinates of the states."""
        assert self._leaf is not None
        (gradient,) = torch.autograd.grad(log_twist.sum(), self._leaf)
        return torch.nan_to_num(gradient, 0.0, 0.0, 0.0)

    def evaluate(self) -> None:
        if self.position > 0:
            self._evaluated()

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        index = self._chain.index(rows)
        self._problem, self._x = self._problem[rows], self._x[index]
        self._conditioning = tuple(column[index] for column in self._conditioning)
        self._denoised = None if self._denoised is None else self._denoised[index]

    @torch.no_grad()
    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """One denoising step; from the root, the draw of x_T."""
        if self.position == 0:
            noise = self._noise(seeds)
            self._move(self._chain.denoiser.initial(noise, self._chain.sigma_max, self._conditioning))
            return None
        mean, spread = self._chain.step_law(self.position - 1, self._x, self._evaluated(), self._conditioning)
        shift = None if gradient is None else self._shift(gradient, spread)
        if choice is None:
            return self._proposed(mean, spread, shift, self._noise(seeds))
        return self._chosen(mean, spread, shift, seeds, choice)

    @property
    def noise_width(self) -> int:
        return self._x.shape[1]

    def view_from(self, noise: Float[Tensor, "B W"]) -> View:
        """x_T by the draft of the denoiser. Raises ValueError for a denoiser without one."""
        x = self._chain.denoiser.initial(noise.to(self._x), self._chain.sigma_max, self._conditioning)
        clean = self._chain.draft_denoised(1, x, self._conditioning)
        if clean is None:
            raise ValueError("a guided root needs a denoiser with a draft of x0_hat (draft_denoised)")
        return self._view(1, self._problem, x, clean, self._conditioning)

    @torch.no_grad()
    def start(self, noise: Float[Tensor, "B W"]) -> None:
        self._move(self._chain.denoiser.initial(noise.to(self._x), self._chain.sigma_max, self._conditioning))

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        spent, self._unpaid = self._unpaid, 0
        return np.full(len(self._problem), spent)

    def _proposed(self, mean: Tensor, spread: Tensor, shift: Tensor | None, noise: Tensor) -> np.ndarray | None:
        if shift is None:
            self._move(mean.addcmul(noise, spread))
            return None
        self._move(mean.addcmul(noise + shift, spread))
        return _log_ratio(noise, shift).double().cpu().numpy()

    def _chosen(
        self, mean: Tensor, spread: Tensor, shift: Tensor | None, seeds: np.ndarray, choice: Choice
    ) -> Float[np.ndarray, " B"]:
        """One of several candidates, chosen by psi at the draft of each."""
        rows = np.repeat(np.arange(len(seeds)), choice.candidates)
        index = self._chain.index(rows)
        noise = self._noise(derive_seed_grid(seeds, _CANDIDATES, choice.candidates).ravel())
        log_ratio = torch.zeros(len(rows), device=noise.device)
        if shift is not None:
            shift = shift[index]
            log_ratio, noise = _log_ratio(noise, shift), noise + shift
        candidates = mean[index].addcmul(noise, spread.expand_as(mean)[index])
        conditioning = tuple(column[index] for column in self._conditioning)
        clean = self._chain.draft_denoised(self.position + 1, candidates, conditioning)
        assert clean is not None
        view = self._view(self.position + 1, self._problem[rows], candidates, clean, conditioning)
        log_weights = (choice.log_twist(view) + log_ratio).double().cpu().numpy().reshape(-1, choice.candidates)
        pick, log_choice = chosen(log_weights, seeds, self.position)
        picked = choice.candidates * np.arange(len(seeds)) + pick
        self._move(candidates[self._chain.index(picked)])
        return log_choice + log_ratio.double().cpu().numpy()[picked]

    def _move(self, x: Tensor) -> None:
        self._x, self._denoised = x, None
        self.position += 1

    def _noise(self, seeds: np.ndarray) -> Tensor:
        return self._chain.tensor(normals(seeds, np.full(len(seeds), self.position), self._x.shape[1]))

    def _shift(self, gradient: Tensor, spread: Tensor) -> Tensor:
        """The shift of the step's standard normal noise."""
        moved = self._chain.guidance_shift(self.position - 1, gradient, self._conditioning)
        shift = torch.where(spread > 0, moved / spread, 0.0)
        length = shift.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return shift * (LONGEST_SHIFT / length).clamp_max(1.0)

    @torch.no_grad()
    def _evaluated(self) -> Tensor:
        if self._denoised is None:
            self._unpaid += self.position < self._chain.last_position
            self._denoised = self._chain.denoised_at(self.position, self._x, self._conditioning)
        return self._denoised

    @torch.no_grad()
    def _features(self) -> Tensor:
        return self._chain.features_at(self.position, self._x, self._conditioning)


def _log_ratio(noise: Tensor, shift: Tensor) -> Float[Tensor, " B"]:
    """log N(z + d; 0, 1) - log N(z; 0, 1): the log ratio p/q of prior and proposal at z + d."""
    return -(noise * shift).sum(1) - shift.square().sum(1) / 2
