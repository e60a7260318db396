"""Checkpoints: whole or not there, at any address, never half read, never too often."""

import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest

from sadt_ray.config import SearchConfig
from sadt_ray.engine.checkpoint import Checkpoints, CheckpointTimes
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.tree.search import Search

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
SUM = FunctionReward(lambda samples, problem: samples.sum(1).astype(float))


def grown(simulations):
    """A search with so many simulations told and a few tickets open."""
    executor = SerialExecutor(PROCESS, SUM, PROBLEMS)
    config = SearchConfig(n_rollouts=200, widen_c=np.inf)
    search = Search(config, ["a", "b"], executor.root_states(), PROCESS.num_levels)
    for _ in range(simulations // 10):
        executor.submit(search.ask(10))
        search.tell(executor.collect()[0].results)
    search.ask(4)
    return search


def saved(folder, *simulations, keep=2):
    checkpoints = Checkpoints(folder, keep)
    for count in simulations:
        checkpoints.save(grown(count).state(), {"count": count})
    return checkpoints


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", ["path", "string", "uri"])
def test_what_is_saved_is_the_latest_wherever_it_lies(tmp_path, form):
    folder = tmp_path / "not yet" / "there"
    address = {"path": folder, "string": str(folder), "uri": folder.as_uri()}[form]
    search = grown(30)
    facts = {"seconds": 1.5, "best": -np.inf, "nested": {"list": [1, None, "ü"]}, "nfe": np.int64(3)}
    Checkpoints(address).save(search.state(), facts)
    state, found = Checkpoints(address).latest()
    assert found == facts
    assert state.facts == search.state().facts
    for name, array in search.state().arrays.items():
        np.testing.assert_array_equal(state.arrays[name], array, err_msg=name)
        assert state.arrays[name].dtype == array.dtype
    again = Search.restored(state)
    np.testing.assert_array_equal(again.open_tickets(), search.open_tickets())
    np.testing.assert_array_equal(again.ask(9).seed, search.ask(9).seed)


def test_another_file_system_than_the_local_one_serves_as_well():
    checkpoints = saved("mock:///bucket/folder", 10, 20, 30)
    assert checkpoints.latest()[1] == {"count": 30}
    checkpoints.remove()
    assert checkpoints.latest() is None


def test_infinite_settings_survive(tmp_path):
    checkpoints = saved(tmp_path, 20)
    assert checkpoints.latest()[0].config == SearchConfig(n_rollouts=200, widen_c=np.inf)


def test_a_place_without_checkpoints_has_no_latest(tmp_path):
    assert Checkpoints(tmp_path / "new").latest() is None


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_only_the_newest_are_kept_and_numbers_go_on_in_another_process(tmp_path, keep):
    saved(tmp_path, 10, 20, keep=keep)
    checkpoints = saved(tmp_path, 30, 40, keep=keep)
    assert files(tmp_path) == [f"checkpoint-{number:08d}.safetensors" for number in range(1, 5)][-keep:]
    assert checkpoints.latest()[1] == {"count": 40}


def test_what_an_unfinished_writer_left_is_passed_over_and_cleared_away(tmp_path):
    checkpoints = saved(tmp_path, 10)
    whole = (tmp_path / "checkpoint-00000001.safetensors").read_bytes()
    (tmp_path / "checkpoint-00000002.safetensors.writing").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.txt").write_text("mine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoints.latest()[1] == {"count": 10}
    saved(tmp_path, 20)
    names = ["checkpoint-00000001.safetensors", "checkpoint-00000003.safetensors", "notes.txt"]
    assert files(tmp_path) == names


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x10
    path.write_bytes(bytes(content))


def cut(path, place):
    path.write_bytes(path.read_bytes()[:place])


@pytest.mark.parametrize("harm", [flip, cut])
@pytest.mark.parametrize("place", [0, 3, 100, 5_000, -40, -1])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(tmp_path, harm, place):
    checkpoints = saved(tmp_path, 10, 20)
    harm(tmp_path / "checkpoint-00000002.safetensors", place)
    with pytest.warns(UserWarning, match=r"checkpoint-00000002.safetensors is damaged"):
        state, facts = checkpoints.latest()
    assert facts == {"count": 10}
    assert Search.restored(state).simulations == 10


def test_when_all_are_damaged_all_are_named(tmp_path):
    checkpoints = saved(tmp_path, 10, 20)
    for path in tmp_path.iterdir():
        cut(path, 1_000)
    with pytest.warns(UserWarning, match="is damaged") as named:
        assert checkpoints.latest() is None
    assert len(named) == 2


def test_an_error_while_writing_leaves_the_one_before(tmp_path):
    checkpoints = saved(tmp_path, 10)
    state = grown(20).state()
    broken = replace(state, arrays={**state.arrays, "zz": np.array(["not a number"])})
    with pytest.raises(ValueError, match="'zz'"):
        checkpoints.save(broken)
    assert checkpoints.latest()[1] == {"count": 10}


def test_a_checkpoint_of_another_format_is_an_error_and_not_damage(tmp_path):
    checkpoints = saved(tmp_path, 10)
    state = grown(20).state()
    checkpoints.save(replace(state, facts={**state.facts, "format_version": 7}))
    with pytest.raises(ValueError, match=r"format version 7, this program reads version 1"):
        checkpoints.latest()


def test_removing_leaves_nothing_but_what_others_put_there(tmp_path):
    folder = tmp_path / "a"
    checkpoints = saved(folder, 10, 20)
    checkpoints.remove()
    assert not folder.exists()
    checkpoints.remove()
    assert checkpoints.latest() is None
    checkpoints.save(grown(10).state())
    (folder / "notes.txt").write_text("mine")
    checkpoints.remove()
    assert files(folder) == ["notes.txt"]


@pytest.mark.parametrize("address", ["ftp://host/folder", "s4://bucket/a", "file://host/a", "gs:/a"])
def test_an_address_that_cannot_be_used_is_refused(address):
    with pytest.raises(ValueError, match=f"cannot be written to '{address}'.*give a folder"):
        Checkpoints(address)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(ValueError, match="cannot be written to"):
        Checkpoints(tmp_path / "a")
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        Checkpoints(tmp_path / "b", keep=0)


def test_a_folder_can_be_moved_and_read_elsewhere(tmp_path):
    saved(tmp_path / "a", 10)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert Checkpoints(tmp_path / "b").latest()[1] == {"count": 10}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_checkpoint_is_due_after_so_many_simulations_or_seconds():
    clock = Clock()
    times = CheckpointTimes(every_simulations=50, every_seconds=10.0, clock=clock)
    times.begin(1_000)
    assert not times.due(1_049)
    assert times.due(1_050)
    clock.now += 9.9
    assert not times.due(1_001)
    clock.now += 0.2
    assert times.due(1_001)
    with times.measured(1_001):
        pass
    assert not times.due(1_050)
    assert times.due(1_051)


@pytest.mark.parametrize("seconds", [0.5, 7.0])
def test_checkpoints_take_at_most_a_twentieth_of_the_time_however_long_each_takes(seconds):
    clock = Clock()
    times = CheckpointTimes(every_simulations=1, every_seconds=None, clock=clock)
    spent, started = 0.0, clock.now
    for simulation in range(1, 20_000):
        clock.now += 0.1
        if times.due(simulation):
            with times.measured(simulation):
                clock.now += seconds
            spent += seconds
    assert 0.03 < spent / (clock.now - started) < 0.05


def test_without_numbers_none_is_due_and_bad_numbers_are_refused():
    clock = Clock()
    times = CheckpointTimes(None, None, clock)
    clock.now += 1e9
    assert not times.due(10**9)
    with pytest.raises(ValueError, match="every_seconds must be None or a positive number, got 0"):
        CheckpointTimes(every_seconds=0)
