"""Who rolls a method's tickets out: the plain rollout of DTS, particle sweeps under its twist, or tempering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int

from sadt_ray.flow.flow import Flow, FlowTwist
from sadt_ray.flow.inputs import FlowInputs
from sadt_ray.interfaces import Chain, Results, Scorer, States, Tickets
from sadt_ray.processes.fitted_law import chain_with_fitted_law
from sadt_ray.processes.walk import can_choose, level_positions, starts_from_noise, supports_guidance
from sadt_ray.rewards.look_ahead import is_differentiable
from sadt_ray.rollout.rollout import rollout
from sadt_ray.smc.config import PLAIN_ROLLOUT, SMCConfig
from sadt_ray.smc.root import RootProposal
from sadt_ray.smc.sampler import ParticleSampler
from sadt_ray.smc.tempering.sampler import TemperedSampler
from sadt_ray.smc.twists import (
    CleanTwist,
    DebiasedTwist,
    NoTwist,
    Twist,
    can_look_ahead,
    custom_twist,
    debiased_twist,
    relative_cost,
)

RolloutFn = Callable[[Tickets], Results]


@dataclass(frozen=True)
class RolloutSpec:
    """What a worker must know of a search to roll its tickets out, beside process, reward and problems.

    Attributes:
        branch_steps: of the process.
        smc: particles, twist, proposals.
        inv_temperature: lambda.
        tickets: per problem, about, among which the cost of what is prepared once is divided.
    """

    branch_steps: str | tuple[int, ...]
    smc: SMCConfig = PLAIN_ROLLOUT
    inv_temperature: float = 1.0
    tickets: int = 1


class RolloutFactory:
    """Makes the rollout functions of one search: a new one for each flow, while what takes long to bind is bound once.

    Args:
        chain, scorer, num_levels: what is rolled out, bound to the same problems.
        rollout_spec: how.
    """

    def __init__(self, chain: Chain, scorer: Scorer, num_levels: int, rollout_spec: RolloutSpec) -> None:
        self._setup_nfe = 0
        if rollout_spec.smc.looks_ahead:
            chain, self._setup_nfe = chain_with_fitted_law(chain)
        self._chain, self._scorer, self._num_levels, self._spec = chain, scorer, num_levels, rollout_spec
        self._positions = level_positions(chain, num_levels)
        self._inputs: dict[bool | None, FlowInputs] = {}  # by their look-ahead

    def rollout_fn(self, flow: Flow | None = None) -> RolloutFn:
        """Roll with these weights; results carry their version.

        Raises:
            ValueError: for a twist, a proposal or tempering that process or reward cannot provide, or a flow that does
                not fit.
        """
        smc, chain, scorer = self._spec.smc, self._chain, self._scorer
        if smc.plain:
            return lambda tickets: rollout(chain, scorer, self._num_levels, tickets, self._spec.inv_temperature)
        if smc.tempering is not None:
            return TemperedSampler(chain, scorer, self._num_levels, smc, self._spec.inv_temperature)
        twist = self.twist(flow)
        guided, chooses, from_noise = self._proposals(twist)
        if smc.guidance == "always" and not guided:
            raise ValueError(
                f"{type(scorer).__name__} with {type(chain).__name__} has no gradients, which this method follows; "
                "use one without, such as fk, smc-debiased or sweep"
            )
        lam, version = self._spec.inv_temperature, 0 if flow is None else flow.version
        root = RootProposal(chain, twist, self._spec.tickets) if from_noise else None
        share = self._setup_nfe / self._spec.tickets
        sampler = ParticleSampler(chain, scorer, self._num_levels, smc, twist, lam, guided, chooses, root, share)
        return lambda tickets: replace(sampler(tickets), weights_version=version)

    def _proposals(self, twist: Twist) -> tuple[bool, bool, bool]:
        """Whether steps follow a gradient, choose among candidates, and x_T may be proposed."""
        smc, chain = self._spec.smc, self._chain
        guided = smc.guidance != "never" and twist.differentiable and supports_guidance(chain)
        chooses = can_choose(chain) and not twist.idle
        return guided, chooses, smc.root_pool > 1 and chooses and starts_from_noise(chain)

    def guidance(self, flow: Flow | None = None) -> str:
        """What guides the particles, in words; empty for a method that is not meant to be guided."""
        smc, chain = self._spec.smc, self._chain
        if smc.tempering is not None or not smc.looks_ahead:
            return ""
        twist = self.twist(flow)
        if isinstance(twist, NoTwist):
            return f"not guided: there is no look-ahead from the states of {type(chain).__name__}, weights alone decide"
        guided, chooses, from_noise = self._proposals(twist)
        if isinstance(twist, DebiasedTwist):
            parts = [f"guided by {twist.look_ahead.how}"]
        else:
            parts = ["guided by the flow" if isinstance(twist, FlowTwist) else "guided by a look-ahead of your own"]
        if smc.guidance != "never":
            parts.append("with its gradient" if guided else "no gradient: the reward or the process has none")
        if smc.num_candidates > 1:
            parts.append(f"{smc.num_candidates} candidates per step" if chooses else "no candidates")
        if from_noise:
            parts.append("x_T proposed where the look-ahead decides there")
        if self._setup_nfe:
            parts.append(
                "Cov(x_0 | x_t) and a draft of x0_hat fitted on samples of the prior "
                f"({self._setup_nfe:,} evaluations per problem, counted)"
            )
        return ", ".join(parts)

    def twist(self, flow: Flow | None = None) -> Twist:
        """Of the search. Without a flow, one that wants it has the look-ahead that flows begin with, or none."""
        chain, scorer, lam = self._chain, self._scorer, self._spec.inv_temperature
        name, num_positions = self._spec.smc.twist, int(self._positions[-1]) + 1
        if not isinstance(name, str) or ":" in name:
            return custom_twist(name, chain, scorer, num_positions, lam)
        if name == "clean":
            return CleanTwist(scorer, lam)
        if name == "debiased":
            return debiased_twist(chain, scorer, num_positions, lam)
        if name == "flow" and flow is not None:
            flow.check(lam)
            inputs = self._inputs_with(flow.config.look_ahead)
            cost = relative_cost(chain, flow.network().multiply_adds + inputs.multiply_adds)
            return FlowTwist(flow, inputs, lam, cost, is_differentiable(scorer))
        if name == "flow" and can_look_ahead(chain, scorer):
            return debiased_twist(chain, scorer, num_positions, lam)
        return NoTwist()

    def log_flow(
        self, flow: Flow, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> tuple[Float[np.ndarray, " B"], int]:
        """lambda F_phi of nodes between root and x_0, and the evaluations that looking at each costs."""
        inputs, positions = self._inputs_with(flow.config.look_ahead), self._positions[levels]
        features, base, nfe = inputs.of_states(states, positions, problem)
        if len(states) == 0:
            return np.zeros(0), 0
        lam = torch.full((len(states),), self._spec.inv_temperature)
        given = torch.as_tensor(features), torch.as_tensor(base), torch.as_tensor(positions), lam
        return flow.network()(*given).double().numpy(), -(-nfe // len(states))

    def _inputs_with(self, look_ahead: bool | None) -> FlowInputs:
        if look_ahead not in self._inputs:
            made = FlowInputs(self._chain, self._scorer, int(self._positions[-1]) + 1, look_ahead)
            self._inputs[look_ahead] = self._inputs[made.look_ahead] = made
        return self._inputs[look_ahead]


def rollout_fn(
    chain: Chain, scorer: Scorer, num_levels: int, rollout_spec: RolloutSpec, flow: Flow | None = None
) -> RolloutFn:
    """For one flow, or none; see ``RolloutFactory``."""
    return RolloutFactory(chain, scorer, num_levels, rollout_spec).rollout_fn(flow)
