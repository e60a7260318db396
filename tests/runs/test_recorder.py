"""What is recorded while a search runs."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from sadt_ray import Problem, snis
from sadt_ray.api import start_search
from sadt_ray.executor import run_search
from sadt_ray.interfaces import Failure, Harvest
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.runs.directory import append_metrics, create_run_directory, write_json
from sadt_ray.runs.recorder import Recorder
from sadt_ray.trajectories import FIRST_PARTICLE, read_trajectories
from sadt_ray.tree.search import Search

PROCESS = MarkovChainProcess.random(3, 3, seed=0)


class NoTwos:
    """-1 where no token is 2, else probability zero."""

    oracle = False

    def bind(self, problems):
        return lambda samples, problem: np.where((samples == 2).any(1), -np.inf, -1.0)


def test_samples_of_probability_zero_do_not_make_the_mean_reward_look_better(tmp_path):
    search, executor = start_search(PROCESS, [Problem("a", np.zeros(1))], NoTwos(), snis(n_rollouts=100))
    recorder = Recorder(tmp_path, "snis", keep_trajectories=False)
    run_search(search, executor, recorder)
    recorder.close(search)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.isneginf(search.sample_store.rewards()[1]).any()
    assert last["mean_reward"] == last["best_reward"] == -1
    assert last["simulations"] == 100
    assert not (tmp_path / "trajectories").exists()


class Clock:
    now = 1_000.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("sadt_ray.runs.recorder.time", clock)
    return clock


def begun(n_rollouts=100):
    search, executor = start_search(PROCESS, [Problem("a", np.zeros(1))], NoTwos(), snis(n_rollouts=n_rollouts))

    def simulate(count):
        executor.submit(search.ask(count))
        search.tell(executor.collect()[0].results)

    return search, simulate


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_rates_are_those_since_the_last_line(tmp_path, clock):
    search, simulate = begun()
    recorder = Recorder(tmp_path, "snis", seconds_between=2.0)
    for seconds, count in ((2.0, 10), (1.0, 10), (1.0, 20)):
        clock.now += seconds
        simulate(count)
        progress = recorder(search, lambda: {"workers": 3.0, "busy": 0.5})
    first, second = lines(tmp_path)
    assert (first["seconds"], second["seconds"]) == (2.0, 4.0)
    assert (first["simulations_per_second"], second["simulations_per_second"]) == (5.0, 15.0)
    assert (first["nfe_per_second"], second["nfe_per_second"]) == (15.0, 45.0)  # three levels
    assert progress.rollouts_per_second == second["rollouts_per_second"] == 10.0
    assert (second["workers"], second["busy"]) == (3.0, 0.5)


def test_every_particle_of_a_sweep_counts_as_a_rollout(tmp_path, clock):
    search, simulate = begun()
    recorder = Recorder(tmp_path, "sadt", particles=16)
    clock.now += 2.0
    simulate(10)
    assert recorder(search).rollouts_per_second == 80.0


def test_a_line_says_what_is_in_flight_set_aside_and_in_the_tree(tmp_path):
    search, simulate = begun()
    simulate(10)
    tickets = search.ask(7)
    search.set_aside([Failure(int(tickets.id[0]), 0, "no reward")])
    search.forget(tickets.id[1:3])
    recorder = Recorder(tmp_path, "snis")
    assert recorder.last_line == {}
    recorder.close(search)
    (line,) = lines(tmp_path)
    assert (line["in_flight"], line["set_aside"], line["nodes"]) == (4, 1, len(search.tree))
    assert recorder.last_line.keys() == line.keys()
    assert recorder.last_line["seconds"] == line["seconds"]


def test_a_recorder_continues_where_the_checkpoint_was_and_not_where_the_process_died(tmp_path, clock):
    search, simulate = begun()
    recorder = Recorder(tmp_path, "snis", seconds_between=0.0)
    append_metrics(tmp_path, {"seconds": 99.0, "method": "prior"})
    for _ in range(2):
        clock.now += 1.0
        simulate(10)
        recorder(search)
    facts, state = json.loads(json.dumps(recorder.checkpoint_facts(search))), pickle.dumps(search.state())
    clock.now += 1.0
    simulate(10)
    recorder(search)
    recorder.close(search)  # later than the checkpoint, as far as anyone knows
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"seconds": 3.5, "meth')

    search = Search.restored(pickle.loads(state))
    clock.now = 50.0
    recorder = Recorder(tmp_path, "snis", seconds_between=0.0, resume=facts)
    clock.now += 4.0
    assert recorder.seconds == 6.0
    progress = recorder(search)
    assert [(line["method"], line["seconds"]) for line in lines(tmp_path)] == [
        ("prior", 99.0), ("snis", 1.0), ("snis", 2.0), ("snis", 6.0)
    ]  # fmt: skip
    assert progress.simulations == 20
    assert lines(tmp_path)[-1]["simulations_per_second"] == progress.rollouts_per_second == 0.0
    assert progress.mean_reward == -1
    table = read_trajectories(tmp_path / "trajectories" / "snis")
    assert table["node"].to_pylist() == list(range(len(search.tree)))


def particle_below(tickets):
    """A harvest of one particle on level 1 below each ticket's node."""
    count = len(tickets)
    return Harvest(
        ticket=np.arange(count), parent=np.full(count, -1), level=np.ones(count, int), state=tickets.state + 1,
        log_flow=np.full(count, 0.5), log_ratio=np.full(count, -0.25), reward=np.full(count, np.nan),
    )  # fmt: skip


def test_particles_are_recorded_beside_the_tree_also_by_a_recorder_that_continues(tmp_path):
    search, _ = begun()
    executor = start_search(PROCESS, [Problem("a", np.zeros(1))], NoTwos(), snis(n_rollouts=100))[1]

    def simulate(count):
        tickets = search.ask(count)
        executor.submit(tickets)
        search.tell(replace(executor.collect()[0].results, harvest=particle_below(tickets)))

    recorder = Recorder(tmp_path, "snis")
    recorder.open(search)
    simulate(5)
    recorder(search)
    simulate(5)  # told, and not yet written when the checkpoint is taken
    facts, state = json.loads(json.dumps(recorder.checkpoint_facts(search))), pickle.dumps(search.state())
    simulate(5)
    recorder.close(search)  # later than the checkpoint, as far as anyone knows
    search = Search.restored(pickle.loads(state))
    recorder = Recorder(tmp_path, "snis", resume=facts)
    recorder.open(search)
    simulate(3)
    recorder.close(search)
    table = read_trajectories(tmp_path / "trajectories" / "snis")
    node, beside = table["node"].to_numpy(), table["node"].to_numpy() >= FIRST_PARTICLE
    np.testing.assert_array_equal(node[~beside], np.arange(len(search.tree)))
    np.testing.assert_array_equal(node[beside], FIRST_PARTICLE + np.arange(13))
    np.testing.assert_array_equal(table["parent"].to_numpy()[beside], 0)
    np.testing.assert_array_equal(table["log_flow"].to_numpy(), np.where(beside, 0.5, 0.0))
    np.testing.assert_array_equal(table["log_ratio"].to_numpy(), np.where(beside, -0.25, 0.0))
    assert table["problem"].to_pylist() == ["a"] * len(node)
    simulate(3)
    assert search.take_harvest() == []  # nobody records any more


def test_a_directory_with_anything_in_it_is_refused(tmp_path):
    assert create_run_directory(tmp_path / "new") == create_run_directory(tmp_path / "new")
    (tmp_path / "new" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        create_run_directory(tmp_path / "new")


def test_json_holds_what_python_holds(tmp_path):
    write_json(
        tmp_path / "a.json", {"inf": np.inf, "nan": np.nan, "array": (np.int64(3), np.float32(0.5)), "path": tmp_path}
    )
    back = json.loads((tmp_path / "a.json").read_text())
    assert back == {"inf": "inf", "nan": None, "array": [3, 0.5], "path": str(tmp_path)}
