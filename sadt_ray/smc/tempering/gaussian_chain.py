"""The Gaussian chain next to a diffusion chain: what a denoiser that is linear would make of the same noises.

Of x_0 ~ N(0, s^2), coordinate by coordinate, the denoiser is D(x) = g x, g = s^2 / (sigma^2 + s^2) =
Var(x_0 | x) / sigma^2, and a chain that carries Var(x_0 | x) along is linear in its noises, x_0 = sum_i a_i z_i. It
costs no evaluation of a denoiser. A denoiser that says how uncertain x_0 is (``KnowsCleanSpread``) defines its own
Gaussian chain; diff-k's differs from it by its residual network alone. What is sampled from the Gaussian chain is
weighted by exp(lambda (r(f(z)) - r(a z))) afterwards: the better the approximation, the more even the weights.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.interfaces import Chain, Scorer
from sadt_ray.processes.diffusion import KnowsCleanSpread
from sadt_ray.processes.schedule import posterior_coefficients
from sadt_ray.rewards.look_ahead import Differentiable, is_differentiable
from sadt_ray.smc.tempering.noise_chain import Parts, Population, scored


class GaussianChain:
    """A ``NoiseChain`` of a single noise w per coordinate, x_0 = |a| w, and the way back to noises of all steps.

    Args:
        chain, scorer, problem: see ``NoiseChain``.

    Raises:
        ValueError: for a denoiser that does not know how uncertain x_0 is, or a chain that is not a function of
            Gaussian noises.
    """

    num_noises = 1

    def __init__(self, chain: Chain, scorer: Scorer, problem: int) -> None:
        self._parts, self._scorer, self._problem = Parts.of(chain, problem), scorer, problem
        denoiser = self._parts.chain.denoiser
        if not isinstance(denoiser, KnowsCleanSpread):
            raise ValueError(
                f"{type(denoiser).__name__} has no clean_spread, and so no Gaussian draft; use a method that "
                "needs none, such as tempered or smc-debiased"
            )
        self.blocks, self.width = [slice(0, 1)], denoiser.width * len(self._parts.numbers)
        with torch.inference_mode():
            self.coefficients = _coefficients(self._parts)
        self._scale = torch.linalg.vector_norm(self.coefficients, dim=0)

    def steps_from(self, block: int) -> int:
        """No evaluation of the denoiser."""
        return 0

    def population(self, noise: Float[Tensor, "N 1 W"]) -> Population:
        """Runs from given noises, each its own root."""
        return self._run(noise, torch.arange(len(noise)))

    def again(self, before: Population, block: int, noise: Float[Tensor, "N 1 W"]) -> Population:
        """The runs of ``before`` with other noises."""
        return self._run(noise, before.roots)

    def lifted(self, noise: Float[Tensor, "N 1 W"], fresh: Float[Tensor, "N steps+1 W"]) -> Tensor:
        """Noises of all steps that lead where ``noise`` leads, from standard normal ``fresh``: [N, steps + 1, W].

        A draw from z given a z = |a| w, by conditioning of Gaussians: z + (a / |a|) (w - (a / |a|) z).
        """
        direction = self.coefficients / self._scale
        return fresh + direction * (noise - (direction * fresh).sum(1, keepdim=True))

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow through the reward."""
        return is_differentiable(self._scorer)

    def gradient(self, noise: Float[Tensor, "N 1 W"]) -> Float[Tensor, "N 1 W"]:
        """Of the reward with respect to the noise; 0 where it is not finite. Costs about a reward call per row."""
        assert isinstance(self._scorer, Differentiable)
        parts, numbers = self._parts, torch.full((len(noise),), self._problem)
        with torch.enable_grad():
            leaf = noise.clone().requires_grad_()
            clean = parts.apart(self._scale * leaf[:, 0]).to(parts.chain.device)
            rewards = self._scorer.score_tensor(parts.samples(clean, parts.conditioning(len(noise))), numbers)
            (gradient,) = torch.autograd.grad(rewards.sum(), leaf)
        return torch.nan_to_num(gradient, 0.0, 0.0, 0.0)

    @torch.inference_mode()
    def _run(self, noise: Tensor, roots: Tensor) -> Population:
        parts, clean = self._parts, self._scale * noise[:, 0]
        conditioning = parts.conditioning(len(noise))
        samples = parts.samples(parts.apart(clean).to(parts.chain.device), conditioning).cpu()
        rewards, margin = scored(self._scorer, samples.numpy(), self._problem)
        return Population(noise, noise[:, :0], clean, samples, rewards, margin, roots)


def _coefficients(parts: Parts) -> Float[Tensor, "steps+1 CW"]:
    """a_i: the spread with which noise i enters times the factors of all steps after it."""
    sampler, denoiser, conditioning = parts.chain.sampler, parts.chain.denoiser, parts.conditioning(1)
    assert isinstance(denoiser, KnowsCleanSpread)
    sigmas = sampler.sigmas
    keep, spread = posterior_coefficients(sigmas)
    ones = torch.ones(len(parts.numbers), denoiser.width, device=parts.chain.device)
    zeros = torch.zeros_like(ones)
    start = denoiser.initial(ones, float(sigmas[0]), conditioning) - denoiser.initial(
        zeros, float(sigmas[0]), conditioning
    )
    coefficients = [start]
    for step, sigma in enumerate(sigmas[:-1]):
        clean = denoiser.clean_spread(ones.new_tensor([sigma]), conditioning)
        gain = (clean / sigma).square()
        factor = gain + keep[step] * (1 - gain)
        entering = sampler.noise_scale * torch.sqrt(spread[step] ** 2 + ((1 - keep[step]) * clean).square())
        coefficients = [*(factor * each for each in coefficients), entering.expand_as(ones)]
    return torch.stack(coefficients).flatten(1).float().cpu()
