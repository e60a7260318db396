"""What is recorded while a search runs."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from sadt_ray import Problem, snis
from sadt_ray.engine.loop import SearchStats, StatsTo, run_search
from sadt_ray.engine.serial import SerialExecutor, start_search
from sadt_ray.interfaces import Failure, ParticleRecord
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.runs.directory import append_metrics, create_run_directory, write_json
from sadt_ray.runs.recorder import Recorder
from sadt_ray.trajectories import FIRST_PARTICLE, read_trajectories
from sadt_ray.tree.search import Search

PROCESS = MarkovChainProcess.random(3, 3, seed=0).with_branch_steps("none")
PROBLEMS = [Problem("a", np.zeros(1))]
NOTHING = SearchStats(0.0, 0, 0, 0.0, -np.inf, -np.inf, 0, 0, 0, {})


class NoTwos:
    """-1 where no token is 2, else probability zero."""

    oracle = False

    def bind(self, problems):
        return lambda samples, problem: np.where((samples == 2).any(1), -np.inf, -1.0)


def test_samples_of_probability_zero_do_not_make_the_mean_reward_look_better(tmp_path):
    search, executor = start_search(PROCESS, [Problem("a", np.zeros(1))], NoTwos(), snis(n_rollouts=100))
    run_search(search, executor, [Recorder(tmp_path, "snis", keep_trajectories=False)])
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.isneginf(search.sample_store.rewards()[1]).any()
    assert last["mean_reward"] == last["best_reward"] == -1
    assert last["simulations"] == 100
    assert not (tmp_path / "trajectories").exists()


class Clock:
    now = 1_000.0

    def perf_counter(self):
        return self.now


class Stepped(SerialExecutor):
    """Its batches take the seconds, and have the sizes, that it is told."""

    def __init__(self, *arguments, clock, steps):
        super().__init__(*arguments)
        self.clock, self.steps = clock, list(steps)
        self.batch_size = self.steps[0][1]

    def collect(self):
        self.clock.now += self.steps.pop(0)[0]
        finished = super().collect()
        self.batch_size = self.steps[0][1] if self.steps else 1
        return finished

    def gauges(self):
        return {"workers": 3.0, "busy": 0.5}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("sadt_ray.engine.loop.time", clock)
    monkeypatch.setattr("sadt_ray.runs.recorder.time", clock)
    return clock


def searched(tmp_path, clock, steps, **settings):
    """A search whose batches take so long, and its recorder."""
    search = start_search(PROCESS, PROBLEMS, NoTwos(), snis(n_rollouts=sum(size for _, size in steps)))[0]
    recorder = Recorder(tmp_path, "snis")
    run_search(search, Stepped(PROCESS, NoTwos(), PROBLEMS, clock=clock, steps=steps), [recorder], **settings)
    return search, recorder


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_rates_are_those_since_the_last_line(tmp_path, clock):
    searched(tmp_path, clock, [(2.0, 10), (0.2, 10), (0.8, 20)])
    first, second, last = lines(tmp_path)
    assert [line["seconds"] for line in (first, second, last)] == pytest.approx([2.0, 3.0, 3.0])
    assert (first["simulations_per_second"], second["simulations_per_second"]) == pytest.approx((5.0, 30.0))
    assert (first["nfe_per_second"], second["nfe_per_second"]) == pytest.approx((15.0, 90.0))  # three levels
    assert second["rollouts_per_second"] == pytest.approx(40 / 3)
    assert (second["workers"], second["busy"]) == (3.0, 0.5)


def test_every_particle_counts_as_a_rollout(tmp_path, clock):
    searched(tmp_path, clock, [(2.0, 10)], particles=16)
    assert lines(tmp_path)[0]["rollouts_per_second"] == 80.0


def test_a_line_says_what_is_in_flight_set_aside_and_in_the_tree(tmp_path):
    search, executor = start_search(PROCESS, PROBLEMS, NoTwos(), snis(n_rollouts=100))
    executor.submit(search.ask(10))
    search.tell(executor.collect()[0].results)
    tickets = search.ask(7)
    search.set_aside([Failure(int(tickets.id[0]), 0, "no reward")])
    search.forget(tickets.id[1:3])
    seen = []
    observers = [StatsTo(seen.append), Recorder(tmp_path, "snis")]
    executor.collect = lambda: [] if seen else (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run_search(search, executor, observers)
    (line,) = lines(tmp_path)
    assert (line["in_flight"], line["set_aside"], line["nodes"]) == (0, 1, len(search.tree))


def test_a_recorder_continues_where_the_checkpoint_was_and_not_where_the_process_died(tmp_path, clock):
    append_metrics(tmp_path, {"seconds": 99.0, "method": "prior"})
    kept = []

    class Keeps:
        """As a checkpointer: when two batches are told."""

        def after_batch(self, search, stats):
            if stats.simulations == 20:
                kept[:] = [json.loads(json.dumps(recorder.checkpoint_facts(search))), pickle.dumps(search.state())]

    search = start_search(PROCESS, PROBLEMS, NoTwos(), snis(n_rollouts=30))[0]
    recorder = Recorder(tmp_path, "snis")
    executor = Stepped(PROCESS, NoTwos(), PROBLEMS, clock=clock, steps=[(1.0, 10)] * 3)
    run_search(search, executor, [recorder, Keeps()])  # it ends later than the checkpoint, as far as anyone knows
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"seconds": 3.5, "meth')

    facts, state = kept
    search = Search.restored(pickle.loads(state))
    search.forget(search.open_tickets())
    recorder = Recorder(tmp_path, "snis", resume=facts)
    assert recorder.seconds == 2.0
    executor = Stepped(PROCESS, NoTwos(), PROBLEMS, clock=clock, steps=[(4.0, 10)])
    run_search(search, executor, [recorder], seconds_before=recorder.seconds)
    written = [(line["method"], line["seconds"]) for line in lines(tmp_path)]
    assert written[:4] == [("prior", 99.0), ("snis", 1.0), ("snis", 2.0), ("snis", 6.0)]
    resumed = lines(tmp_path)[3]
    assert resumed["simulations"] == 30
    assert resumed["simulations_per_second"] == resumed["rollouts_per_second"] == 2.5
    assert resumed["mean_reward"] == -1
    table = read_trajectories(tmp_path / "trajectories" / "snis")
    assert table["node"].to_pylist() == list(range(len(search.tree)))


def particle_below(tickets):
    """A harvest of one particle on level 1 below each ticket's node."""
    count = len(tickets)
    return ParticleRecord(
        ticket=np.arange(count), parent=np.full(count, -1), level=np.ones(count, int), state=tickets.state + 1,
        log_flow=np.full(count, 0.5), log_ratio=np.full(count, -0.25), reward=np.full(count, np.nan),
    )  # fmt: skip


def test_particles_are_recorded_beside_the_tree_also_by_a_recorder_that_continues(tmp_path):
    search, executor = start_search(PROCESS, PROBLEMS, NoTwos(), snis(n_rollouts=100))

    def simulate(count):
        tickets = search.ask(count)
        executor.submit(tickets)
        search.tell(replace(executor.collect()[0].results, particle_record=particle_below(tickets)))

    recorder = Recorder(tmp_path, "snis")
    recorder.open(search)
    simulate(5)
    recorder.after_batch(search, NOTHING)
    simulate(5)  # told, and not yet written when the checkpoint is taken
    facts, state = json.loads(json.dumps(recorder.checkpoint_facts(search))), pickle.dumps(search.state())
    simulate(5)
    recorder.at_end(search, NOTHING)  # later than the checkpoint, as far as anyone knows
    search = Search.restored(pickle.loads(state))
    recorder = Recorder(tmp_path, "snis", resume=facts)
    recorder.open(search)
    simulate(3)
    recorder.at_end(search, NOTHING)
    table = read_trajectories(tmp_path / "trajectories" / "snis")
    node, beside = table["node"].to_numpy(), table["node"].to_numpy() >= FIRST_PARTICLE
    np.testing.assert_array_equal(node[~beside], np.arange(len(search.tree)))
    np.testing.assert_array_equal(node[beside], FIRST_PARTICLE + np.arange(13))
    np.testing.assert_array_equal(table["parent"].to_numpy()[beside], 0)
    np.testing.assert_array_equal(table["log_flow"].to_numpy(), np.where(beside, 0.5, 0.0))
    np.testing.assert_array_equal(table["log_ratio"].to_numpy(), np.where(beside, -0.25, 0.0))
    assert table["problem"].to_pylist() == ["a"] * len(node)
    simulate(3)
    assert search.take_particle_records() == []  # nobody records any more


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
