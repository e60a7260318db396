"""The plan of a search: small enough to send, and enough to start the search on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sadt_ray.config import SearchConfig
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward, States
from sadt_ray.methods import Method
from sadt_ray.processes.walk import level_positions
from sadt_ray.rollout.spec import RolloutFactory, RolloutSpec
from sadt_ray.smc.config import PLAIN_ROLLOUT, SMCConfig
from sadt_ray.tree.search import Search


@dataclass(frozen=True)
class SearchPlan:
    """The plan of one search over P problems.

    Attributes:
        name: name of the method, under which records and checkpoints are stored.
        config: settings of the search.
        branch_steps: branch steps of the process.
        names: names of the problems.
        root_states: states of the roots [P, *state_shape].
        num_levels: number of levels below the roots.
        smc: settings of a rollout.
        positions: position on the walk of each level, from the root down.
    """

    name: str
    config: SearchConfig
    branch_steps: str | tuple[int, ...]
    names: tuple[str, ...]
    root_states: States
    num_levels: int
    smc: SMCConfig = PLAIN_ROLLOUT
    positions: tuple[int, ...] = ()

    @property
    def rollout_spec(self) -> RolloutSpec:
        """The settings that a worker needs for rollouts."""
        tickets = max(self.simulations // len(self.names), 1)
        return RolloutSpec(self.branch_steps, self.smc, self.config.inv_temperature, tickets)

    @property
    def simulations(self) -> int:
        """Approximate number of simulations, for allocation.

        A budget of evaluations is divided by the number of levels times the number of particles.
        """
        dearest = self.num_levels * self.smc.particles
        budgets = [self.config.n_rollouts, self.config.max_nfe and self.config.max_nfe // dearest]
        return len(self.names) * max(1, min(budget for budget in budgets if budget is not None))

    def begin(self) -> Search:
        """Make the search."""
        return Search(self.config, self.names, self.root_states, self.num_levels)


def plan_search(process: GenerativeProcess, problems: Sequence[Problem], method: Method) -> SearchPlan:
    """Plan the search of a method. Raises ValueError for an empty list, or a problem that does not fit the process."""
    if not problems:
        raise ValueError("there is nothing to search: the list of problems is empty")
    if method.sized is not None:
        raise ValueError(
            f"the number of rollouts that max_nfe={method.search.max_nfe} allows {method.name} depends on process and "
            "reward; call budget.fitted first, or give n_rollouts"
        )
    branching = process.with_branch_steps(method.branch_steps)
    chain = branching.bind(problems)
    return SearchPlan(
        name=method.name,
        config=method.search,
        branch_steps=method.branch_steps if isinstance(method.branch_steps, str) else tuple(method.branch_steps),
        names=tuple(problem.name for problem in problems),
        root_states=chain.root_states(),
        num_levels=branching.num_levels,
        smc=method.smc,
        positions=tuple(level_positions(chain, branching.num_levels).tolist()),
    )


def check_rollouts(
    plan: SearchPlan, process: GenerativeProcess, reward: Reward, problem: Problem, flow: Flow | None = None
) -> str:
    """What guides the rollouts of the plan, in words; empty for nothing.

    Raises ValueError if process, reward or flow cannot provide what the rollouts need.
    """
    branching = process.with_branch_steps(plan.branch_steps)
    chain, scorer = branching.bind([problem]), reward.bind([problem])
    rollouts = RolloutFactory(chain, scorer, plan.num_levels, plan.rollout_spec)
    rollouts.rollout_fn(flow)
    return rollouts.guidance(flow)


def default_batch_size(num_problems: int, particles: int = 1) -> int:
    """Default number of tickets per batch.

    It is two per problem, at least 16 and at most 256: many tickets in flight make the tree worse at small budgets, few
    rows make the model slow. A ticket of n particles has n rows, and such batches have up to 1,024 rows.
    """
    if particles > 1:
        return max(1024 // particles, 1)
    return min(max(2 * num_problems, 16), 256)
