"""As many rollouts as a budget of function evaluations pays for, where looking ahead has its price too."""

from __future__ import annotations

from collections.abc import Callable

from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import start_search
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method

_TRIAL = 64  # rollouts, about, that are run to find the price of one


def fitted(
    method: Method, process: GenerativeProcess, problem: Problem, reward: Reward, flow: Flow | None = None
) -> Method:
    """The method with its number of rollouts: as it is, or fitted to its ``max_nfe`` where these depend on a trial."""
    if method.sized is None:
        return method
    assert method.search.max_nfe is not None, "a method of unknown size has a budget of evaluations"
    return fit_to_budget(method.sized, method.search.max_nfe, process, problem, reward, flow)


def fit_to_budget(
    make: Callable[[int], Method],
    max_nfe: int,
    process: GenerativeProcess,
    problem: Problem,
    reward: Reward,
    flow: Flow | None = None,
) -> Method:
    """The method with as many rollouts as ``max_nfe`` evaluations pay for, look-aheads included.

    What a rollout costs is measured by a trial of about 64 rollouts on one problem.

    Args:
        make: makes the method for a number of rollouts.
        max_nfe: function evaluations per problem.
        process, problem, reward, flow: of the trial.

    Raises:
        ValueError: if the budget does not pay for the smallest particle system.
    """
    trial = make(_TRIAL)
    search, executor = start_search(process, [problem], reward, trial, flow=flow)
    run_search(search, executor)
    price = float(search.nfe[0]) / _rollouts(trial)
    method = make(max(int(max_nfe / price), 1))
    cost = _rollouts(method) * price
    if cost > max_nfe:
        raise ValueError(
            f"{_rollouts(method)} particles, the fewest that {method.name} can have, cost {cost:.0f} evaluations, more "
            f"than the {max_nfe} there are"
        )
    return method


def _rollouts(method: Method) -> int:
    """Particles of all its tickets."""
    assert method.search.n_rollouts is not None
    return method.search.n_rollouts * method.smc.particles
