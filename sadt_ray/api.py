"""The library in two functions: ``search`` grows the trees, ``sample`` draws from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sadt_ray.executor import Executor, SerialExecutor, run_search
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward
from sadt_ray.methods import Method
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search


def start_search(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
) -> tuple[Search, Executor]:
    """A search that has not begun, and an executor in this process for it.

    Args:
        batch_size: tickets in flight at once. By default two a problem, but at least 16 and at most 256: many in flight
            cost a tree quality at small budgets, few rows cost the model speed.
    """
    if not problems:
        raise ValueError("there is nothing to search: the list of problems is empty")
    branching = process.with_branch_steps(method.branch_steps)
    size = batch_size if batch_size is not None else min(max(2 * len(problems), 16), 256)
    executor = SerialExecutor(branching, reward, problems, size)
    names = [problem.name for problem in problems]
    return Search(method.search, names, executor.root_states(), branching.num_levels), executor


def search(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
    on_progress: Callable[[Search], None] | None = None,
) -> Search:
    """Search all problems to the end of their budgets.

    Raises:
        ValueError: for a problem that does not fit the process or the reward.
        RolloutFailed: when the reward cannot score a sample; see ``executor.run_search``.
    """
    started, executor = start_search(process, problems, reward, method, batch_size)
    run_search(started, executor, on_progress)
    return started


def sample(
    process: GenerativeProcess,
    problems: Sequence[Problem],
    reward: Reward,
    method: Method,
    batch_size: int | None = None,
) -> list[WeightedSamples]:
    """Weighted samples of p(x_0 | c) exp(lambda r(x_0)) / Z for every problem, in the problems' order."""
    return search(process, problems, reward, method, batch_size).samples()
