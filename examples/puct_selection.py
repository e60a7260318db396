"""A selection rule of your own: PUCT beside the two that are built in, on a chain whose log Z is known.

What is learned: a rule is a function of the children of a node and one random number that returns the index of a
child: ``dts(selection=puct)`` in Python, ``--selection examples.puct_selection:puct`` on the command line. All three
rules read the values found so far, which makes log Z low. They differ in what they find, and in speed.

    python examples/puct_selection.py        # no data needed; exact: a chain of 3 tokens and 6 steps
"""

import time

import numpy as np

from sadt_ray import Children, FunctionReward, Problem, dts, search
from sadt_ray.processes.markov_chain import MarkovChainProcess

LAM, ROLLOUTS, RUNS = 1.0, 400, 32


def puct(children: Children, uniform: float) -> int:
    """The child of the highest v + c P sqrt(N) / (1 + N_c): P is the flow's share, or 1 / n where there is no flow.

    N and N_c count simulations in flight too, so that those asked at once spread.
    """
    share = np.exp(children.log_flow - children.log_flow.max())
    share /= share.sum()
    counts = children.visits + children.in_flight
    bonus = share * np.sqrt(counts.sum()) / (1 + counts)
    return int(np.argmax(children.value + children.c_uct * bonus))


def token_rewards(samples, problem):
    """One fixed normal number per sequence."""
    table = np.random.default_rng(0).standard_normal(3**6)
    return table[samples @ 3 ** np.arange(6)]


def main():
    process = MarkovChainProcess.random(num_tokens=3, depth=6, seed=1)
    problems = [Problem(f"run {i}", np.zeros(0)) for i in range(RUNS)]  # the same one, with other random numbers
    exact = LAM * process.soft_values(lambda tokens: token_rewards(np.array([tokens]), None)[0], LAM)[()]
    print(f"exact      log Z {exact:6.3f}")
    for rule in ("boltzmann", "uct", puct):
        method = dts(inv_temperature=LAM, n_rollouts=ROLLOUTS, selection=rule, widen_alpha=0.6)
        started = time.perf_counter()
        samples = search(process, problems, FunctionReward(token_rewards), method, batch_size=RUNS).samples()
        rate = RUNS * ROLLOUTS / (time.perf_counter() - started)
        log_z = np.mean([found.log_z for found in samples])
        best = np.mean([found.rewards.max() for found in samples])
        name = rule if isinstance(rule, str) else rule.__name__
        print(f"{name:<10} log Z {log_z:6.3f}   best reward {best:.3f}   {rate:6.0f} simulations/s")


if __name__ == "__main__":
    main()
