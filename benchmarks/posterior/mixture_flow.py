"""S-ADT on the 25 -> 9 mixture: a flow learned from nothing, and SMC that chooses by it or by the exact values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.interfaces import Problem, Scorer
from sadt_ray.methods import Method, sweep
from sadt_ray.processes.gaussian_mixture import DensityRatioReward, grid_prior, nine_mode_posterior
from sadt_ray.processes.mixture_walk import WalkedMixtureProcess
from sadt_ray.processes.walk import View
from sadt_ray.rollout.spec import RolloutFactory, RolloutFn, RolloutSpec
from sadt_ray.smc.sampler import ParticleSampler
from sadt_ray.training.fit import FlowFit, learn_flow
from sadt_ray.tree.samples import WeightedSamples
from sadt_ray.tree.search import Search

WALK = (40, *range(42, 68), 100)
"""Steps at which SMC weights particles: every step from sigma = 7 to 0.9, where the modes separate, few elsewhere."""
NUM_STEPS, LARGEST_SYSTEM = 100, 250
_FLOOR = -6.0  # nats; exp(-6) of the best mode's weight is negligible, and a flow need not tell -40 from -160
_REWARD = DensityRatioReward(grid_prior(), nine_mode_posterior())


@dataclass
class FlooredReward:
    """max(r, floor): what the flow learns from. Particles are weighted by r itself."""

    reward: DensityRatioReward
    floor: float
    oracle: bool = False

    def bind(self, problems: Sequence[Problem]) -> Scorer:
        scorer = self.reward.bind(problems)

        def floored(samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
            return np.maximum(scorer(samples, problem), self.floor)

        return floored


class ExactTwist:
    """log psi = V_t in closed form: the best that a flow can be."""

    idle, differentiable, reward_calls, nfe, tilt = False, False, 0, 0.0, None

    def __init__(self, process: WalkedMixtureProcess) -> None:
        self._sigmas = process.sigmas[np.array((0, *process.walk_steps))]

    def __call__(self, view: View) -> Float[Tensor, " B"]:
        states = view.features()[:, :2].double().numpy()
        return torch.as_tensor(_REWARD.soft_value(states, float(self._sigmas[view.position])))


def mixture_process() -> WalkedMixtureProcess:
    """The exact chain of 100 steps, with weights at the steps of ``WALK``."""
    return WalkedMixtureProcess(grid_prior(), NUM_STEPS, branch_steps="none", walk_steps=WALK)


def guided(max_nfe: int) -> Method:
    """The particle systems that ``max_nfe`` evaluations pay for, with four candidates per step and no gradients."""
    particles = max_nfe // NUM_STEPS
    size = min(particles, LARGEST_SYSTEM)
    settings = {"particles": size, "split_factor": 1, "guidance": "never", "num_candidates": 4, "ess_threshold": 0.5}
    return sweep(n_rollouts=particles // size * size, **settings)


def learn_mixture_flow(particles: int, steps: int, progress: Callable[[str], None] | None = None) -> FlowFit:
    """Learn from the particles of unguided SMC on eight problems of their own, four siblings per parent."""
    problems = [Problem(f"training {number}", np.zeros(0)) for number in range(8)]
    method = sweep(
        n_rollouts=particles,
        particles=particles,
        split_factor=1,
        guidance="never",
        num_candidates=1,
        resampling="siblings-4",
    )
    config = TrainingConfig(
        lr=4e-3, steps=steps, batch=512, hidden=96, loss="subtb-0.9+db", siblings=4, min_siblings=4,
        regression="squared", correct_bias=True, min_inv_temperature=1.0,
        max_inv_temperature=1.0, validation_share=0.2, patience=steps,
    )  # fmt: skip
    return learn_flow(mixture_process(), problems, FlooredReward(_REWARD, _FLOOR), [method], config, progress=progress)


def search_mixture(method: Method, seeds: Iterable[int], flow: Flow | None = None) -> list[WeightedSamples]:
    """Run SMC on one problem per seed, under a flow, or under the exact values without one."""
    process, problems = mixture_process(), [Problem(f"seed {seed}", np.zeros(0)) for seed in seeds]
    chain, scorer = process.bind(problems), _REWARD.bind(problems)
    search = Search(method.search, [problem.name for problem in problems], chain.root_states(), process.num_levels)
    roll: RolloutFn
    if flow is None:
        roll = ParticleSampler(chain, scorer, process.num_levels, method.smc, ExactTwist(process), 1.0, chooses=True)
    else:
        rollout_spec = RolloutSpec(process.branch_steps, method.smc, 1.0)
        roll = RolloutFactory(chain, scorer, process.num_levels, rollout_spec).rollout_fn(flow)
    while len(tickets := search.ask(max(1, 8_000 // method.smc.particles))):
        search.tell(roll(tickets))
    return search.samples()
