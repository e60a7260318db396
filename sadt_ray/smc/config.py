"""Settings of a particle system: how many particles a ticket has, what guides them, how they are resampled."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

TwistName = Literal["none", "clean", "debiased", "flow"]
Guidance = Literal["never", "possible", "always"]
Scheme = Callable[..., Any]
TwistFactory = Callable[..., Any]


@dataclass(frozen=True)
class SMCConfig:
    """Twisted sequential Monte Carlo (SMC) below one node. The default is the plain rollout of DTS: one particle."""

    particles: int = 1
    """Particles of one ticket, n."""
    twist: TwistName = "none"
    """Approximation of the soft value that guides particles. none: psi = 1. clean: r(x0_hat). debiased: the reward's
    own look-ahead r~. flow: F_phi."""
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
    resampling: str = "systematic"
    """multinomial, stratified, systematic, residual; siblings-K: at every step, K children for each of n/K parents; or
    module:function, a scheme of your own (``resampling.Scheme``)."""
    ess_threshold: float = 0.5
    """Resample when the effective sample size falls below this share of n; 1: at every step."""
    weighted: bool = True
    """Without weights and resampling, guided particles are DPS: biased."""
    record_particles: bool = False
    """Return every particle with its parent, for training a flow."""
    record_share: float = 1.0
    """Share of the tickets, chosen by their seeds, whose particles are recorded."""
    record_resampling: str | None = None
    """Resampling of the recorded tickets, if it differs: siblings-K gives every particle siblings, at a small loss of
    quality."""

    def __post_init__(self) -> None:
        for name in ("particles", "num_candidates", "split_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, allowed in (("twist", get_args(TwistName)), ("guidance", get_args(Guidance))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
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
        return self.particles == 1 and self.twist == "none" and not self.record_particles

    @property
    def leaf_is_selected(self) -> bool:
        """Whether the x_0 that a ticket adds to the tree may be chosen by weights or a proposal, not by the prior."""
        return self.particles > 1 or self.guidance != "never" or self.num_candidates > 1

    @property
    def siblings(self) -> bool:
        """Whether particles are resampled at every step, so that all have siblings."""
        return siblings_per_parent(self.resampling) > 1 or self.resampling == "siblings-1"


def _check_scheme(scheme: str, particles: int, split_factor: int) -> None:
    if not re.fullmatch(
        r"multinomial|stratified|systematic|residual|(siblings|families)-[1-9]\d*|[\w.]+:[\w.]+", scheme
    ):
        raise ValueError(
            "resampling must be one of multinomial, stratified, systematic, residual, siblings-K, or module:function, "
            f"got {scheme!r}"
        )
    if particles > 1 and particles // split_factor % siblings_per_parent(scheme):
        raise ValueError(
            f"{particles} particles, {split_factor} times fewer at first, do not divide into {scheme}; take a multiple "
            "of both"
        )


def siblings_per_parent(resampling: str) -> int:
    """K of ``siblings-K`` (once called ``families-K``), 1 of any other scheme."""
    prefix, _, size = resampling.partition("-")
    return int(size) if prefix in ("siblings", "families") and size.isdigit() else 1


PLAIN_ROLLOUT = SMCConfig()
