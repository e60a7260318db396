"""From tickets to results: chains run down from wherever they stand, costs add up, failures stay alone."""

import numpy as np
import pytest

from sadt_ray.interfaces import Problem, Tickets
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.gaussian_mixture import GaussianMixtureProcess, grid_prior
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rollout.rollout import rollout

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
WORLDS = {
    "markov chain": lambda: MarkovChainProcess.random(3, 5, seed=0),
    "mixture": lambda: GaussianMixtureProcess(grid_prior()),
}
each_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


def first_coordinate(samples, problem):
    return samples[:, 0].astype(float)


def tickets_at(process, levels, seed=0):
    """Tickets at the given levels: states reached by the process itself, every ticket with a seed of its own."""
    levels = np.asarray(levels, np.int64)
    n = len(levels)
    problem = np.arange(n) % 3
    chain = process.bind(PROBLEMS)
    states = chain.root_states()[problem]
    for level in range(process.num_levels):
        rows = np.flatnonzero(levels > level)
        if len(rows):
            at = np.full(len(rows), level)
            states[rows] = chain.advance(states[rows], at, problem[rows], derive_seeds(seed, 1, rows)).states
    return Tickets(
        np.arange(n) + 100, problem, np.zeros(n, np.int64), levels, states, derive_seeds(seed, 2, np.arange(n))
    )


def run(process, tickets, scorer=first_coordinate):
    return rollout(process.bind(PROBLEMS), scorer, process.num_levels, tickets)


@each_world
def test_rows_reach_x_0_from_mixed_levels_with_every_state_on_the_way(world):
    process = world()
    levels = np.array([0, 4, 2, 0, 3, 1, 4, 2])
    tickets = tickets_at(process, levels)
    results = run(process, tickets)
    np.testing.assert_array_equal(results.id, tickets.id)
    np.testing.assert_array_equal(np.diff(results.path_splits), process.num_levels - levels)
    for row, level in enumerate(levels):
        path = slice(*results.path_splits[row : row + 2])
        np.testing.assert_array_equal(results.path_level[path], np.arange(level + 1, process.num_levels + 1))
        np.testing.assert_array_equal(results.path_state[path][-1], results.samples[row])
    np.testing.assert_array_equal(results.rewards, results.samples[:, 0])
    np.testing.assert_array_equal(results.value, results.rewards)


def test_a_path_continues_the_tickets_own_state():
    process = WORLDS["markov chain"]()
    tickets = tickets_at(process, [0, 3, 1, 4])
    results = run(process, tickets)
    for row, level in enumerate(tickets.level):
        for state, at in zip(
            results.path_state[slice(*results.path_splits[row : row + 2])], range(level + 1, 6), strict=True
        ):
            np.testing.assert_array_equal(state[:level], tickets.state[row, :level])
            assert (state[:at] >= 0).all()
            assert (state[at:] == -1).all()


@each_world
def test_a_result_does_not_depend_on_the_rest_of_its_batch(world):
    process = world()
    tickets = tickets_at(process, np.arange(40) % process.num_levels)
    together = run(process, tickets)
    for row in (0, 7, 18, 39):
        alone = run(process, tickets.take([row]))
        np.testing.assert_array_equal(alone.samples[0], together.samples[row])
        np.testing.assert_array_equal(
            alone.path_state, together.path_state[slice(*together.path_splits[row : row + 2])]
        )
        assert alone.nfe[0] == together.nfe[row]
    backwards = run(process, tickets.take(slice(None, None, -1)))
    np.testing.assert_array_equal(backwards.samples[::-1], together.samples)


@each_world
def test_another_seed_gives_another_sample(world):
    process = world()
    one, other = (run(process, tickets_at(process, np.zeros(30), seed)) for seed in (0, 1))
    assert (one.samples != other.samples).any(axis=1).mean() > 0.5


def test_evaluations_are_those_of_the_levels_that_were_run():
    process = GaussianMixtureProcess(grid_prior(), num_steps=100, branch_steps=(0, 10, 40, 100))
    results = run(process, tickets_at(process, [0, 1, 2, 3]))
    np.testing.assert_array_equal(results.nfe, [100, 100, 90, 60])
    np.testing.assert_array_equal(results.reward_calls, [1, 1, 1, 1])
    assert results.seconds > 0


def test_a_chain_may_end_before_its_last_level():
    process = MarkovChainProcess.random(3, 5, seed=0)
    chain = process.bind(PROBLEMS)
    advance = chain.advance

    def ends_at_two_or_goes_on(states, levels, problem, seeds):
        step = advance(states, levels, problem, seeds)
        assert (levels < 5).all()
        return step._replace(levels=np.where((step.levels == 2) & (problem == 1), 5, step.levels))

    chain.advance = ends_at_two_or_goes_on
    results = rollout(chain, first_coordinate, 5, tickets_at(process, [0, 0, 1]))
    np.testing.assert_array_equal(results.path_level, [1, 2, 3, 4, 5, 1, 5, 2, 3, 4, 5])
    np.testing.assert_array_equal(results.nfe, [5, 2, 4])
    assert (results.samples[1][2:] == -1).all()


def fails_on(rows, how):
    """A scorer that cannot score samples with these numbers; it sees them through ``problem`` and the sample."""

    def scorer(samples, problem):
        bad = np.isin(samples.sum(1), rows)
        if how == "raises" and bad.any():
            raise RuntimeError("no such series")
        rewards = np.zeros(len(samples))
        rewards[bad] = {"nan": np.nan, "+inf": np.inf, "raises": 0.0}[how]
        return rewards

    return scorer


@pytest.mark.parametrize("how", ["nan", "+inf", "raises"])
def test_a_failure_costs_its_own_row_and_no_other(how):
    process = MarkovChainProcess.random(3, 5, seed=0)
    tickets = tickets_at(process, np.arange(20) % 4)
    all_good = run(process, tickets)
    totals = all_good.samples.sum(1)
    bad = totals == totals[3]
    results = run(process, tickets, fails_on([totals[3]], how))
    np.testing.assert_array_equal(results.id, tickets.id[~bad])
    assert [failure.ticket for failure in results.failures] == list(tickets.id[bad])
    assert [failure.problem for failure in results.failures] == list(tickets.problem[bad])
    assert all(({"raises": "no such series", "nan": "nan", "+inf": "inf"}[how]) in f.message for f in results.failures)
    np.testing.assert_array_equal(results.samples, all_good.samples[~bad])
    np.testing.assert_array_equal(np.diff(results.path_splits), 5 - tickets.level[~bad])
    kept = np.repeat(~bad, 5 - tickets.level)
    np.testing.assert_array_equal(results.path_state, all_good.path_state[kept])
    np.testing.assert_array_equal(results.path_level, all_good.path_level[kept])


def test_a_batch_in_which_everything_failed_has_no_rows_and_all_the_reasons():
    process = MarkovChainProcess.random(3, 5, seed=0)
    results = run(process, tickets_at(process, [0, 1, 2]), lambda samples, problem: np.full(len(samples), np.nan))
    assert len(results) == 0
    assert len(results.failures) == 3
    np.testing.assert_array_equal(results.path_splits, [0])


def test_minus_infinity_is_a_reward_like_any_other():
    process = MarkovChainProcess.random(3, 5, seed=0)
    results = run(process, tickets_at(process, [0, 1]), lambda samples, problem: np.full(len(samples), -np.inf))
    assert len(results) == 2
    assert not results.failures
