"""A prior of your own through the ``GenerativeProcess`` interface: an autoregression, with its exact answer beside it.

What is learned: a state is one row of numbers, a level is one step of the chain, and noise comes from the row's seed.
Trees and importance sampling work on whatever has these methods.
x_t = 0.9 x_(t-1) + noise, r(x) = x_8: the target is Gaussian, with log Z = lambda^2 Var / 2 and mean lambda Var.
"""

import numpy as np

from sadt_ray import FunctionReward, Problem, dts, sample, snis
from sadt_ray.interfaces import Step
from sadt_ray.numerics.rng import normals
from sadt_ray.processes.branching import checked_branch_steps

STEPS, PHI, LAM = 8, 0.9, 1.0
PRESETS = {"none": (STEPS,), "start": (1, STEPS), "late": (6, 7, STEPS), "published": (2, 4, 6, STEPS)}


class Autoregression:
    """Process and chain in one, since nothing depends on the problem. State: x_1 ... x_8, zero where not yet drawn."""

    num_levels, state_shape, state_dtype = property(lambda self: len(self.branch_steps)), (STEPS,), np.dtype(float)

    def __init__(self, branch_steps=PRESETS["published"]):
        self.branch_steps = checked_branch_steps(branch_steps, STEPS)

    def with_branch_steps(self, branch_steps):
        return Autoregression(PRESETS[branch_steps] if isinstance(branch_steps, str) else branch_steps)

    def bind(self, problems):
        self.num_problems = len(problems)
        return self

    def root_states(self):
        return np.zeros((self.num_problems, STEPS))

    def advance(self, states, levels, problem, seeds):
        states, steps = states.copy(), np.array((0, *self.branch_steps))
        noise = normals(seeds, np.zeros(len(seeds), np.int64), STEPS)  # the same for a row in any batch
        for t in range(STEPS):
            rows = (steps[levels] <= t) & (t < steps[levels + 1])
            states[rows, t] = PHI * states[rows, t - 1] * (t > 0) + noise[rows, t]
        return Step(states, levels + 1, steps[levels + 1] - steps[levels])

    def decode(self, states, problem):
        return states

    features = decode  # what a flow would know of a state; nobody asks here


if __name__ == "__main__":
    variance = sum(PHI ** (2 * k) for k in range(STEPS))
    print(f"exact                    log Z {LAM**2 * variance / 2:.3f}  mean {LAM * variance:.3f}")
    problems, reward = [Problem("ar", np.zeros(0))], FunctionReward(lambda samples, problem: samples[:, -1])
    budget = {"inv_temperature": LAM, "n_rollouts": 5_000}
    by_counts = dts(**budget, selection_inv_temperature=0.0)  # unbiased; by values, as published, they come out low
    names = "importance sampling", "DTS, selects by counts", "DTS, selects by values"
    for name, method in zip(names, (snis(**budget), by_counts, dts(**budget)), strict=True):
        (found,) = sample(Autoregression(), problems, reward, method)
        print(f"{name:<24} log Z {found.log_z:.3f}  mean {found.weights @ found.samples[:, -1]:.3f}")
