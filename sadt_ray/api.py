"""The library in two functions: ``search`` grows the trees, ``sample`` draws from them."""

from __future__ import annotations

from collections.abc import Sequence

from sadt_ray.budget import fitted
from sadt_ray.engine.loop import Observer, run_search
from sadt_ray.engine.serial import start_search
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search


def search(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
    observers: Sequence[Observer] = (),
    flow: Flow | None = None,
) -> Search:
    """Search all problems to the end of their budgets.

    Raises:
        ValueError: for a problem that does not fit the process or the reward.
        RolloutFailed: when the reward cannot score a sample; see ``engine.loop.run``.
    """
    method = fitted(method, process, problems[0], reward, flow) if problems else method
    started, executor = start_search(process, problems, reward, method, batch_size, flow)
    run_search(started, executor, observers)
    return started


def sample(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
    flow: Flow | None = None,
) -> list[WeightedSamples]:
    """Weighted samples of p(x_0 | c) exp(lambda r(x_0)) / Z for every problem, in the problems' order."""
    return search(process, problems, reward, method, batch_size, flow=flow).samples()
