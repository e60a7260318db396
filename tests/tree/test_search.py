"""Ask, tell, forget: nothing is lost, nothing is counted twice, and order does not matter."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Failure
from sadt_ray.tree.search import Search

from .forests import assert_same_tree, bare_search, columns, made_up, markov, part, searched

SELECTIONS = {
    "shared": {},
    "separate": {"selection_inv_temperature": 0.3},
    "uct": {"selection": "uct"},
    "virtual loss": {"virtual_loss": 2.0},
    "uct, virtual loss": {"selection": "uct", "virtual_loss": 2.0},
    "flow": {"alpha": 0.7, "alpha_visits": 5.0},
}
each_selection = pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)


def assert_consistent(search, waiting):
    """told + forgotten + in flight = asked, and every node's counts are those of the tickets under it."""
    tree, tickets = search.tree, waiting
    np.testing.assert_array_equal(np.sort(search.open_tickets()), sorted(int(t.id[0]) for t in tickets))
    in_flight, pending = np.zeros(len(tree), int), np.zeros(len(tree), int)
    for ticket in tickets:
        node = int(ticket.node[0])
        pending[node] += 1
        while node >= 0:
            in_flight[node] += 1
            node = tree.column("parent")[node]
    np.testing.assert_array_equal(tree.column("in_flight"), in_flight)
    np.testing.assert_array_equal(tree.column("pending"), pending)
    roots = in_flight[: tree.num_roots]
    np.testing.assert_array_equal(search.told + search.forgotten + roots, search.asked)
    np.testing.assert_array_equal(tree.column("visits")[: tree.num_roots], search.told)


@each_selection
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_is_asked_told_and_forgotten_in_any_order_adds_up(selection, data):
    count, levels = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    budget = data.draw(st.integers(1, 60))
    search = bare_search(levels, count, n_rollouts=budget, widen_c=data.draw(st.sampled_from([0.7, 2.0])), **selection)
    waiting, closed = [], []
    for _ in range(data.draw(st.integers(1, 40))):
        action = data.draw(st.sampled_from(["ask", "ask", "tell", "tell", "forget", "tell again"]))
        if action == "ask":
            tickets = search.ask(data.draw(st.integers(0, 9)))
            waiting += [tickets.take([row]) for row in range(len(tickets))]
        elif action == "tell again" and closed:
            ticket, before = data.draw(st.sampled_from(closed)), columns(search)
            search.tell(made_up(ticket, [9.0], levels))
            search.forget(ticket.id)
            for name, column in columns(search).items():
                np.testing.assert_array_equal(column, before[name])
        elif waiting:
            closed.append(waiting.pop(data.draw(st.integers(0, len(waiting) - 1))))
            if action == "forget":
                search.forget(closed[-1].id)
            else:
                search.tell(made_up(closed[-1], [data.draw(st.floats(-5, 5))], levels))
        assert_consistent(search, waiting)
    search.forget(np.array([int(ticket.id[0]) for ticket in waiting], np.int64))
    while len(tickets := search.ask(7)):
        search.tell(made_up(tickets, np.zeros(len(tickets)), levels))
    assert_consistent(search, [])
    assert (search.told == budget).all()
    assert len(search.states) == len(search.tree)


@each_selection
def test_statistics_do_not_depend_on_the_order_of_tells(selection):
    """Up to the numbering of nodes: visits, values and draw probabilities of every state are the same."""
    outcomes = []
    for order in range(4):
        rng = np.random.default_rng(order)
        search = bare_search(3, 2, n_rollouts=800, **selection)
        grow = search.ask(200)
        search.tell(made_up(grow, np.sin(grow.id.astype(float)), 3))
        tickets = search.ask(400)
        results = made_up(tickets, np.sin(tickets.id.astype(float)), 3)
        for rows in np.array_split(rng.permutation(400) if order else np.arange(400), 1 + order):
            search.tell(part(results, rows))
        outcomes.append(by_state(search))
    assert len(np.unique(tickets.node)) > 20
    for other in outcomes[1:]:
        assert outcomes[0].keys() == other.keys()
        for key, numbers in outcomes[0].items():
            np.testing.assert_allclose(numbers, other[key], rtol=1e-11)


def by_state(search):
    """Statistics of nodes by (problem, level, state), a name that does not depend on the order of arrival."""
    probability = np.exp(search.log_draw_probability())
    key = zip(search.problem_of_nodes(), search.tree.column("level"), search.states.values[:, 0], strict=True)
    numbers = zip(search.tree.column("visits"), search.tree.column("value"), probability, strict=True)
    return dict(zip(map(tuple, key), numbers, strict=True))


@each_selection
def test_a_tell_is_taken_once(selection):
    search = bare_search(3, n_rollouts=50, **selection)
    results = made_up(search.ask(20), np.arange(20.0), 3)
    search.tell(part(results, range(10)))
    search.tell(results)
    once = columns(search)
    assert search.ignored_tells == 10
    search.tell(results)
    assert search.ignored_tells == 30
    for name, column in columns(search).items():
        np.testing.assert_array_equal(column, once[name])
    assert search.told[0] == 20
    assert len(search.samples()[0].samples) == 20


def test_a_ticket_twice_in_one_batch_is_taken_once():
    search = bare_search(2, n_rollouts=10)
    results = made_up(search.ask(3), [1.0, 2.0, 3.0], 2)
    search.tell(part(results, [1, 1, 0]))
    assert search.ignored_tells == 1
    np.testing.assert_array_equal(search.samples()[0].rewards, [2.0, 1.0])
    assert search.tree.column("pending")[0] == 1


def test_a_result_that_comes_after_its_ticket_was_forgotten_changes_nothing():
    search = bare_search(2, n_rollouts=10)
    tickets = search.ask(4)
    search.forget(tickets.id[:2])
    search.tell(made_up(tickets, np.zeros(4), 2))
    assert (search.told[0], search.forgotten[0], search.ignored_tells) == (2, 2, 2)


@each_selection
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_exactly_the_budget_is_backed_up_whatever_was_forgotten(selection, batch):
    rng = np.random.default_rng(batch)
    search = bare_search(3, 2, n_rollouts=150, **selection)
    while len(tickets := search.ask(batch)):
        lost = rng.random(len(tickets)) < 0.3
        search.forget(tickets.id[lost])
        search.tell(made_up(kept := tickets.take(~lost), np.zeros(len(kept)), 3))
    assert (search.told == 150).all()
    assert search.forgotten.sum() > 30
    assert not search.wanting().any()
    assert_consistent(search, [])


def test_a_budget_of_evaluations_ends_a_problem_once_it_is_spent():
    search = bare_search(2, 3, n_rollouts=None, max_nfe=100)
    while len(tickets := search.ask(int(search.wanting().sum()))):
        search.tell(made_up(tickets, np.zeros(len(tickets)), 2, nfe=7))
    np.testing.assert_array_equal(search.nfe, 105)
    np.testing.assert_array_equal(search.reward_calls, 15)


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_a_budget_of_evaluations_is_overspent_by_less_than_one_rollout_whatever_the_batch(batch):
    """Evaluations are reserved for what is in flight; one ticket alone tells what a rollout costs."""
    search = bare_search(3, 2, n_rollouts=None, max_nfe=1_000)
    first = search.ask(batch)
    assert len(first) == min(batch, 2)
    search.tell(made_up(first, np.zeros(len(first)), 3, nfe=16))
    while len(tickets := search.ask(batch)):
        search.tell(made_up(tickets, np.zeros(len(tickets)), 3, nfe=16))
    assert (search.nfe >= 1_000).all()
    assert (search.nfe < 1_016).all()
    assert_consistent(search, [])


def test_a_tree_that_cannot_widen_any_more_does_not_wait_for_its_evaluations_for_ever():
    """Two children a node: after a few rollouts every simulation ends at an x_0 already there, at no cost."""
    search = bare_search(2, n_rollouts=None, max_nfe=500, widen_c=2.0, widen_alpha=0.0)
    while len(tickets := search.ask(4)):
        search.tell(made_up(tickets, np.zeros(len(tickets)), 2))
    assert search.nfe[0] < 20
    assert search.told[0] == 500


def test_samples_know_what_had_been_spent_when_they_arrived():
    search = bare_search(2, 2, n_rollouts=5)
    while len(tickets := search.ask(2)):
        search.tell(made_up(tickets, np.zeros(len(tickets)), 2, nfe=7))
    for samples in search.samples():
        np.testing.assert_array_equal(samples.nfe_at, [7, 14, 21, 28, 35])


def test_a_forgotten_simulation_is_asked_anew_with_another_seed():
    search = bare_search(2, n_rollouts=3)
    first = search.ask(3)
    assert len(search.ask(1)) == 0
    search.forget(first.id)
    again = search.ask(3)
    assert len(again) == 3
    assert not set(first.seed) & set(again.seed)
    assert not set(first.id) & set(again.id)


@each_selection
def test_a_problem_grows_the_same_tree_alone_and_among_others(selection):
    """One rollout of each at a time: names seed the problems, neighbours do not matter."""
    process, reward = markov()
    config = SearchConfig(n_rollouts=200, inv_temperature=2.0, **selection)
    alone = searched(config, process, reward)
    for count in (2, 5):
        forest = searched(config, process, reward, count, batch_size=1)
        own = forest.problem_of_nodes() == 0
        for name in ("level", "visits", "value", "num_children", "slot"):
            np.testing.assert_array_equal(forest.tree.column(name)[own], alone.tree.column(name), err_msg=name)
        np.testing.assert_array_equal(forest.states.values[own], alone.states.values)
        np.testing.assert_allclose(forest.samples()[0].weights, alone.samples()[0].weights, rtol=1e-12)


def test_the_same_seed_gives_the_same_tree_and_another_seed_another():
    process, reward = markov()
    config = SearchConfig(n_rollouts=300)
    one = searched(config, process, reward, 2, 16)
    assert_same_tree(one, searched(config, process, reward, 2, 16))
    other = searched(replace(config, seed=1), process, reward, 2, 16)
    assert not np.array_equal(one.samples()[0].samples, other.samples()[0].samples)


def test_problems_of_one_forest_have_random_numbers_of_their_own():
    process, reward = markov()
    forest = searched(SearchConfig(n_rollouts=50), process, reward, 2)
    one, other = forest.samples()
    assert not np.array_equal(one.samples, other.samples)


@each_selection
@pytest.mark.parametrize("levels", [1, 4])
def test_a_tree_that_outgrew_its_arrays_is_one_that_had_room_from_the_start(selection, levels):
    rng = np.random.default_rng(0)
    rewards = rng.standard_normal(5_000)
    trees = []
    for room in (0, 60_000):
        search = bare_search(levels, 2, n_rollouts=2_500, **selection)
        search.tree.reserve(room, 2 * room)
        while len(tickets := search.ask(100)):
            search.tell(made_up(tickets, rewards[tickets.id], levels))
        trees.append(search)
    assert_same_tree(*trees)
    assert len(trees[0].tree.columns.parent) < len(trees[1].tree.columns.parent)
    assert len(trees[0].tree) > 2_000


def broken(results, **changes):
    return replace(results, **{name: np.asarray(value) for name, value in changes.items()})


BAD_TELLS = {
    "a ticket never asked": lambda r: broken(r, id=[3, 99]),
    "a negative ticket": lambda r: broken(r, id=[3, -1]),
    "NaN": lambda r: broken(r, value=[0.0, np.nan]),
    "+inf": lambda r: broken(r, value=[np.inf, 0.0]),
    "a path that stops early": lambda r: broken(r, path_level=[1, 2, 1, 1]),
    "a flow that is NaN": lambda r: broken(r, path_log_flow=[0.0, np.nan, 0.0, 0.0]),
    "a flow of +inf": lambda r: broken(r, path_log_flow=[0.0, 0.0, 0.0, np.inf]),
    "an empty path": lambda r: broken(r, path_splits=[0, 4, 4]),
    "states of another shape": lambda r: broken(r, path_state=np.zeros((4, 3))),
    "a value too few": lambda r: broken(r, value=[0.5]),
    "a flow too many": lambda r: broken(r, path_log_flow=np.zeros(5)),
    "too few states": lambda r: broken(r, path_state=np.zeros((3, 1))),
    "samples of another shape": lambda r: broken(r, samples=np.zeros((2, 5))),
    "a failure of a ticket never asked": lambda r: replace(r, failures=(Failure(99, 0, "?"),)),
}


@pytest.mark.parametrize("spoil", BAD_TELLS.values(), ids=BAD_TELLS)
def test_a_batch_refused_at_the_door_leaves_the_search_as_it_was(spoil):
    search = bare_search(2, n_rollouts=20)
    search.tell(made_up(search.ask(3), [1.0, 2.0, 3.0], 2))
    results = made_up(search.ask(2), [0.5, 0.6], 2)
    before = columns(search)
    sums = search.tree.columns.weight.copy()
    with pytest.raises(ValueError, match=r"ticket|path|columns of lengths|shapes|log flow"):
        search.tell(spoil(results))
    for name, column in columns(search).items():
        np.testing.assert_array_equal(column, before[name], err_msg=name)
    np.testing.assert_array_equal(search.tree.columns.weight, sums)
    assert len(search.open_tickets()) == 2
    search.tell(results)
    assert search.told[0] == 5
    assert len(search.samples()[0].samples) == 5


def test_forgetting_a_ticket_never_asked_is_an_error():
    search = bare_search(2, n_rollouts=20)
    search.ask(2)
    with pytest.raises(ValueError, match="ticket 7 was never asked"):
        search.forget(np.array([0, 7]))
    assert len(search.open_tickets()) == 2


def test_failures_are_recorded_once_and_their_simulations_asked_anew():
    search = bare_search(2, n_rollouts=3)
    tickets = search.ask(3)
    failed = Failure(int(tickets.id[1]), 0, "the reward returned nan", nfe=7)
    results = replace(part(made_up(tickets, np.zeros(3), 2), [0, 2]), failures=(failed,))
    search.tell(results)
    search.tell(results)
    assert search.failures == [failed]
    assert search.nfe[0] == results.nfe.sum() + 7  # what failed was paid for
    assert search.reward_calls[0] == 3
    assert (search.told[0], search.forgotten[0]) == (2, 1)
    again = search.ask(3)
    assert len(again) == 1
    assert again.seed[0] not in tickets.seed


def test_a_search_without_samples_says_so():
    with pytest.raises(ValueError, match="'problem 0' has no sample yet"):
        bare_search(2, n_rollouts=3).samples()


@pytest.mark.parametrize(
    ("names", "roots", "levels", "message"),
    [
        (["a", "b", "a"], 3, 2, "'a' occurs more than once"),
        (["a", "b"], 3, 2, "2 problems but 3 root states"),
        (["a"], 1, 0, "num_levels=0"),
        ([], 0, 2, "at least one"),
    ],
)
def test_a_forest_that_does_not_fit_is_refused(names, roots, levels, message):
    with pytest.raises(ValueError, match=message):
        Search(SearchConfig(), names, np.zeros((roots, 1)), levels)


def test_an_x_0_arrived_at_again_costs_nothing_and_counts_as_a_simulation():
    """One level and two children at most: all further simulations end at x_0 without a ticket."""
    search = bare_search(1, n_rollouts=100, widen_c=2.0, widen_alpha=0.0)
    while len(tickets := search.ask(1)):
        search.tell(made_up(tickets, [0.0], 1))
    assert len(search.tree.children(0)) == 2
    assert search.told[0] == 100
    assert search.nfe[0] == 2
    assert search.tree.column("visits")[1:].sum() == 100


def test_problems_take_turns():
    search = bare_search(2, 3, n_rollouts=4)
    np.testing.assert_array_equal(search.ask(5).problem, [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(search.ask(5).problem, [2, 0, 1, 2, 0])
    np.testing.assert_array_equal(search.ask(5).problem, [1, 2])


def test_the_draw_of_another_configuration_can_be_asked_for():
    process, reward = markov()
    search = searched(SearchConfig(n_rollouts=100, widen_c=np.inf), process, reward)
    (greedy,) = search.samples(SearchConfig(draw="argmax"))
    (alike,) = search.samples(SearchConfig(draw="uniform"))
    assert greedy.weights.max() == 1.0 == greedy.ess
    np.testing.assert_allclose(alike.weights, 1 / len(alike.weights))
