"""As many rollouts as a budget of evaluations pays for, when looking ahead has its price too."""

from __future__ import annotations

from collections.abc import Callable

from sadt_ray.api import search
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method

_TRIAL = 64  # rollouts by which the price of one is found


def affordable(
    make: Callable[[int], Method],
    max_nfe: int,
    process: GenerativeProcess,
    problem: Problem,
    reward: Reward,
    flow: Flow | None = None,
) -> Method:
    """The method with as many rollouts as ``max_nfe`` evaluations pay for, all looks included, by a trial on a problem.

    Raises ValueError if not even one is affordable.
    """
    trial = search(process, [problem], reward, make(_TRIAL), flow=flow)
    price = float(trial.nfe[0]) / _TRIAL
    if max_nfe < price:
        raise ValueError(f"one rollout costs {price:.1f} evaluations, more than the {max_nfe} there are")
    return make(int(max_nfe / price))
