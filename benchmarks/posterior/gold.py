"""The gold: samples of p(x_0|c) exp(lambda r(x_0)) / Z and log Z from a sampler that shares nothing with the searches.

Two ways. *Direct*: anneal the chain itself in noise space (``annealing``). *By surrogate*, the default: anneal the
Gaussian chain next to it, which costs no evaluation of the denoiser and can therefore mix for as long as it takes;
then run the true chain from noises that lead to the same place, and weight by exp(lambda (r - r_Gaussian)):

    Z = Z_Gaussian E_{pi_Gaussian} exp(lambda (r - r_Gaussian)).

Both are consistent for any reward; neither knows what the other does, so that each checks the other. All inverse
temperatures asked for come from one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.numerics.logspace import effective_sample_size, log_mean_exp, normalised
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.smc.tempering.annealing import Annealing, AnnealingConfig
from sadt_ray.smc.tempering.gaussian_chain import GaussianChain
from sadt_ray.smc.tempering.noise_chain import NoiseChain


@dataclass(frozen=True)
class GoldConfig:
    """How the gold is made.

    Attributes:
        annealing: sizes of the sampler.
        surrogate: whether the Gaussian chain is annealed in place of the chain itself.
        blocks: first noise of each block that the direct sampler moves, see ``NoiseChain``.
        evaluated_sweeps: number of sweeps, evenly spaced, whose states are used; by surrogate, to run the chain.
        kept: samples drawn from these.
    """

    annealing: AnnealingConfig = field(default_factory=AnnealingConfig)
    surrogate: bool = True
    blocks: tuple[int, ...] = (0,)
    evaluated_sweeps: int = 6
    kept: int = 1024


def direct(chains: int = 256, sweeps: int = 8, final_sweeps: int = 24) -> GoldConfig:
    """The direct sampler for diff-k's 16 steps: 1.1 M evaluations per problem."""
    annealing = AnnealingConfig(chains, sweeps, final_sweeps)
    return GoldConfig(annealing, False, (0, 5, 8, 10, 12, 14), final_sweeps, min(1024, chains * final_sweeps))


@dataclass(frozen=True)
class Gold:
    """The posterior of one problem at one inverse temperature.

    Attributes:
        inv_temperature: lambda.
        samples: [n, ...] of equal weight, in the units of the data.
        rewards: [n].
        mean_reward: E[r], from more states than the samples.
        log_z: log E_p exp(lambda r).
        nfe: function evaluations behind it, those of lower inverse temperatures included.
        diagnostics: ``tempering_steps``; ``roots``: number of first draws that the states descend from;
            ``correction``: effective share of the surrogate's states after weighting; ``step_size`` of block 0.
    """

    inv_temperature: float
    samples: Float[np.ndarray, "n W"]
    rewards: Float[np.ndarray, " n"]
    mean_reward: float
    log_z: float
    nfe: int
    diagnostics: Mapping[str, float] = field(default_factory=dict)


def gold_samples(
    process: DiffusionProcess,
    problem: Problem,
    reward: Reward,
    inv_temperatures: Sequence[float],
    config: GoldConfig | None = None,
    seed: int = 0,
) -> list[Gold]:
    """The posteriors at ascending ``inv_temperatures``, all from one run.

    Raises:
        ValueError: unless the inverse temperatures are positive and ascending; for a surrogate of a denoiser that has
            none; and what binding the problem raises.
    """
    if len(inv_temperatures) == 0 or not np.all(np.diff([0.0, *inv_temperatures]) > 0):
        raise ValueError(f"inverse temperatures must be positive and ascending, got {inv_temperatures}")
    config = config or GoldConfig()
    chain, scorer = process.bind([problem]), reward.bind([problem])
    target = NoiseChain(chain, scorer, 0, config.blocks)
    surrogate = GaussianChain(chain, scorer, 0) if config.surrogate else None
    annealing = Annealing(surrogate or target, config.annealing, seed)
    golds = []
    for lam in inv_temperatures:
        annealing.anneal_to(lam)
        golds.append(_gold(annealing, target, surrogate, config))
    return golds


def pooled(replicates: Sequence[Gold]) -> Gold:
    """Independent runs as one: their samples side by side, their estimates of Z and of E[r] averaged."""
    return Gold(
        inv_temperature=replicates[0].inv_temperature,
        samples=np.concatenate([gold.samples for gold in replicates]),
        rewards=np.concatenate([gold.rewards for gold in replicates]),
        mean_reward=float(np.mean([gold.mean_reward for gold in replicates])),
        log_z=float(log_mean_exp(np.array([gold.log_z for gold in replicates]))),
        nfe=sum(gold.nfe for gold in replicates),
    )


def _gold(annealing: Annealing, target: NoiseChain, surrogate: GaussianChain | None, config: GoldConfig) -> Gold:
    """What the population says at its inverse temperature; by surrogate after weighting it by what it left out."""
    states = annealing.evenly_spaced(config.evaluated_sweeps)
    log_weights = np.zeros(len(states.rewards))
    if surrogate is not None:
        noise = surrogate.lifted(states.noise, annealing.normals(len(log_weights), target.num_noises))
        runs = target.population(noise)
        annealing.nfe += len(noise) * target.num_steps
        log_weights = annealing.lam * (runs.rewards - states.rewards).numpy()
        states = runs._replace(roots=states.roots)
    weights = normalised(log_weights)
    kept = annealing.resampled(weights, config.kept)
    rewards = states.rewards.numpy()
    return Gold(
        inv_temperature=annealing.lam,
        samples=states.samples.numpy()[kept],
        rewards=rewards[kept],
        mean_reward=float(weights @ rewards),
        log_z=annealing.log_z + float(log_mean_exp(log_weights)),
        nfe=annealing.nfe,
        diagnostics={
            "tempering_steps": float(annealing.num_tempered),
            "roots": float(len(states.roots.unique())),
            "correction": effective_sample_size(weights) / len(weights),
            "step_size": float(annealing.step_sizes[0]),
        },
    )
