"""Settings of a particle system: how many particles a ticket has, what guides them, how they are resampled."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.config import load_function
from sadt_ray.interfaces import Chain, Scorer

if TYPE_CHECKING:  # the only use of torch here is in an annotation
    from sadt_ray.smc.twists import Twist

TwistName = Literal["none", "clean", "debiased", "flow"]
Guidance = Literal["never", "possible", "always"]


@runtime_checkable
class Scheme(Protocol):
    """Resampling: chooses which particles go on: ``scheme(weights, uniforms) -> ancestors``.

    The estimates stay unbiased if every particle i goes on n W_i times in expectation over ``uniforms``; this cannot be
    checked here. A search is repeatable if all randomness comes from ``uniforms``.

    Args:
        weights: [B, n], W of B particle systems; each row sums to one.
        uniforms: [B, n], independent numbers in (0, 1).

    Returns:
        ancestors [B, n], integers from 0 to n - 1: the particles of each system that go on, in any order. Another
        shape, type or range ends the search with a ValueError that names the scheme.
    """

    def __call__(
        self, weights: Float[np.ndarray, "B n"], uniforms: Float[np.ndarray, "B n"], /
    ) -> Int[np.ndarray, "B n"]: ...


@runtime_checkable
class TwistFactory(Protocol):
    """Makes a twist for the problems of a search: ``factory(chain, scorer, num_positions, inv_temperature) -> Twist``.

    Called once on every worker and for every new version of a flow. Any twist with finite values leaves the estimates
    unbiased; the nearer it is to lambda V, the more even the weights of the particles. ``smc.twists.FunctionTwist``
    makes a twist of a function.

    Args:
        chain: the process, bound to the problems.
        scorer: the reward, bound to the problems.
        num_positions: positions of the chain, the root 0 and x_0, which is ``num_positions - 1``, included.
        inv_temperature: lambda.
    """

    def __call__(self, chain: Chain, scorer: Scorer, num_positions: int, inv_temperature: float, /) -> Twist: ...


@dataclass(frozen=True)
class Tempering:
    """Tempered SMC in noise space, in place of particles that run down the chain; see ``smc.tempering``."""

    surrogate: bool = False
    """Temper the Gaussian draft of the prior, which costs no evaluation, and run the prior from what that finds."""
    blocks: int = 1
    """Blocks of noises that are moved in turn. A move of a later block runs the rest of the chain only."""
    moves: int = 8
    """Moves of a chain at each level."""
    ess: float = 0.5
    """A step of lambda leaves this share of the particles as effective sample size."""
    level_share: float = 0.2
    """Share of the particles that reach the next level of a hard condition, p of subset simulation."""
    acceptance: float = 0.44
    """Acceptance rate that the sizes of Crank-Nicolson moves aim at."""
    leapfrog: int = 5
    """Leapfrog steps of a Hamiltonian move of the draft, where its reward has a gradient and rules nothing out; 0 for
    Crank-Nicolson moves alone."""
    draft_calls: int = 16_384
    """Reward calls, about, that tempering the draft may take; only with a surrogate."""

    def __post_init__(self) -> None:
        for name in ("blocks", "moves", "draft_calls"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.leapfrog < 0:
            raise ValueError(f"leapfrog must be at least 0, got {self.leapfrog}")
        for name in ("ess", "level_share", "acceptance"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class SMCConfig:
    """Twisted sequential Monte Carlo (SMC) below one node. The default is the plain rollout of DTS: one particle."""

    particles: int = 1
    """Particles of one ticket, n."""
    twist: str | TwistFactory = "none"
    """Approximation of the soft value that guides particles. none: psi = 1. clean: r(x0_hat). debiased: the reward's
    own look-ahead r~. flow: F_phi. Or a look-ahead of your own: what makes it, or its name module:function; see
    ``TwistFactory``."""
    guidance: Guidance = "never"
    """Whether proposals follow the gradient of the twist: never, wherever reward and process allow it, or always."""
    guidance_scale: float = 1.0
    """Length of the guidance step: 1 is exact for a log-linear twist; smaller values suit a curved one."""
    split_factor: int = 1
    """The system starts with n / split_factor particles. Each is split into split_factor copies where the twist says
    that siblings begin to differ."""
    num_candidates: int = 1
    """Next states that each particle chooses from by the twist, on average over the steps. Used where evaluating the
    twist costs no function evaluation."""
    root_pool: int = 1
    """Proposals of x_T per particle, guided by the twist, of which the particles are resampled; 1 draws x_T from the
    prior. Used where x_T is a function of noise and evaluating the twist costs no function evaluation."""
    resampling: str | Scheme = "systematic"
    """multinomial, stratified, systematic, residual; siblings-K: at every step, K children for each of n/K parents. Or
    a scheme of your own, a function or its name module:function; see ``Scheme``."""
    ess_threshold: float = 0.5
    """Resample when the effective sample size falls below this share of n; 1: at every step."""
    weighted: bool = True
    """Without weights and resampling, guided particles are DPS: biased."""
    record_particles: bool = False
    """Return every particle with its parent, for training a flow."""
    record_share: float = 1.0
    """Share of the tickets, chosen by their seeds, whose particles are recorded."""
    record_resampling: str | Scheme | None = None
    """Resampling of the recorded tickets, if it differs: siblings-K gives every particle siblings, at a small loss of
    quality."""
    tempering: Tempering | None = None
    """Run a ticket as tempered SMC in noise space, which costs about as much as n particles. A mapping of its settings,
    as in a file, is taken too."""

    def __post_init__(self) -> None:
        if isinstance(self.tempering, Mapping):
            object.__setattr__(self, "tempering", Tempering(**self.tempering))
        for name in ("particles", "num_candidates", "split_factor", "root_pool"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.guidance not in get_args(Guidance):
            raise ValueError(f"guidance must be one of {', '.join(get_args(Guidance))}, got {self.guidance!r}")
        _check_twist(self.twist)
        if self.particles % self.split_factor and self.particles > 1:
            raise ValueError(
                f"{self.particles} particles cannot be split from {self.split_factor} times fewer; take a multiple of "
                "split_factor"
            )
        if not 0 < self.guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be a positive number, got {self.guidance_scale}")
        for scheme in (self.resampling, self.record_resampling or self.resampling):
            _check_scheme(scheme, self.particles, self.split_factor)
        if not 0 < self.record_share <= 1:
            raise ValueError(f"record_share must be in (0, 1], got {self.record_share}")
        if not 0 <= self.ess_threshold <= 1:
            raise ValueError(f"ess_threshold must be in [0, 1], got {self.ess_threshold}")
        if self.twist == "none" and self.guidance == "always":
            raise ValueError("guidance='always' needs a twist to follow: clean, debiased or flow")

    @property
    def plain(self) -> bool:
        """Whether this is the rollout of DTS: one particle, no twist, nothing recorded."""
        unguided = self.particles == 1 and self.twist == "none" and self.tempering is None
        return unguided and not self.record_particles

    @property
    def looks_ahead(self) -> bool:
        """Whether particles are guided by more than r(x0_hat)."""
        proposes = self.guidance != "never" or self.num_candidates > 1 or self.root_pool > 1
        return self.twist != "none" and (proposes or self.twist != "clean")

    @property
    def leaf_is_selected(self) -> bool:
        """Whether the x_0 that a ticket adds to the tree may be chosen by weights or a proposal, not by the prior."""
        guided = self.guidance != "never" or self.num_candidates > 1 or self.tempering is not None
        return self.particles > 1 or guided

    @property
    def siblings(self) -> bool:
        """Whether particles are resampled at every step, so that all have siblings."""
        return siblings_per_parent(self.resampling) > 1 or self.resampling == "siblings-1"


def _check_twist(twist: object) -> None:
    names = get_args(TwistName)
    if isinstance(twist, str) and ":" in twist:
        load_function(twist, "twist")
    elif not callable(twist) and twist not in names:
        raise ValueError(f"twist must be one of {', '.join(names)}, module:function, or a function, got {twist!r}")


def _check_scheme(scheme: object, particles: int, split_factor: int) -> None:
    if callable(scheme):
        return
    if isinstance(scheme, str) and ":" in scheme:
        load_function(scheme, "scheme")
        return
    if not isinstance(scheme, str) or not re.fullmatch(
        r"multinomial|stratified|systematic|residual|(siblings|families)-[1-9]\d*", scheme
    ):
        raise ValueError(
            "resampling must be one of multinomial, stratified, systematic, residual, siblings-K, module:function, or "
            f"a function, got {scheme!r}"
        )
    if particles > 1 and particles // split_factor % siblings_per_parent(scheme):
        raise ValueError(
            f"{particles} particles, {split_factor} times fewer at first, do not divide into {scheme}; take a multiple "
            "of both"
        )


def siblings_per_parent(resampling: str | Scheme) -> int:
    """K of ``siblings-K`` (once called ``families-K``), 1 of any other scheme."""
    if not isinstance(resampling, str):
        return 1
    prefix, _, size = resampling.partition("-")
    return int(size) if prefix in ("siblings", "families") and size.isdigit() else 1


PLAIN_ROLLOUT = SMCConfig()
