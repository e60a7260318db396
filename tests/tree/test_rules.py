"""Rules of a user's own: the built-in ones written in Python grow the same tree, theory holds, faults are refused."""

import json
import math
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numba import njit
from ray import cloudpickle

from sadt_ray.config import Children, NodeCounts, SearchConfig, check_named, name_of, settings_of
from sadt_ray.methods import dts, method_named
from sadt_ray.tree.rules import Rules
from sadt_ray.tree.search import Search
from sadt_ray.tree.state import SearchState, check_same_search

from .forests import (
    assert_same_tree,
    bare_search,
    exact_flow,
    made_up,
    markov,
    new_search,
    noise_flow,
    searched,
)

HERE = __name__


def boltzmann(children: Children, uniform: float) -> int:
    """DTS: in proportion to exp(beta v)."""
    beta = children.selection_inv_temperature
    if beta == 0:
        weights = np.ones(len(children.value))
    else:
        top = children.value.max()
        if top == -np.inf:
            return int(uniform * len(children.value))
        weights = np.exp(beta * (children.value - top))
    cumulative = weights.cumsum()
    return min(int((cumulative <= uniform * cumulative[-1]).sum()), len(weights) - 1)


def uct(children: Children, uniform: float) -> int:
    """DTS*: the highest v + c sqrt(log(N + O) / (N_c + O_c))."""
    node = children.node
    x = children.c_uct * math.sqrt(math.log(1.0 + node.visits + node.in_flight))
    return int(np.argmax(children.value + x * (1.0 / np.sqrt(1.0 + children.visits + children.in_flight))))


@njit
def uct_compiled(children, uniform):
    node = children.node
    x = children.c_uct * math.sqrt(math.log(1.0 + node.visits + node.in_flight))
    return np.argmax(children.value + x * (1.0 / np.sqrt(1.0 + children.visits + children.in_flight)))


def progressive(node: NodeCounts) -> bool:
    n = 1.0 + node.visits + node.in_flight
    return node.num_children + node.pending < node.widen_c * n**node.widen_alpha


@njit
def progressive_compiled(node):
    n = 1.0 + node.visits + node.in_flight
    return node.num_children + node.pending < node.widen_c * n**node.widen_alpha


def by_uniform(children, uniform):
    """Any child, whatever is known of it."""
    return int(uniform * len(children.value))


def least_visited(children, uniform):
    return int(np.argmin(children.visits + children.in_flight))


def two_at_most(node):
    return node.num_children + node.pending < 2


@dataclass
class Slot:
    """A rule that is an object."""

    index: int

    def __call__(self, children, uniform):
        return self.index


first_child = Slot(0)
BUILT_IN = {"boltzmann": boltzmann, "uct": uct}
SETTINGS = {
    "boltzmann": {},
    "beta": {"selection_inv_temperature": 0.4},
    "beta 0": {"selection_inv_temperature": 0.0},
    "uct": {"selection": "uct", "c_uct": 0.7},
    "virtual loss": {"virtual_loss": 0.7},
    "virtual loss, uct": {"selection": "uct", "virtual_loss": 0.7},
    "flow": {"alpha": 0.5, "alpha_visits": 3.0},
    "flow alone": {"alpha": 1.0, "virtual_loss": 0.1},
    "flow, uct": {"selection": "uct", "alpha": 0.5},
}
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
which = pytest.mark.parametrize("written", [("selection",), ("widening",), ("selection", "widening")], ids=" ".join)


def in_python(config, written):
    """The same configuration with its rules written in Python."""
    rules = {"selection": BUILT_IN[config.selection], "widening": progressive}
    return replace(config, **{name: rules[name] for name in written})


@which
@each_setting
def test_a_built_in_rule_written_in_python_grows_the_same_forest(settings, written):
    process, reward = markov(num_tokens=3, depth=4)
    flow = noise_flow(process) if "alpha" in settings else exact_flow(process, reward, 2.0)
    config = SearchConfig(inv_temperature=2.0, n_rollouts=300, widen_c=1.3, widen_alpha=0.6, **settings)
    arguments = {"count": 3, "batch_size": 12, "flow": flow}
    kernels = searched(config, process, reward, **arguments)
    rules = searched(in_python(config, written), process, reward, **arguments)
    assert rules._rules is not None
    assert len(kernels.tree) > 600
    assert_same_tree(kernels, rules)
    for name in ("asked", "told", "forgotten", "nfe"):
        np.testing.assert_array_equal(getattr(kernels, name), getattr(rules, name), err_msg=name)
    for one, other in zip(kernels.samples(), rules.samples(), strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.samples, other.samples)


@each_setting
@pytest.mark.parametrize("budget", [{"n_rollouts": 400}, {"n_rollouts": None, "max_nfe": 900}], ids=str)
def test_so_it_does_with_tickets_in_flight_lost_and_answered_late_and_with_few_at_once(settings, budget):
    """Budgets of both kinds, wide trees (the kernels' sums and tournaments have several floors), rewards of -inf."""
    config = SearchConfig(widen_c=3.0, widen_alpha=0.7, at_once=2, **budget, **settings)
    names = [f"problem {i}" for i in range(4)]
    one, other = (
        Search(each, names, np.zeros((4, 1)), 2) for each in (config, in_python(config, ("selection", "widening")))
    )
    rng, waiting = np.random.default_rng(0), []
    while True:
        tickets, theirs = one.ask(40), other.ask(40)
        for name, column in vars(tickets).items():
            np.testing.assert_array_equal(column, getattr(theirs, name), err_msg=name)
        waiting.append(tickets)
        late = waiting.pop(int(rng.integers(len(waiting))))
        if len(late) == 0 and not any(map(len, waiting)):
            break
        rewards = np.where(rng.random(len(late)) < 0.1, -np.inf, rng.standard_normal(len(late)))
        kept = slice(len(late) // 10, None)
        for search in (one, other):
            search.forget(late.id[: len(late) // 10])
            search.tell(made_up(late.take(kept), rewards[kept], 2))
    assert one.simulations > 1_000
    assert_same_tree(one, other)
    np.testing.assert_array_equal(one.forgotten, other.forgotten)


def test_a_compiled_rule_grows_the_same_tree_as_the_plain_one():
    process, reward = markov()
    plain = searched(SearchConfig(n_rollouts=200, selection=uct, widening=progressive), process, reward)
    rules = {"selection": f"{HERE}:uct_compiled", "widening": f"{HERE}:progressive_compiled"}
    compiled = searched(SearchConfig(n_rollouts=200, **rules), process, reward)
    assert_same_tree(plain, compiled)


def test_a_rule_is_told_what_the_tree_knows():
    seen = []

    def remember(children, uniform):
        seen.append((children, uniform))
        return 0

    config = {"inv_temperature": 2.0, "alpha": 0.25, "virtual_loss": 0.5, "c_uct": 3.0, "widen_c": 1.0}
    search = bare_search(2, n_rollouts=50, widen_alpha=0.5, selection=remember, **config)
    first = search.ask(1)
    search.tell(replace(made_up(first, [4.0], 2), path_log_flow=np.array([1.0, 2.0])))
    search.ask(1)  # a second child of the root
    search.ask(1)  # below the first
    (children, uniform), *_ = seen
    assert 0 < uniform < 1
    assert children.node == NodeCounts(
        level=0, visits=1, in_flight=1, num_children=1, pending=1, widen_c=1.0, widen_alpha=0.5
    )
    assert (children.visits, children.in_flight) == (1, 0)
    assert (children.soft_value, children.log_flow) == (4.0, 1.0)
    assert children.value == 0.75 * 4.0 + 0.25 * 1.0 / 2.0
    assert children[-3:] == (2.0, 2.0, 3.0)
    search.ask(1)
    again = seen[1][0]
    assert again.in_flight == 1
    assert again.value == 3.125 - 0.5 * 1 / 2


def test_what_a_rule_writes_into_its_arrays_leaves_the_tree_alone():
    def vandal(children, uniform):
        index = boltzmann(children, uniform)
        for array in children[:5]:
            array[:] = -7
        return index

    process, reward = markov()
    calm, wild = (searched(SearchConfig(n_rollouts=200, selection=s), process, reward) for s in (boltzmann, vandal))
    assert_same_tree(calm, wild)


@pytest.mark.parametrize("rule", [by_uniform, least_visited])
def test_selection_that_reads_no_values_keeps_z_unbiased(rule):
    process, reward = markov(depth=3)
    lam = 1.5
    exact = lam * process.soft_values(reward, lam)[()]
    config = SearchConfig(inv_temperature=lam, n_rollouts=15, selection=rule, widen_c=1.0, widen_alpha=0.5)
    search = searched(config, process, reward, count=1_500, batch_size=1_500)
    ratio = np.exp([found.log_z - exact for found in search.samples()])
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
    assert (search.tree.column("level") == 2).sum() > 3_000


def test_a_widening_rule_decides_how_many_children_a_node_has():
    process, reward = markov()
    config = SearchConfig(n_rollouts=100, widening=two_at_most)
    narrow = searched(config, process, reward).tree.column("num_children")
    assert narrow.max() == narrow[0] == 2
    at_once = searched(config, process, reward, batch_size=7).tree.column("num_children")
    assert at_once.max() == at_once[0] == 7  # asked together while the root had no children
    always = SearchConfig(n_rollouts=100, widening=lambda node: True)
    assert_same_tree(
        searched(always, process, reward), searched(SearchConfig(widen_c=np.inf, n_rollouts=100), process, reward)
    )


WRONG = {
    "too large": (lambda children, uniform: len(children.value), "returned 1 .* must return an integer from 0 to 0"),
    "negative": (lambda children, uniform: -1, "returned -1 for a node of 1 children at level 0"),
    "nan": (lambda children, uniform: math.nan, "returned nan"),
    "a float": (lambda children, uniform: 0.0, "returned 0.0"),
    "nothing": (lambda children, uniform: None, "returned None"),
    "a bool": (lambda children, uniform: False, "returned False"),
    "an array": (lambda children, uniform: children.value == 1, r"returned array\("),
}


def refusing_search(**rules):
    """A search of one node below the root, which the next simulation will descend into."""
    search = bare_search(2, n_rollouts=50, widen_c=0.5, widen_alpha=0.0, **rules)
    search.tell(made_up(search.ask(1), [1.0], 2))
    return search


@pytest.mark.parametrize(("rule", "message"), WRONG.values(), ids=WRONG)
def test_an_impossible_choice_is_an_error_that_names_the_rule(rule, message):
    with pytest.raises(ValueError, match=f"the selection rule {HERE}:<lambda> {message}"):
        refusing_search(selection=rule).ask(1)


@pytest.mark.parametrize("answer", [None, 1, 0.0, math.nan, np.array([True])], ids=str)
def test_a_widening_rule_must_say_yes_or_no(answer):
    with pytest.raises(ValueError, match=f"the widening rule {HERE}:.*<lambda> returned .* must return True or False"):
        refusing_search(widening=lambda node: answer).ask(1)


def test_a_rule_that_fails_leaves_nothing_in_flight_and_the_search_goes_on():
    calls = []

    def sometimes(children, uniform):
        calls.append(1)
        if len(calls) == 9:
            raise ZeroDivisionError("in the rule")
        return boltzmann(children, uniform)

    search = bare_search(3, 2, n_rollouts=60, selection=sometimes, widen_c=1.0, widen_alpha=0.5)
    search.tell(made_up(search.ask(2), [1.0, 2.0], 3))
    with pytest.raises(ZeroDivisionError, match="in the rule"):
        search.ask(30)
    assert search.forgotten.sum() > 0
    assert len(search.open_tickets()) == 0
    assert not search.tree.column("in_flight").any()
    assert not search.tree.column("pending").any()
    while len(tickets := search.ask(10)):
        search.tell(made_up(tickets, np.sin(tickets.id), 3))
    np.testing.assert_array_equal(search.told, 60)


@pytest.mark.parametrize("setting", ["selection", "widening"])
def test_a_rule_that_does_not_exist_is_refused_where_it_is_named(setting):
    with pytest.raises(ValueError, match=f"{setting} must be one of .*module:function, or a function, got 'best'"):
        SearchConfig(**{setting: "best"})
    with pytest.raises(ValueError, match=f"'{HERE}' has no 'puct'"):
        SearchConfig(**{setting: f"{HERE}:puct"})
    with pytest.raises(ValueError, match="cannot import 'no_such_module'"):
        dts(**{setting: "no_such_module:rule"})


def test_built_in_rules_leave_the_kernels_in_charge():
    assert Rules.of(SearchConfig()) is None
    assert Rules.of(SearchConfig(widening=progressive)) == (None, progressive)
    assert Rules.of(SearchConfig(selection=f"{HERE}:uct")) == (uct, None)


def test_a_function_is_written_by_its_name():
    assert name_of(uct) == f"{HERE}:uct"
    assert name_of(uct_compiled) == f"{HERE}:uct_compiled"
    assert name_of("my_module:rule") == "my_module:rule"
    assert "<" in name_of(lambda node: True)
    assert "<" in name_of(first_child)
    settings = settings_of(dts(n_rollouts=8, selection=uct, widening=progressive))
    assert settings["search"]["selection"] == f"{HERE}:uct"
    assert json.loads(json.dumps(settings))["search"]["widening"] == f"{HERE}:progressive"


def grown(**rules):
    search = bare_search(2, 2, n_rollouts=80, widen_alpha=0.5, **rules)
    tickets = search.ask(40)
    search.tell(made_up(tickets.take(slice(0, 30)), np.sin(np.arange(30.0)), 2))
    return search


def finish(search):
    search.forget(search.open_tickets())
    while len(tickets := search.ask(8)):
        search.tell(made_up(tickets, np.sin(tickets.id), 2))
    return search


RULES = {
    "functions": {"selection": uct, "widening": progressive},
    "names": {"selection": f"{HERE}:uct", "widening": f"{HERE}:progressive"},
    "compiled": {"selection": uct_compiled},
    "an object, by name": {"selection": f"{HERE}:first_child"},
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_search_restored_from_json_goes_on_by_the_same_rules(rules):
    search = grown(**rules)
    check_named(search.config)
    state = search.state()
    sent = SearchState({k: v.copy() for k, v in state.arrays.items()}, json.loads(json.dumps(state.facts)))
    check_same_search(sent, grown(**rules).state())
    assert_same_tree(finish(Search.restored(sent)), finish(search))


def test_a_function_and_its_name_are_the_same_search_and_other_rules_are_not():
    by_name = grown(selection=f"{HERE}:uct").state()
    check_same_search(by_name, grown(selection=uct).state())
    with pytest.raises(ValueError, match=f"its selection is '{HERE}:uct', here it is 'boltzmann'"):
        check_same_search(by_name, grown().state())
    with pytest.raises(ValueError, match="its widening is 'progressive', here it is"):
        check_same_search(grown().state(), grown(widening=progressive).state())


@pytest.mark.parametrize(
    "rule", [lambda children, uniform: 0, pytest.param(first_child, id="object")], ids=["lambda", "object"]
)
def test_a_rule_without_a_name_searches_travels_and_is_refused_a_checkpoint(rule):
    search = grown(selection=rule)
    with pytest.raises(ValueError, match=r"selection is .*cannot be loaded by its name.*search without checkpoints"):
        check_named(search.config)
    with pytest.raises(ValueError, match="cannot be loaded by a name"):
        Search.restored(search.state())
    other = Search.restored(search.state(), search.config)
    config = cloudpickle.loads(cloudpickle.dumps(search.config))  # as Ray sends it
    third = Search.restored(search.state(), config)
    done = finish(search)
    assert_same_tree(finish(other), done)
    assert_same_tree(finish(third), done)


def test_configurations_with_functions_of_a_module_are_pickled():
    method = method_named("dts", n_rollouts=10, selection=uct, widening=f"{HERE}:progressive")
    assert pickle.loads(pickle.dumps(method)) == method


def narrow_puct(*, inv_temperature=1.0, n_rollouts=None, seed=0):
    """A method of a user's own."""
    return replace(
        dts(inv_temperature=inv_temperature, n_rollouts=n_rollouts, seed=seed, selection=uct, widening=two_at_most),
        name="narrow",
    )


def test_a_method_of_ones_own_is_found_by_name():
    process, _ = markov()
    method = method_named(f"{HERE}:narrow_puct", n_rollouts=40)
    assert method.name == "narrow"
    assert len(new_search(method.search, process).ask(100)) == 40
    with pytest.raises(ValueError, match=r"returned .* not a sadt_ray\.Method"):
        method_named(f"{HERE}:progressive", node=NodeCounts(0, 1, 0, 1, 0, 2.0, 0.8))
