"""The library in two functions, on a process whose target is known exactly."""

import numpy as np
import pytest

from sadt_ray import Problem, best_of_n, dts, dts_late, dts_star, method_named, prior, sample, search, snis
from sadt_ray.processes.markov_chain import MarkovChainProcess

PROCESS = MarkovChainProcess.random(num_tokens=3, depth=4, seed=1)
PROBLEMS = [Problem("left", np.zeros(1)), Problem("right", np.zeros(1))]


class CountTwos:
    oracle = False

    def bind(self, problems):
        return lambda samples, problem: (samples == 2).sum(1).astype(float)


def exact_mean_reward(lam):
    sequences = PROCESS.sequences()
    twos = np.array([sequence.count(2) for sequence in sequences])
    weights = np.array([PROCESS.probability(sequence) for sequence in sequences]) * np.exp(lam * twos)
    return weights @ twos / weights.sum(), np.log(weights.sum())


@pytest.mark.parametrize("method", [snis, dts, dts_late])
def test_samples_follow_the_tilted_law(method):
    """Trees select by counts alone here: selection by their own values is biased low at any budget in reach."""
    mean, log_z = exact_mean_reward(1.0)
    selection = {} if method is snis else {"selection_inv_temperature": 0.0}
    chosen = method(inv_temperature=1.0, n_rollouts=20_000, **selection)
    for drawn in sample(PROCESS, PROBLEMS, CountTwos(), chosen):
        assert drawn.mean_reward() == pytest.approx(mean, abs=0.05)
        assert drawn.log_z == pytest.approx(log_z, abs=0.05)
        rows = drawn.draw(4_000, np.random.default_rng(0))
        assert (rows == 2).sum(1).mean() == pytest.approx(mean, abs=0.12)


def test_the_prior_ignores_the_reward_and_best_of_n_takes_the_best():
    mean, _ = exact_mean_reward(0.0)
    settings = {"inv_temperature": 5.0, "n_rollouts": 5_000}
    assert sample(PROCESS, PROBLEMS, CountTwos(), prior(**settings))[0].mean_reward() == pytest.approx(mean, abs=0.05)
    best = sample(PROCESS, PROBLEMS, CountTwos(), best_of_n(**settings))[0]
    assert best.mean_reward() == best.rewards.max() == 4


def test_dts_star_finds_the_best_sequence():
    assert sample(PROCESS, PROBLEMS, CountTwos(), dts_star(n_rollouts=500))[1].mean_reward() == 4


def test_methods_that_differ_in_the_draw_alone_share_a_search():
    grown = search(PROCESS, PROBLEMS, CountTwos(), snis(inv_temperature=2.0, n_rollouts=300))
    other = best_of_n(inv_temperature=2.0, n_rollouts=300)
    assert snis(inv_temperature=2.0, n_rollouts=300).same_search(other)
    assert not dts(inv_temperature=2.0, n_rollouts=300).same_search(other)
    assert grown.samples(other.search)[0].mean_reward() == grown.samples()[0].rewards.max()


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="no method 'mcts'"):
        method_named("mcts")
    with pytest.raises(ValueError, match="empty"):
        sample(PROCESS, [], CountTwos(), dts())
    with pytest.raises(ValueError, match="'left' occurs more than once"):
        sample(PROCESS, [PROBLEMS[0], PROBLEMS[0]], CountTwos(), dts())
    with pytest.raises(ValueError, match="inv_temperature must be a positive number, got -1"):
        dts(inv_temperature=-1)
