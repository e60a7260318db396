"""Noise levels, and the ancestral step between two of them, for any denoiser D(x; sigma).

The variance-exploding forward chain adds independent Gaussian noise: x_sigma = x_0 + sigma * epsilon. Its posterior is
Gaussian with a closed form. The ancestral chain replaces x_0 in it by the output of the denoiser.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def karras_sigmas(num_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Float[np.ndarray, " levels"]:
    """Decreasing noise levels sigma_0 = sigma_max > ... > sigma_{n-1} = sigma_min > sigma_n = 0.

    sigma_i = (sigma_max^(1/rho) + i/(n-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho
    (Karras et al., *Elucidating the design space of diffusion-based generative models*, NeurIPS 2022, eq. 5).
    One denoising step, with one evaluation of the denoiser, leads from each level to the next.

    Raises:
        ValueError: unless num_steps >= 2, 0 < sigma_min < sigma_max and rho > 0.
    """
    if num_steps < 2:
        raise ValueError(f"num_steps is {num_steps}; at least 2 denoising steps are needed")
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"sigma_min {sigma_min} and sigma_max {sigma_max} must satisfy 0 < sigma_min < sigma_max")
    if rho <= 0:
        raise ValueError(f"rho is {rho}; it must be positive (7 is usual)")
    ramp = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), num_steps) ** rho
    return np.append(ramp, 0.0)


def posterior_coefficients(
    sigmas: Float[np.ndarray, " levels"],
) -> tuple[Float[np.ndarray, " levels-1"], Float[np.ndarray, " levels-1"]]:
    """``keep`` and ``spread`` of every step: x_next ~ N(D + keep (x - D), spread^2).

    q(x_s | x_t, x_0) = N(x_0 + (sigma_s^2 / sigma_t^2)(x_t - x_0), sigma_s^2 (sigma_t^2 - sigma_s^2) / sigma_t^2)
    for sigma_s < sigma_t: Bayes' rule on x_s = x_0 + sigma_s e, x_t = x_s + sqrt(sigma_t^2 - sigma_s^2) e'. It is the
    variance-exploding form of the DDPM posterior (Ho et al. 2020, eq. 7; Song et al. 2021, appendix F).
    """
    sigma, sigma_next = sigmas[:-1], sigmas[1:]
    keep = (sigma_next / sigma) ** 2
    return keep, sigma_next * np.sqrt(1 - keep)
