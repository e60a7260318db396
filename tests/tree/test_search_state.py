"""A search restored from its state goes on bit for bit as the original does, whatever the moment."""

import json
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import Failure
from sadt_ray.tree.search import Search
from sadt_ray.tree.state import SearchState, check_same_search
from sadt_ray.tree.tree import SEPARATE, SHARED, Tree

from .forests import bare_search, made_up

SELECTIONS = {
    "shared": {},
    "separate": {"selection_inv_temperature": 0.3},
    "uct": {"selection": "uct"},
    "virtual loss": {"virtual_loss": 0.7},
    "virtual loss, uct": {"selection": "uct", "virtual_loss": 0.7},
    "flow": {"alpha": 0.5, "alpha_visits": 3.0},
    "flow, uct": {"alpha": 1.0, "selection": "uct"},
    "stopping rules": {"until_se": 0.3, "until_ess": 25.0},
}
each_selection = pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
copied = {
    "views": lambda state: state,
    "pickle": lambda state: pickle.loads(pickle.dumps(state)),
    "json": lambda state: SearchState(
        {name: array.copy() for name, array in state.arrays.items()}, json.loads(json.dumps(state.facts))
    ),
}
ACTIONS = st.tuples(
    st.sampled_from(["ask", "tell", "tell", "forget", "refresh", "set aside", "ask"]), st.integers(0, 99)
)


def act(search, waiting, action, number, levels, scale):
    """One step of a made-up run, the same for every search that is in the same state."""
    if action == "ask":
        tickets = search.ask(number % 12)
        waiting.extend(tickets.take([row]) for row in range(len(tickets)))
    elif action == "refresh":
        nodes = np.arange(number % 3, len(search.tree), 3)
        search.refresh_log_flow(nodes, scale * np.cos(nodes + number))
    elif waiting:
        ticket = waiting.pop(number % len(waiting))
        if action == "tell":
            search.tell(made_up(ticket, scale * np.sin([7.0 * ticket.id[0]]), levels, nfe=1 + number % 3))
        elif action == "forget":
            search.forget(ticket.id)
        else:
            search.set_aside([Failure(int(ticket.id[0]), int(ticket.problem[0]), "no reward", np.int64(2))])


def assert_same_state(one, other):
    a, b = one.state(), other.state()
    assert a.facts == b.facts
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        assert array.dtype == b.arrays[name].dtype, name
        np.testing.assert_array_equal(array, b.arrays[name], err_msg=name)


@each_selection
@given(data=st.data())
@settings(max_examples=30)
def test_a_restored_search_goes_on_as_the_original(selection, data):
    levels, count = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    scale = data.draw(st.sampled_from([1.0, 10_000.0]))  # of rewards; large ones move the centres of weights
    budget = data.draw(st.sampled_from([{"n_rollouts": 60}, {"n_rollouts": None, "max_nfe": 90}]))
    original = bare_search(levels, count, widen_c=data.draw(st.sampled_from([0.7, 2.0, np.inf])), **budget, **selection)
    waiting = []
    for action, number in data.draw(st.lists(ACTIONS, max_size=60)):
        act(original, waiting, action, number, levels, scale)
    travel = copied[data.draw(st.sampled_from(sorted(copied)))]
    restored, theirs = Search.restored(travel(original.state())), list(waiting)
    assert_same_state(original, restored)
    for action, number in data.draw(st.lists(ACTIONS, max_size=60)):
        act(original, waiting, action, number, levels, scale)
        act(restored, theirs, action, number, levels, scale)
        np.testing.assert_array_equal([t.seed[0] for t in waiting], [t.seed[0] for t in theirs])
    assert_same_state(original, restored)


@each_selection
def test_a_large_search_restored_in_the_middle_ends_with_the_same_tree_and_samples(selection):
    searches = [bare_search(3, 3, n_rollouts=3_000, inv_temperature=2.0, **selection)]
    while len(tickets := searches[0].ask(50)):
        for search in searches[1:]:
            np.testing.assert_array_equal(search.ask(50).seed, tickets.seed)
        for search in searches:
            search.tell(made_up(tickets, 10_000 * np.sin(tickets.id), 3))
        if len(searches) == 1 and searches[0].simulations > 4_000:
            searches.append(Search.restored(searches[0].state()))
    assert len(searches[1].ask(50)) == 0
    assert (searches[0].tree.column("centre") != 0).any()
    assert searches[0].simulations == searches[1].simulations == 9_000
    assert_same_state(*searches)
    for one, other in zip(searches[0].samples(), searches[1].samples(), strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.samples, other.samples)
        assert one.log_z == other.log_z


def grown(**settings):
    search = bare_search(2, 2, **{"n_rollouts": 200, **settings})
    tickets = search.ask(50)
    search.tell(made_up(tickets.take(slice(0, 40)), np.arange(40.0), 2))
    return search


def test_a_restored_search_shares_nothing_with_its_state():
    original = grown()
    state = original.state()
    restored = Search.restored(state)
    before = {name: array.copy() for name, array in state.arrays.items()}
    restored.forget(restored.open_tickets())
    tickets = restored.ask(30)
    restored.tell(made_up(tickets, np.ones(30), 2))
    for name, array in before.items():
        np.testing.assert_array_equal(original.state().arrays[name], array, err_msg=name)


def test_a_state_holds_the_nodes_in_use_and_copies_nothing():
    search = grown()
    arrays = search.state().arrays
    assert len(arrays["tree.parent"]) == len(arrays["states"]) == len(search.tree)
    assert len(arrays["tree.weight"]) == search.tree.columns.used[1]
    assert len(arrays["tree.key"]) == 0
    assert np.shares_memory(arrays["states"], search.states.values)
    assert np.shares_memory(arrays["tree.parent"], search.tree.columns.parent)
    assert np.shares_memory(arrays["samples.values"], search.sample_store._values.values)


PLAIN = {
    "config",
    "names",
    "num_levels",
    "_params",
    "_rules",
    "ignored_tells",
    "failures",
    "_turn",
    "keep_particle_records",
    "_particle_records",
}
ARRAYS = {"tree", "states", "sample_store", "_ticket_node", "_seeds", "stopping"}
COUNTERS = {"asked", "told", "forgotten", "nfe", "reward_calls", "_dearest"}


def test_every_attribute_of_a_search_is_restored():
    """A new attribute that ``state`` does not know of is noticed here."""
    original = grown(selection="uct")
    original.tell(made_up(original.ask(1), [1.0], 2))
    restored = Search.restored(original.state())
    assert vars(restored).keys() == vars(original).keys() == PLAIN | ARRAYS | COUNTERS
    for name in PLAIN:
        assert getattr(restored, name) == getattr(original, name), name


def test_a_state_without_a_column_is_refused():
    arrays = dict(grown(selection="uct").state().part("tree"))
    assert len(Tree.from_arrays(2, 2, arrays)) == len(arrays["parent"])
    with pytest.raises(ValueError, match="'select_centre'"):
        Tree.from_arrays(2, SEPARATE, arrays)
    del arrays["visits"]
    with pytest.raises(ValueError, match="'visits'"):
        Tree.from_arrays(2, SHARED, arrays)


def test_a_tree_with_enumerated_children_keeps_their_priors():
    tree = Tree(2, SHARED, enumerated=True)
    tree.columns.log_prior[:2] = -1.0, -2.0
    again = Tree.from_arrays(2, SHARED, tree.arrays())
    np.testing.assert_array_equal(again.column("log_prior"), [-1.0, -2.0])


def with_facts(state, **changes):
    return replace(state, facts={**state.facts, **changes})


def test_a_state_of_another_format_is_refused_with_both_versions():
    with pytest.raises(ValueError, match=r"format version 7, this program reads version 1.*remove the checkpoints"):
        Search.restored(with_facts(grown().state(), format_version=7))


def test_a_setting_this_program_does_not_know_is_refused():
    state = grown().state()
    with pytest.raises(ValueError, match="setting 'patience'"):
        Search.restored(with_facts(state, config={**state.facts["config"], "patience": 3}))


def test_a_setting_added_since_has_its_default():
    config = asdict(SearchConfig(n_rollouts=200))
    del config["draw"]
    assert Search.restored(with_facts(grown().state(), config=config)).config.draw == "softmax"


OTHERS = {
    "n_rollouts": (lambda: bare_search(2, 2, n_rollouts=300), "n_rollouts is 200, here it is 300"),
    "names": (lambda: bare_search(2, 3, n_rollouts=200), r"names is \('problem 0', 'problem 1'\), here"),
    "num_levels": (lambda: bare_search(3, 2, n_rollouts=200), "num_levels is 2, here it is 3"),
    "shape": (
        lambda: Search(SearchConfig(n_rollouts=200), ["problem 0", "problem 1"], np.zeros((2, 4)), 2),
        r"shape and type is \(\(1,\), 'float64'\), here it is \(\(4,\), 'float64'\)",
    ),
    "roots": (
        lambda: Search(SearchConfig(n_rollouts=200), ["problem 0", "problem 1"], np.array([[0.0], [3.0]]), 2),
        r"root state of 'problem 1' is array\(\[0\.\]\), here it is array\(\[3\.\]\)",
    ),
}


@pytest.mark.parametrize(("other", "message"), OTHERS.values(), ids=OTHERS)
def test_a_state_of_another_search_is_refused_with_both_values(other, message):
    for at_once in (None, 1):  # other machines, same search
        check_same_search(grown().state(), bare_search(2, 2, n_rollouts=200, at_once=at_once).state())
    with pytest.raises(ValueError, match=message):
        check_same_search(grown().state(), other().state())
