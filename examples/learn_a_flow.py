"""S-ADT from nothing: record particles, train F_phi on them, search again guided by it. The truth is known.

What is learned: a flow is trained until the soft Bellman equation balances, on states that searches left behind; how
far it is from that on contexts it has not seen, in nats, is printed. The prior is a mixture of 25 Gaussians, the target
one of 9, and TV the total variation between the weights of modes that are found and the right ones. A
training this short brings sweeps to about what importance sampling does; one on 1.6 million evaluations, which
``python -m jobs.bench exact`` measures, brings them beyond it. This takes a minute or two.
"""

import numpy as np

from benchmarks.posterior.mixture_flow import FlooredReward, guided, mixture_process
from sadt_ray import Problem, sample, snis
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.methods import sweep
from sadt_ray.processes.gaussian_mixture import DensityRatioReward, grid_prior, nine_mode_posterior
from sadt_ray.training.fit import learn_flow

REWARD = DensityRatioReward(grid_prior(), nine_mode_posterior())
MAX_NFE = 10_000  # of each search: 100 particles of 100 steps


def problems(name, count):
    return [Problem(f"{name} {number}", np.zeros(0)) for number in range(count)]


def distance(found):
    """Mean total variation over the modes of the nine."""
    right = nine_mode_posterior()
    modes = [np.bincount(right.nearest_mode(each.samples), each.weights, len(right.weights)) for each in found]
    return np.mean([abs(held - right.weights).sum() / 2 for held in modes])


def main():
    recorded = sweep(
        n_rollouts=1_000,
        particles=1_000,
        split_factor=1,
        guidance="never",
        num_candidates=1,
        resampling="siblings-4",
        inv_temperature=1.0,
    )
    config = TrainingConfig(
        steps=600, batch=256, hidden=96, average=0.99, loss="subtb-0.9+db", siblings=4, regression="squared",
        min_inv_temperature=1.0, max_inv_temperature=1.0, validation_share=0.25, validate_every=100,
    )  # fmt: skip
    learned = learn_flow(mixture_process(), problems("training", 4), FlooredReward(REWARD, -6.0), [recorded], config)
    print(f"cost of F         {learned.nfe:,.0f} evaluations, {learned.seconds:.0f} s")
    print(f"held-out residual {learned.base_residual:.2f} nats before, {learned.residual:.2f} after")
    asked = problems("test", 16)
    plain = sample(mixture_process(), asked, REWARD, snis(inv_temperature=1.0, n_rollouts=MAX_NFE // 100))
    swept = sample(mixture_process(), asked, REWARD, guided(MAX_NFE), flow=learned.flow)
    print(f"SNIS              TV {distance(plain):.3f}")
    print(f"sweeps under F    TV {distance(swept):.3f}")


if __name__ == "__main__":
    main()
