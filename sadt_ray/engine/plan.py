"""What one search is, before it begins: small enough to send, complete enough to begin it anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sadt_ray.config import SearchConfig
from sadt_ray.flow.flow import Flow
from sadt_ray.interfaces import GenerativeProcess, Problem, Reward, States
from sadt_ray.methods import Method
from sadt_ray.processes.walk import level_positions
from sadt_ray.rollout.spec import RolloutSpec, rollout_fn
from sadt_ray.smc.config import PLAIN_ROLLOUT, SMCConfig
from sadt_ray.tree.search import Search


@dataclass(frozen=True)
class SearchPlan:
    """A forest to grow.

    Attributes:
        name: of the method; records and checkpoints are filed under it.
        config: of the search.
        branch_steps: of the process, for whoever rolls out.
        names: of the problems.
        root_states: [P, *state_shape].
        num_levels: below the roots.
        sweep: what a rollout is.
        positions: of the levels among the process's finest steps, root first.
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
        """What a worker must know of it."""
        return RolloutSpec(self.branch_steps, self.smc, self.config.inv_temperature)

    @property
    def simulations(self) -> int:
        """About so many will be run, for sizing: a budget of evaluations is taken as one a level and rollout."""
        dearest = self.num_levels * self.smc.particles
        budgets = [self.config.n_rollouts, self.config.max_nfe and self.config.max_nfe // dearest]
        return len(self.names) * max(1, min(budget for budget in budgets if budget is not None))

    def begin(self) -> Search:
        """The search, with nothing asked."""
        return Search(self.config, self.names, self.root_states, self.num_levels)


def plan_search(process: GenerativeProcess, problems: Sequence[Problem], method: Method) -> SearchPlan:
    """The search of a method over problems. Raises ValueError for problems that do not fit the process, or none."""
    if not problems:
        raise ValueError("there is nothing to search: the list of problems is empty")
    if method.sized is not None:
        raise ValueError(
            f"how many rollouts max_nfe={method.search.max_nfe} pays for {method.name} depends on process and reward; "
            "call budget.fitted first, or give n_rollouts"
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
) -> None:
    """Raises ValueError for what the rollouts of a plan ask of process, reward or flow and these cannot provide."""
    branching = process.with_branch_steps(plan.branch_steps)
    rollout_fn(branching.bind([problem]), reward.bind([problem]), plan.num_levels, plan.rollout_spec, flow)


def default_batch_size(num_problems: int, particles: int = 1) -> int:
    """Tickets a batch: two a problem, but at least 16 and at most 256 rows: many in flight cost a tree quality at small
    budgets, few rows cost the model speed. Particles of one ticket are rows already, and sweeps take up to 1,024."""
    if particles > 1:
        return max(1024 // particles, 1)
    return min(max(2 * num_problems, 16), 256)
