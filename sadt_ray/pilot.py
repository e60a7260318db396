"""Which method a condition needs: decided by measured weights, and said in words.

1. Where enough of the prior's samples satisfy the condition, they are the answer: prior sampling.
2. Else small pilots of S-ADT, of tempering and, where the prior has a Gaussian draft, of its surrogate are run:
   4 independent systems of 16 rollouts each. What counts is se(log Z)^2 times evaluations, the price of precision.
3. S-ADT is taken unless another method has at most a quarter of its price, or S-ADT found nothing or rests on
   fewer than 5 starts while another found something in two systems or more. (With 4 systems a ratio of variances
   passes 4 by chance in one case of seven.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sadt_ray.api import sample
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method, sadt, surrogate, tempered
from sadt_ray.session import SessionFactory

SYSTEMS = 4
"""Independent particle systems that a budget is divided into; more where there are more than 512 rollouts."""
PILOT_ROLLOUTS = 64
FEW_STARTS = 5
"""Fewer effective starts than these are said to be few."""
_LARGEST = 128  # rollouts of a system, where there are more than SYSTEMS
_CHEAPER = 9.0
NAMES = ("sadt", "tempered", "surrogate")


class Trial(NamedTuple):
    """What a pilot of one method found for one problem."""

    method: str
    log_z: float
    log_z_se: float
    starts: float
    evaluations: int
    reward_calls: int

    @property
    def price(self) -> float:
        """se(log Z)^2 times evaluations; infinite where fewer than two systems found something."""
        return self.log_z_se**2 * self.evaluations if math.isfinite(self.log_z_se) else math.inf

    def __str__(self) -> str:
        if not math.isfinite(self.log_z):
            return f"{self.method} finds nothing"
        spread = f"± {self.log_z_se:.2g}" if math.isfinite(self.log_z_se) else "in one system alone"
        return f"{self.method} log P {self.log_z:.2f} {spread} for {self.evaluations:,} evaluations"


def systems_of(rollouts: int) -> tuple[int, int]:
    """Number of independent particle systems, and rollouts of each, that make up so many rollouts or a few less."""
    count = max(SYSTEMS, rollouts // _LARGEST)
    return count, max(rollouts // count // 4, 1) * 4


def method_of(name: str, rollouts: int, seed: int) -> Method:
    """One of ``NAMES`` with its budget in independent systems, so that log Z has a standard error.

    Raises ValueError for another name.
    """
    count, particles = systems_of(rollouts)
    size = {"n_rollouts": count * particles, "particles": particles, "seed": seed}
    if name == "sadt":
        return sadt(**size, guidance_scale=1.0, num_candidates=4, root_pool=16, branch_steps="none")
    if name == "tempered":
        return tempered(**size)
    if name == "surrogate":
        return surrogate(**size)
    raise ValueError(f"there is no method {name!r} for conditions; choose auto, snis, {', '.join(NAMES)}")


def run_pilots(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    seed: int,
    session: SessionFactory | None = None,
) -> list[list[Trial]]:
    """Pilots of the methods that the process allows, for each problem. Raises what S-ADT raises."""
    trials: list[list[Trial]] = [[] for _ in problems]
    for name in NAMES:
        method = method_of(name, PILOT_ROLLOUTS, seed)
        try:
            found = sample(process, problems, reward, method, flow=None, session=session, progress=False)
        except ValueError:
            if name == "sadt":
                raise
            continue  # no diffusion prior, or one without a draft
        for each, samples, nfe, calls in zip(trials, found, found.nfe, found.reward_calls, strict=True):
            weightless = samples.weightless
            each.append(
                Trial(
                    name,
                    -math.inf if weightless else samples.log_z,
                    math.inf if weightless else samples.log_z_se,
                    0.0 if weightless else _starts(samples.starts, samples.root_ess),
                    int(nfe),
                    int(calls),
                )
            )
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """The method of rule 3 above."""
    first, others = trials[0], trials[1:]
    if not others:
        return first
    other = min(others, key=lambda trial: trial.price)
    if not math.isfinite(other.price):
        found = [trial for trial in others if math.isfinite(trial.log_z)]
        return first if math.isfinite(first.log_z) or not found else found[0]
    weak = not math.isfinite(first.price) or first.starts < FEW_STARTS
    return other if weak or other.price * _CHEAPER <= first.price else first


def why(hits: int, n: int, trials: Sequence[Trial], chosen: Trial) -> str:
    """The choice in words."""
    figures = "; ".join(map(str, trials))
    return f"{hits:,} of {n:,} prior samples satisfy it, too few. Pilots: {figures}. Taken: {chosen.method}"


def _starts(starts: float, root_ess: float) -> float:
    return root_ess if np.isnan(starts) else starts
