"""The enumerable chain: what it samples, what it sums, and what it refuses."""

import numpy as np
import pytest
from scipy import stats

from sadt_ray.interfaces import Enumerable, GenerativeProcess, Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.markov_chain import MarkovChainProcess

PROCESS = MarkovChainProcess.random(3, 4, seed=3)
PROBLEMS = [Problem("a", np.zeros(0)), Problem("b", np.zeros(0))]


def reward(sequence):
    return float(np.sin(3.0 * sum((i + 1) * token for i, token in enumerate(sequence))))


def advance_to(process, level, n, seed=0, levels=None):
    """n independent states at a level."""
    chain, zeros = process.bind(PROBLEMS), np.zeros(n, np.int64)
    states, seeds = np.repeat(chain.root_states()[:1], n, axis=0), derive_seeds(seed, 0, np.arange(n))
    for at in range(level):
        states = chain.advance(states, zeros + at, zeros, seeds).states
    return states


def p_value(states, process):
    """Chi-square of complete sequences against their exact probabilities, those expected below five together."""
    numbers = states @ 3 ** np.arange(3, -1, -1)
    expected = len(states) * np.array([process.probability(s) for s in process.sequences()])
    counts, common = np.bincount(numbers, minlength=81), expected >= 5
    pooled = [np.append(column[common], column[~common].sum()) for column in (counts, expected)]
    return stats.chisquare(*pooled).pvalue


@pytest.mark.parametrize("branch_steps", ["published", "none", "late", (1, 4), (2, 3, 4)])
def test_sequences_have_their_exact_probabilities_wherever_the_chain_branches(branch_steps):
    process = PROCESS.with_branch_steps(branch_steps)
    assert p_value(advance_to(process, process.num_levels, 20_000), process) > 1e-3


def test_the_frequencies_would_show_another_chain():
    assert p_value(advance_to(PROCESS, 4, 20_000), MarkovChainProcess.random(3, 4, seed=4)) < 1e-6


def test_probabilities_of_all_sequences_sum_to_one_and_a_prefix_has_the_mass_of_what_begins_with_it():
    assert abs(sum(PROCESS.probability(s) for s in PROCESS.sequences()) - 1) < 1e-12
    for prefix in [(), (2,), (0, 1), (2, 2, 0)]:
        mass = sum(PROCESS.probability(s) for s in PROCESS.sequences() if s[: len(prefix)] == prefix)
        assert abs(PROCESS.probability(prefix) - mass) < 1e-12


@pytest.mark.parametrize("lam", [0.3, 1.0, 20.0])
def test_soft_values_are_conditional_expectations_of_exp_lambda_r(lam):
    values = PROCESS.soft_values(reward, lam)
    assert len(values) == 1 + 3 + 9 + 27 + 81
    for prefix in [(), (1,), (0, 2), (2, 1, 1), (0, 0, 0, 0)]:
        below = [s for s in PROCESS.sequences() if s[: len(prefix)] == prefix]
        expectation = sum(PROCESS.probability(s) * np.exp(lam * reward(s)) for s in below) / PROCESS.probability(prefix)
        assert abs(values[prefix] - np.log(expectation) / lam) < 1e-12


def test_the_optimal_kernel_built_from_soft_values_samples_the_target():
    """p(x_{t-1} | x_t) exp(lambda (V_{t-1} - V_t)) is a probability, and their product is p exp(lambda r) / Z."""
    lam = 2.0
    values = PROCESS.soft_values(reward, lam)
    for sequence in PROCESS.sequences()[::7]:
        product = 1.0
        for d in range(4):
            prefix = sequence[:d]
            kernel = [
                PROCESS.probability((*prefix, token)) / PROCESS.probability(prefix)
                * np.exp(lam * (values[(*prefix, token)] - values[prefix]))
                for token in range(3)
            ]  # fmt: skip
            assert abs(sum(kernel) - 1) < 1e-12
            product *= kernel[sequence[d]]
        exact = PROCESS.probability(sequence) * np.exp(lam * (reward(sequence) - values[()]))
        np.testing.assert_allclose(product, exact, rtol=1e-12)


@pytest.mark.parametrize("branch_steps", ["published", (2, 4), "none"])
def test_children_are_all_next_states_with_their_probabilities(branch_steps):
    process = PROCESS.with_branch_steps(branch_steps)
    chain = process.bind(PROBLEMS)
    assert isinstance(chain, Enumerable)
    states, log_probs = chain.children(chain.root_states()[0], 0, 0)
    assert len(np.unique(states, axis=0)) == len(states) == 3 ** process.branch_steps[0]
    assert abs(np.exp(log_probs).sum() - 1) < 1e-12
    for state, log_prob in zip(states, log_probs, strict=True):
        prefix = tuple(state[: process.branch_steps[0]])
        assert abs(np.exp(log_prob) - process.probability(prefix)) < 1e-12
        assert (state[len(prefix) :] == -1).all()


def test_a_state_in_the_middle_is_continued_and_costs_one_evaluation_a_token():
    process = PROCESS.with_branch_steps((1, 3, 4))
    chain = process.bind(PROBLEMS)
    states = np.array([[-1, -1, -1, -1], [2, -1, -1, -1], [1, 0, 2, -1]])
    step = chain.advance(states, np.array([0, 1, 2]), np.array([0, 1, 0]), derive_seeds(0, 0, np.arange(3)))
    np.testing.assert_array_equal(step.levels, [1, 2, 3])
    np.testing.assert_array_equal(step.nfe, [1, 2, 1])
    np.testing.assert_array_equal((step.states >= 0).sum(1), [1, 3, 4])
    np.testing.assert_array_equal(step.states[2, :3], [1, 0, 2])
    assert states[0, 0] == -1  # the caller's states are left alone


def test_features_are_one_hot_and_padding_is_nothing():
    features = PROCESS.bind(PROBLEMS).features(np.array([[1, 0, -1, -1]]), np.array([2]), np.array([0]))
    np.testing.assert_array_equal(features, [[0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]])


def test_it_is_a_process():
    assert isinstance(PROCESS, GenerativeProcess)
    assert (PROCESS.num_levels, PROCESS.state_shape, PROCESS.state_dtype) == (4, (4,), np.int32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MarkovChainProcess([np.array([[0.5, 0.6]])]), "table 0"),
        (lambda: MarkovChainProcess([np.array([[1.5, -0.5]])]), "table 0"),
        (lambda: MarkovChainProcess([np.array([[0.5, 0.5]])] * 2), "table 1"),
        (lambda: PROCESS.with_branch_steps((1, 2)), "end with 4"),
        (lambda: PROCESS.with_branch_steps((0, 4)), "branch step 0 is the root itself"),
        (lambda: PROCESS.with_branch_steps("early"), "'early'; choose one of none, published, late"),
    ],
)
def test_what_makes_no_chain_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
