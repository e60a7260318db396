"""A forecast under a reward of your own: a plain function of samples, here a total that you already know.

What is learned: any function of (samples [n, horizon], problem) is a reward; the search brings weighted samples of
p(x) exp(lambda r(x)) / Z, and says how hard that was (log Z) and how far to trust it (effective sample sizes).

    python examples/reward_of_your_own.py        # no data needed: a synthetic hourly series
"""

import numpy as np

from sadt_ray import FunctionReward, dts_late, load_pretrained, prior, sample, snis
from sadt_ray.data.synthetic import synthetic_hourly

KNOWN_TOTAL = 20.0  # of the 96 hours, in standardised units: from a plan, a meter, a contract


def total_as_planned(samples, problem):
    """0 where a sample adds up to what is known, -1 where it is 10 off."""
    return -(((samples.sum(axis=1) - KNOWN_TOTAL) / 10) ** 2)


def main():
    data = synthetic_hourly()
    process = load_pretrained("diff-k", "ETTh1").with_sampler(num_steps=8)  # frozen; a few steps are enough here
    problems = [data.problem("test", window_index=3, channel="channel_0")]
    reward = FunctionReward(total_as_planned)
    for method in (prior, snis, dts_late):
        (found,) = sample(process, problems, reward, method(inv_temperature=20.0, n_rollouts=500))
        totals = found.samples.sum(axis=1)
        mean = found.weights @ totals
        spread = np.sqrt(found.weights @ (totals - mean) ** 2)
        trust = f"log Z {found.log_z:6.2f}   ESS {found.ess:5.1f}"
        print(f"{method.__name__:<8}  total {mean:6.2f} +- {spread:5.2f}   {trust}")
    print(f"{'known':<8}  total {KNOWN_TOTAL:6.2f}")


if __name__ == "__main__":
    main()
