"""Who rolls a method's tickets out: the plain rollout of DTS, or particle sweeps under its twist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sadt_ray.flow.flow import Flow, FlowTwist
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.interfaces import Chain, Results, Scorer, Tickets
from sadt_ray.processes.walk import can_choose, can_lean, level_positions
from sadt_ray.rewards.look_ahead import is_differentiable
from sadt_ray.rollout import rollout
from sadt_ray.sweep import Sweeper
from sadt_ray.sweep_config import PLAIN_ROLLOUT, SweepConfig
from sadt_ray.twists import CleanTwist, NoTwist, Twist, debiased_twist, relative_cost

Roller = Callable[[Tickets], Results]


@dataclass(frozen=True)
class Rolling:
    """What a worker must know of a search to roll its tickets out, beside process, reward and problems.

    Attributes:
        branch_steps: of the process.
        sweep: particles, twist, proposals.
        inv_temperature: lambda.
    """

    branch_steps: str | tuple[int, ...]
    sweep: SweepConfig = PLAIN_ROLLOUT
    inv_temperature: float = 1.0


def roller(chain: Chain, scorer: Scorer, num_levels: int, rolling: Rolling, flow: Flow | None = None) -> Roller:
    """Bind once, then call with tickets.

    Raises:
        ValueError: for a twist or a proposal that process or reward cannot provide, or a flow that does not fit.
    """
    sweep = rolling.sweep
    if sweep.plain:
        return lambda tickets: rollout(chain, scorer, num_levels, tickets)
    twist = make_twist(chain, scorer, num_levels, rolling, flow)
    leans = sweep.lean != "never" and twist.differentiable and can_lean(chain)
    if sweep.lean == "always" and not leans:
        raise ValueError(
            f"{type(scorer).__name__} with {type(chain).__name__} has no gradients, which this method follows; use one "
            "without, such as fk, smc-debiased or sweep"
        )
    return Sweeper(
        chain, scorer, num_levels, sweep, twist, rolling.inv_temperature, leans, can_choose(chain) and not twist.idle
    )


def make_twist(chain: Chain, scorer: Scorer, num_levels: int, rolling: Rolling, flow: Flow | None = None) -> Twist:
    """The twist of a search. Without a flow, one that wants it has the look-ahead that flows begin with, or none."""
    name, lam = rolling.sweep.twist, rolling.inv_temperature
    num_positions = int(level_positions(chain, num_levels)[-1]) + 1
    if name == "clean":
        return CleanTwist(scorer, lam)
    if name == "debiased":
        return debiased_twist(chain, scorer, num_positions, lam)
    if name == "flow" and flow is not None:
        flow.check(lam)
        inputs = FlowInputs(chain, scorer, num_positions, flow.config.look_ahead)
        cost = relative_cost(chain, flow.network().multiply_adds + inputs.multiply_adds)
        return FlowTwist(flow, inputs, lam, cost, is_differentiable(scorer))
    if name == "flow" and FlowInputs(chain, scorer, num_positions).look_ahead:
        return debiased_twist(chain, scorer, num_positions, lam)
    return NoTwist()
