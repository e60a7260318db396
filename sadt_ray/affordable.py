"""As many rollouts as a budget of evaluations pays for, when looking ahead has its price too."""

from __future__ import annotations

from collections.abc import Callable

from sadt_ray.api import search
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method

_TRIAL = 64  # rollouts, about, by which the price of one is found


def affordable(
    make: Callable[[int], Method],
    max_nfe: int,
    process: GenerativeProcess,
    problem: Problem,
    reward: Reward,
    flow: Flow | None = None,
) -> Method:
    """The method with as many rollouts as ``max_nfe`` evaluations pay for, all looks included, by a trial on a problem.

    Raises ValueError if not even the smallest sweep is affordable.
    """
    trial = make(_TRIAL)
    price = float(search(process, [problem], reward, trial, flow=flow).nfe[0]) / _rollouts(trial)
    method = make(max(int(max_nfe / price), 1))
    cost = _rollouts(method) * price
    if cost > max_nfe:
        raise ValueError(
            f"{_rollouts(method)} particles, the fewest that {method.name} can have, cost {cost:.0f} evaluations, more "
            f"than the {max_nfe} there are"
        )
    return method


def _rollouts(method: Method) -> int:
    """Particles of all its sweeps."""
    assert method.search.n_rollouts is not None
    return method.search.n_rollouts * method.sweep.particles
