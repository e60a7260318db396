"""The library in two functions: ``search`` grows the trees, ``sample`` draws from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sadt_ray.executor import Executor, SerialExecutor, run_search
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method
from sadt_ray.plan import default_batch_size, plan_search
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search


def start_search(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
    flow: Flow | None = None,
) -> tuple[Search, Executor]:
    """A search that has not begun, and an executor in this process for it.

    Args:
        batch_size: tickets in flight at once; ``plan.default_batch_size`` if not given.
        flow: F_phi, for the methods that use one; they begin with the reward's own look-ahead if it is not given.
    """
    plan = plan_search(process, problems, method)
    size = default_batch_size(len(problems), plan.sweep.particles) if batch_size is None else batch_size
    return plan.begin(), SerialExecutor(process, reward, problems, size, rolling=plan.rolling, flow=flow)


def search(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
    on_progress: Callable[[Search], None] | None = None,
    flow: Flow | None = None,
) -> Search:
    """Search all problems to the end of their budgets.

    Raises:
        ValueError: for a problem that does not fit the process or the reward.
        RolloutFailed: when the reward cannot score a sample; see ``executor.run_search``.
    """
    started, executor = start_search(process, problems, reward, method, batch_size, flow)
    run_search(started, executor, on_progress)
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
