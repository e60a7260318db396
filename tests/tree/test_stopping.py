"""Rules that end a problem before its budget: met when the search ends, and read rarely."""

import numpy as np
import pytest

from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.tree.search import Search
from sadt_ray.tree.state import SearchState

from .forests import bare_search, made_up, markov, new_search, problems

FLAT = {"n_rollouts": 5_000, "widen_c": np.inf}


def run(count=6, batch_size=32, slots=1, **settings):
    process, reward = markov(num_tokens=3, depth=4, seed=2)
    search = new_search(SearchConfig(**{**FLAT, **settings}), process, count)
    run_search(search, SerialExecutor(process, reward, problems(count), batch_size, slots))
    return search


@pytest.mark.parametrize("tree", [{}, {"widen_c": 2.0}, {"widen_c": 2.0, "selection": "uct"}], ids=str)
@pytest.mark.parametrize("slots", [1, 5])
def test_every_problem_ends_with_its_rule_met_before_its_budget(tree, slots):
    """Also where what was still in flight when it was met had undone it."""
    precise = run(until_se=0.15, slots=slots, **tree)
    assert all(found.log_z_se <= 0.15 for found in precise.samples())
    many = run(until_ess=50.0, slots=slots, **tree)
    assert all(found.ess >= 50 for found in many.samples())
    for search in (precise, many):
        assert (search.told < 1_000).all()
        assert not search.wanting().any()
        assert len(search.open_tickets()) == 0
        np.testing.assert_array_equal(search.tree.column("in_flight"), 0)


def test_a_rule_is_met_within_a_tenth_more_simulations_than_it_takes():
    search = run(count=1, batch_size=1, until_ess=100.0)
    told = int(search.told[0])
    sooner = run(count=1, batch_size=1, n_rollouts=int(told / 1.1) - 1)
    assert sooner.samples()[0].ess < 100 <= search.samples()[0].ess < 112


def test_either_rule_ends_a_problem():
    assert (run(until_se=1e-3, until_ess=30.0).told < 200).all()
    assert (run(until_se=0.2, until_ess=1e6).told < 500).all()


def test_budgets_stay_the_bound_for_rules_that_are_never_met():
    np.testing.assert_array_equal(run(until_se=1e-6, n_rollouts=100).told, 100)
    search = run(until_ess=1e6, n_rollouts=None, max_nfe=400)
    assert ((search.nfe >= 400) & (search.nfe < 404)).all()


def test_without_rules_and_with_rules_that_are_never_met_the_tree_is_the_same():
    plain, watched = run(n_rollouts=300, widen_c=2.0), run(n_rollouts=300, widen_c=2.0, until_se=1e-9)
    np.testing.assert_array_equal(plain.tree.column("parent"), watched.tree.column("parent"))
    np.testing.assert_array_equal(plain.states.values, watched.states.values)


@pytest.mark.parametrize("rule", [{"until_se": 0.5}, {"until_ess": 2.0}], ids=str)
def test_a_few_children_that_agree_are_not_believed(rule):
    search = bare_search(1, **FLAT, **rule)
    while len(tickets := search.ask(1)):
        search.tell(made_up(tickets, [1.0], 1))
    assert 8 <= search.told[0] <= 9


def test_a_problem_that_is_done_leaves_the_others_their_turns():
    search = bare_search(1, 3, until_se=0.1, **FLAT)
    rng = np.random.default_rng(0)
    while len(tickets := search.ask(12)):
        search.tell(made_up(tickets, rng.normal(0, np.array([0.01, 0.5, 1.0])[tickets.problem]), 1))
    np.testing.assert_array_equal(search.told > [7, 15, 50], True)
    assert search.told[0] < 16 < search.told[1] < search.told[2] < 5_000


def test_what_comes_in_late_may_undo_a_rule_and_the_search_goes_on():
    search = bare_search(1, until_se=0.2, **FLAT)
    late, soon = search.ask(1), search.ask(40)
    search.tell(made_up(soon, np.zeros(40), 1))
    assert search.stopping.done[0]
    assert len(search.ask(10)) == 0
    search.tell(made_up(late, [6.0], 1))
    assert len(search.ask(10)) == 10
    assert not search.stopping.done[0]


def test_rules_are_read_a_logarithmic_number_of_times():
    search = bare_search(1, 2, until_ess=1e9, n_rollouts=20_000, widen_c=np.inf)
    readings, read = [], search.stopping.read
    search.stopping.read = lambda tree, samples, told: (readings.append(told.sum()), read(tree, samples, told))
    while len(tickets := search.ask(64)):
        search.tell(made_up(tickets, np.zeros(len(tickets)), 1))
    assert 20 < len(readings) < np.log(40_000 / 640) / np.log(1.1) + 12


def test_a_problem_whose_every_value_is_minus_infinity_spends_its_budget():
    search = bare_search(1, until_se=0.5, n_rollouts=60, widen_c=np.inf)
    while len(tickets := search.ask(20)):
        search.tell(made_up(tickets, np.full(len(tickets), -np.inf), 1))
    assert search.told[0] == 60


def test_a_stop_on_the_error_costs_a_few_per_cent_of_z():
    """Optional stopping: -3 % at a standard error of .3, within the noise at .1; 600 problems."""
    process, reward = markov(num_tokens=3, depth=4, seed=2)
    z = np.exp(process.soft_values(reward, 1.0)[()])
    errors = np.exp([found.log_z for found in run(count=600, batch_size=600, until_se=0.3).samples()]) / z - 1
    assert -0.1 < errors.mean() < 3 * errors.std() / np.sqrt(600)


def test_a_state_from_before_there_were_rules_is_restored():
    search = bare_search(1, until_se=0.5, **FLAT)
    search.tell(made_up(search.ask(30), np.zeros(30), 1))
    state = search.state()
    old = {name: array for name, array in state.arrays.items() if not name.startswith("stopping.")}
    assert search.stopping.done[0]
    assert not Search.restored(SearchState(old, state.facts)).stopping.done[0]
    assert Search.restored(state).stopping.done[0]


@pytest.mark.parametrize(
    "bad", [{"until_se": 0.0}, {"until_se": np.nan}, {"until_ess": 0.5}, {"until_ess": -1}], ids=str
)
def test_a_rule_out_of_range_is_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be None or"):
        SearchConfig(**bad)
