"""A search that is killed again and again, in the worst moments too, ends as if nothing had happened."""

import json
import multiprocessing
import random
import signal
import time

import numpy as np
import pytest
from searched_with_checkpoints import CONFIG, MOMENTS, PROBLEMS, go_on, reward

from sadt_ray.engine.checkpoint import Checkpoints
from sadt_ray.trajectories import read_trajectories
from sadt_ray.tree.search import Search

FORKED = multiprocessing.get_context("forkserver")  # from a process that has imported PyTorch once for all of them
FORKED.set_forkserver_preload(["sadt_ray.engine.serial", "sadt_ray.runs.recording"])


def start(directory, moment=""):
    """A process that goes on with the search, and how far it found it."""
    begun, told = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=go_on, args=(directory, moment, told, errors_of(directory)))
    process.start()
    told.close()
    return process, begun.recv()


def errors_of(directory):
    return directory.with_name("errors")


def newest(directory):
    """The last whole checkpoint."""
    return max(path.name for path in (directory / "checkpoints").glob("*.safetensors"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run directory whose search was killed six times; how far each process found it."""
    directory, rng, found = tmp_path_factory.mktemp("killed") / "run", random.Random(0), []
    for moment in (*MOMENTS, "now", "now", "now"):
        process, simulations = start(directory, moment)
        found.append(simulations)
        if moment == "now":
            before = newest(directory)
            while newest(directory) == before and process.is_alive():  # it saves something, however slow it is
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.05))
            process.kill()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert errors_of(directory).read_text() == ""  # and no warning of a damaged checkpoint
    process, simulations = start(directory)
    found.append(simulations)
    process.join(60)
    assert (process.exitcode, errors_of(directory).read_text()) == (0, "")
    return directory, found


@pytest.fixture
def search(killed):
    state, _ = Checkpoints(killed[0] / "checkpoints").latest()
    return Search.restored(state)


def test_every_process_went_on_where_the_one_before_had_saved(killed):
    _, found = killed
    assert found[0] == 0
    assert found == sorted(found)
    assert len(set(found)) > 4
    assert found[-1] < len(PROBLEMS) * CONFIG.n_rollouts  # it was not over before its time


def test_exactly_the_budget_was_told_and_the_tree_is_whole(search):
    tree, roots = search.tree, len(PROBLEMS)
    np.testing.assert_array_equal(search.told, CONFIG.n_rollouts)
    np.testing.assert_array_equal(tree.column("visits")[:roots], CONFIG.n_rollouts)
    np.testing.assert_array_equal(search.told + search.forgotten, search.asked)
    assert len(search.open_tickets()) == 0
    for name in ("in_flight", "pending"):
        np.testing.assert_array_equal(tree.column(name), 0, err_msg=name)
    parent, visits = tree.column("parent"), tree.column("visits")
    below = np.bincount(parent[roots:], visits[roots:], minlength=len(tree))
    above_x_0 = tree.column("level") < search.num_levels
    np.testing.assert_array_equal(below[above_x_0], visits[above_x_0])
    np.testing.assert_array_equal(np.bincount(parent[roots:], minlength=len(tree)), tree.column("num_children"))


def test_values_are_those_of_the_leaves_and_weights_sum_to_one(search):
    tree, states = search.tree, search.states.values
    leaves = tree.column("level") == search.num_levels
    np.testing.assert_array_equal(tree.column("value")[leaves], reward(states[leaves], None))
    for node in np.flatnonzero(~leaves):
        children = tree.column("value")[tree.children(node)]
        value = np.log(np.mean(np.exp(CONFIG.inv_temperature * children))) / CONFIG.inv_temperature
        np.testing.assert_allclose(tree.column("value")[node], value, rtol=1e-9)
    for samples in search.samples():
        assert samples.weights.sum() == pytest.approx(1)


def test_trajectories_are_the_tree_row_for_row(killed, search):
    directory, _ = killed
    table, tree = read_trajectories(directory / "trajectories" / "dts"), search.tree
    np.testing.assert_array_equal(table["node"], np.arange(len(tree)))
    for name in ("parent", "level", "log_flow"):
        np.testing.assert_array_equal(table[name], tree.column(name), err_msg=name)
    np.testing.assert_array_equal(np.array(table["state"].to_pylist()), search.states.values)
    names = np.array(search.names)[search.problem_of_nodes()]
    np.testing.assert_array_equal(table["problem"].to_pylist(), names)
    leaves = tree.column("level") == search.num_levels
    np.testing.assert_array_equal(table["reward"].is_valid(), leaves)
    np.testing.assert_array_equal(table["reward"].drop_null(), tree.column("value")[leaves])


def test_metrics_run_on_as_if_one_process_had_written_them(killed, search):
    directory, _ = killed
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    for name in ("seconds", "simulations", "nfe", "nodes"):
        column = [line[name] for line in lines]
        assert column == sorted(column), name
    assert lines[-1]["simulations"] == search.simulations
    assert lines[-1]["nodes"] == len(search.tree)
    assert lines[-1]["in_flight"] == 0


def test_nothing_but_whole_files_is_left(killed):
    directory, _ = killed
    assert [path for path in directory.rglob("*") if path.name.endswith(".writing")] == []
    assert len(list((directory / "checkpoints").iterdir())) == 2
