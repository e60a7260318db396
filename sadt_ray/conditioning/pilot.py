"""Which method a condition needs: decided by measured weights, and said in words.

1. Where enough of the prior's samples satisfy the condition, prior sampling gets the budget, with others than
   those that decided, which would be biased.
2. Else a small pilot of S-ADT is run: 4 independent systems of 16 rollouts each. It is taken where its weights are
   even: half of its starts count, and log Z is known to half a nat.
3. Else pilots of tempering and, where the prior has a Gaussian draft, of its surrogate follow. What counts is the
   price of precision, se(log Z)^2 times evaluations. S-ADT, whose estimate is unbiased, is taken unless another
   method has at most a ninth of its price, or S-ADT found nothing or rests on fewer than 5 starts while another
   found something in two systems or more. (With 4 systems each, a ratio of equal variances passes 9.3 by chance in
   one case of twenty.)
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
_EVEN_STARTS, _EVEN_SE = PILOT_ROLLOUTS / 2, 0.5
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

    @property
    def even(self) -> bool:
        """Whether the weights are even enough that no other method need be tried."""
        return self.log_z_se <= _EVEN_SE and self.starts >= _EVEN_STARTS

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
    """Pilots for each problem: of S-ADT, and where that is not even, of the other methods that the process allows.

    Raises what S-ADT raises.
    """
    trials = [[trial] for trial in _pilot("sadt", process, problems, reward, seed, session)]
    uneven = [place for place, (first,) in enumerate(trials) if not first.even]
    if uneven:
        left = [problems[place] for place in uneven]
        for name in NAMES[1:]:
            try:
                found = _pilot(name, process, left, reward, seed, session)
            except ValueError:  # no diffusion prior, or one without a draft
                continue
            for place, trial in zip(uneven, found, strict=True):
                trials[place].append(trial)
    return trials


def _pilot(
    name: str,
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    seed: int,
    session: SessionFactory | None,
) -> list[Trial]:
    method = method_of(name, PILOT_ROLLOUTS, seed)
    found = sample(process, problems, reward, method, flow=None, session=session, progress=False)
    return [
        Trial(
            name,
            -math.inf if samples.weightless else samples.log_z,
            math.inf if samples.weightless else samples.log_z_se,
            0.0 if samples.weightless else _starts(samples.starts, samples.root_ess),
            int(nfe),
            int(calls),
        )
        for samples, nfe, calls in zip(found, found.nfe, found.reward_calls, strict=True)
    ]


def best_of(trials: Sequence[Trial]) -> Trial:
    """The method of rules 2 and 3 above."""
    first, others = trials[0], trials[1:]
    if not others or first.even:
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
    what = "Pilot" if len(trials) == 1 else "Pilots"
    return f"{hits:,} of {n:,} prior samples satisfy it, too few. {what}: {figures}. Taken: {chosen.method}"


def _starts(starts: float, root_ess: float) -> float:
    return root_ess if np.isnan(starts) else starts
