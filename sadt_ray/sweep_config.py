"""What a rollout is: one particle, or a population of them with a twist and a proposal."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

TwistName = Literal["none", "clean", "debiased", "flow"]
Lean = Literal["never", "possible", "always"]


@dataclass(frozen=True)
class SweepConfig:
    """Particles of one ticket, and what guides them. The default is the plain rollout of DTS."""

    particles: int = 1
    """n, of one ticket."""
    twist: TwistName = "none"
    """none; clean: r(x0_hat); debiased: the reward's own look-ahead r~; flow: F_phi."""
    lean: Lean = "never"
    """Whether proposals lean along the gradient of the twist: where reward and process allow it, or always."""
    growth: int = 1
    """A sweep begins with n / growth particles and has n from where the twist says that siblings begin to differ."""
    lean_scale: float = 1.0
    """How far they lean: 1 is right for a log-linear twist, less for one that bends."""
    candidates: int = 1
    """Next states that every particle chooses from by the twist, on average over the steps, where a look costs no
    evaluation."""
    resampling: str = "systematic"
    """multinomial, stratified, systematic, residual, or families-K: always, K children for each of n/K parents."""
    ess_threshold: float = 0.5
    """Resample when the effective sample size falls below this share of n; 1: at every step."""
    weighted: bool = True
    """Without weights and resampling, guided particles are DPS: biased."""
    harvest: bool = False
    """Return every particle with its parent, for a learner."""
    harvest_share: float = 1.0
    """Of the tickets, by their seeds, that are harvested."""
    harvest_resampling: str | None = None
    """Of tickets that are harvested, if it is another one: families-K gives all particles siblings, and costs a little
    quality."""

    def __post_init__(self) -> None:
        for name in ("particles", "candidates", "growth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, allowed in (("twist", get_args(TwistName)), ("lean", get_args(Lean))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.particles % self.growth and self.particles > 1:
            raise ValueError(f"{self.particles} particles cannot grow {self.growth} times; take a multiple of it")
        if not 0 < self.lean_scale < math.inf:
            raise ValueError(f"lean_scale must be a positive number, got {self.lean_scale}")
        for scheme in (self.resampling, self.harvest_resampling or self.resampling):
            _check_scheme(scheme, self.particles, self.growth)
        if not 0 < self.harvest_share <= 1:
            raise ValueError(f"harvest_share must be in (0, 1], got {self.harvest_share}")
        if not 0 <= self.ess_threshold <= 1:
            raise ValueError(f"ess_threshold must be in [0, 1], got {self.ess_threshold}")
        if self.twist == "none" and self.lean == "always":
            raise ValueError("lean='always' needs a twist to lean along: clean, debiased or flow")

    @property
    def plain(self) -> bool:
        """Whether this is the rollout of DTS, with nothing to look at on the way and nothing to bring beside."""
        return self.particles == 1 and self.twist == "none" and not self.harvest

    @property
    def swept(self) -> bool:
        """Whether the x_0 that a ticket brings may be the choice of weights or of a proposal, and not the prior's."""
        return self.particles > 1 or self.lean != "never" or self.candidates > 1

    @property
    def families(self) -> bool:
        """Whether particles are resampled at every step so that all have siblings."""
        return self.resampling.startswith("families")


def _check_scheme(scheme: str, particles: int, growth: int) -> None:
    if not re.fullmatch(r"multinomial|stratified|systematic|residual|families-[1-9]\d*", scheme):
        raise ValueError(
            f"resampling must be one of multinomial, stratified, systematic, residual, families-K, got {scheme!r}"
        )
    if particles > 1 and particles // growth % family_size(scheme):
        raise ValueError(
            f"{particles} particles, {growth} times fewer at first, do not divide into {scheme}; take a multiple of "
            "both"
        )


def family_size(resampling: str) -> int:
    """K of families-K, 1 of any other scheme."""
    prefix, _, size = resampling.partition("-")
    return int(size) if prefix == "families" and size.isdigit() else 1


PLAIN_ROLLOUT = SweepConfig()
