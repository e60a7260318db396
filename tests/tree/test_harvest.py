"""Particles beside the tree: kept for whoever records them, of tickets that were open, as a forest."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.apparatus.made_up_results import made_up_results
from sadt_ray.config import SearchConfig
from sadt_ray.interfaces import ParticleRecord
from sadt_ray.tree.search import Search

LEVELS = 3


def harvest_of(tickets, particles=2):
    """Below every ticket's node a chain of particles down to x_0, ``particles`` times."""
    columns = [], [], []
    for ticket in range(len(tickets)):
        for _ in range(particles):
            for level in range(tickets.level[ticket] + 1, LEVELS + 1):
                parent = -1 if level == tickets.level[ticket] + 1 else len(columns[0]) - 1
                for column, value in zip(columns, (ticket, parent, level), strict=True):
                    column.append(value)
    ticket, parent, level = map(np.array, columns)
    row = np.arange(len(ticket))
    return ParticleRecord(
        ticket=ticket, parent=parent, level=level, state=np.stack([row, tickets.id[ticket]], 1).astype(np.float32),
        log_flow=row / 2, log_ratio=-row / 4, reward=np.where(level == LEVELS, row, np.nan),
    )  # fmt: skip


def results_of(tickets, particle_record=None):
    results = made_up_results(tickets, LEVELS, 2, np.random.default_rng(0))
    return replace(results, particle_record=harvest_of(tickets) if particle_record is None else particle_record)


@pytest.fixture
def search():
    search = Search(SearchConfig(n_rollouts=100), ["a", "b"], np.zeros((2, 2), np.float32), LEVELS)
    search.keep_particle_records = True
    return search


def test_every_particle_has_an_id_and_its_parents_id(search):
    first = 1 << 40
    for _ in range(3):
        tickets = search.ask(8)
        search.tell(results_of(tickets))
    (harvested,) = search.take_particle_records()[2:]
    harvest, rows = harvested.particle_record, harvested.rows(first)
    np.testing.assert_array_equal(rows["node"], first + np.arange(len(harvest)))
    below_node = harvest.parent < 0
    np.testing.assert_array_equal(rows["parent"][below_node], tickets.node[harvest.ticket[below_node]])
    np.testing.assert_array_equal(rows["parent"][~below_node], first + harvest.parent[~below_node])
    np.testing.assert_array_equal(rows["problem"], tickets.problem[harvest.ticket])
    for name in ("level", "state", "log_flow", "log_ratio", "reward"):
        np.testing.assert_array_equal(rows[name], getattr(harvest, name), err_msg=name)
    assert search.take_particle_records() == []


def test_particles_may_descend_from_the_first_new_node_of_their_ticket(search):
    search.tell(results_of(search.ask(8)))
    search.take_particle_records()
    before, tickets = len(search.tree), search.ask(6)
    search.forget(tickets.id[[2]])
    harvest = harvest_of(tickets)
    search.tell(results_of(tickets, replace(harvest, parent=np.where(harvest.parent == -1, -2, harvest.parent))))
    rows = search.take_particle_records()[0].rows(1 << 40)
    above, ticket = rows["parent"], rows["state"][:, 1].astype(int)
    below_tree = above < 1 << 40
    assert (above[below_tree] >= before).all()
    parent_of = dict(zip(tickets.id, tickets.node, strict=True))
    for new, id in zip(above[below_tree], ticket[below_tree], strict=True):
        assert search.tree.column("parent")[new] == parent_of[id]


def test_particles_of_tickets_that_were_closed_are_left_out_with_their_whole_trees(search):
    tickets = search.ask(6)
    search.forget(tickets.id[[1, 4]])
    search.tell(results_of(tickets))
    search.tell(results_of(tickets))  # once more
    first, again = search.take_particle_records()
    assert len(again.rows(0)["node"]) == 0
    rows = first.rows(100)
    assert set(rows["state"][:, 1]) == set(tickets.id[[0, 2, 3, 5]])
    np.testing.assert_array_equal(rows["node"], 100 + np.arange(len(rows["node"])))
    state_of = dict(zip(rows["node"], rows["state"], strict=True))
    for parent, state in zip(rows["parent"], rows["state"], strict=True):
        if parent >= 100:
            np.testing.assert_array_equal(state_of[parent], state - [1, 0])  # the row before, of the same ticket
        else:
            assert parent == tickets.node[tickets.id == state[1]][0]


def test_nothing_is_kept_where_nobody_records(search):
    search.keep_particle_records = False
    search.tell(results_of(search.ask(4)))
    assert search.take_particle_records() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: {"level": h.level[1:]}, "has columns"),
        (lambda h: {"state": h.state[:, :1]}, r"states \(1,\), not \(2,\)"),
        (lambda h: {"ticket": h.ticket + 3}, "must name rows of its 4 tickets"),
        (lambda h: {"ticket": h.ticket - 1}, "must name rows of its 4 tickets"),
        (lambda h: {"parent": np.where(h.parent >= 0, h.parent + 1, -1)}, "parents before their children"),
        (lambda h: {"parent": h.parent - 2}, "parents before their children"),
        (lambda h: {"parent": np.where(h.ticket == 1, 0, h.parent)}, "a parent of another ticket"),
        (lambda h: {"level": 1 + 0 * h.level}, "not below its parent's level"),
        (lambda h: {"level": h.level - 1}, "has the level 0; only roots are above level 1"),
        (lambda h: {"reward": 0 * h.log_flow}, "a reward above x_0"),
        (lambda h: {"log_flow": np.nan * h.log_flow}, "log_flow of a harvest must be below infinity, got nan"),
        (lambda h: {"log_ratio": np.inf + h.log_flow}, "log_ratio of a harvest must be below infinity, got inf"),
    ],
)
def test_a_harvest_that_is_no_forest_is_refused_and_its_tickets_stay_open(search, change, message):
    tickets = search.ask(4)
    harvest = harvest_of(tickets)
    with pytest.raises(ValueError, match=message):
        search.tell(results_of(tickets, replace(harvest, **change(harvest))))
    assert len(search.open_tickets()) == 4
    search.tell(results_of(tickets))
    assert search.simulations == 4
