"""A search that is recorded and saved: begun, ended in any way, resumed."""

import json
import warnings

import numpy as np
import pytest
from observing import Calls

from sadt_ray.config import SearchConfig
from sadt_ray.engine import loop
from sadt_ray.engine.checkpoint import Checkpoints, CheckpointTimes
from sadt_ray.engine.loop import RolloutFailed, Tolerance, run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recording import begin_or_resume
from sadt_ray.trajectories import read_trajectories
from sadt_ray.tree.search import Search

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
SUM = FunctionReward(lambda samples, problem: samples.sum(1).astype(float))


def fresh(n_rollouts=100):
    roots = PROCESS.bind(PROBLEMS).root_states()
    return Search(SearchConfig(n_rollouts=n_rollouts), ["a", "b"], roots, PROCESS.num_levels)


def begun(run, times=None, **settings):
    checkpoints = Checkpoints(run / "checkpoints")
    return begin_or_resume(fresh(**settings), run, "dts", checkpoints, times=times), checkpoints


def executor(reward=SUM):
    return SerialExecutor(PROCESS, reward, PROBLEMS, batch_size=10)


def go_on(begun, executor, *more, **settings):
    observers = [*begun.observers, *more]
    run_search(begun.search, executor, observers, seconds_before=begun.recorder.seconds, **settings)


def stop_at(simulations, error=KeyboardInterrupt):
    def stop(search):
        if search.simulations >= simulations:
            raise error

    return Calls(stop)


def rows_of(run):
    return read_trajectories(run / "trajectories" / "dts")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_search_stopped_between_two_batches_is_saved_and_goes_on_to_its_budget(tmp_path, error):
    first, _ = begun(tmp_path)
    with pytest.raises(error):
        go_on(first, executor(), stop_at(70, error))
    again, _ = begun(tmp_path)
    assert again.search.simulations == first.search.simulations >= 70
    go_on(again, executor())
    np.testing.assert_array_equal(again.search.told, 100)
    assert rows_of(tmp_path)["node"].to_pylist() == list(range(len(again.search.tree)))


def test_a_search_that_ended_is_found_as_it_ended(tmp_path):
    first, _ = begun(tmp_path)
    go_on(first, executor())
    again, _ = begun(tmp_path)
    go_on(again, executor())
    assert len(again.search.tree) == len(first.search.tree)
    np.testing.assert_array_equal(again.search.samples()[1].weights, first.search.samples()[1].weights)
    assert rows_of(tmp_path).num_rows == len(first.search.tree)


def test_a_search_that_failed_is_saved_with_what_was_told(tmp_path):
    def broken(samples, problem):
        if first.search.simulations >= 50:
            raise ValueError("cannot score this")
        return samples.sum(1).astype(float)

    first, _ = begun(tmp_path)
    with pytest.raises(RolloutFailed):
        go_on(first, executor(FunctionReward(broken)), tolerance=Tolerance(0, 0.0))
    again, _ = begun(tmp_path)
    assert again.search.simulations == first.search.simulations >= 50
    assert again.search.failures == first.search.failures != []


def test_tickets_open_at_a_checkpoint_are_asked_anew(tmp_path):
    first, checkpoints = begun(tmp_path)
    first.search.ask(17)
    checkpoints.save(first.search.state(), {"recorder": first.recorder.checkpoint_facts(first.search)})
    again, _ = begun(tmp_path)
    assert len(again.search.open_tickets()) == 0
    assert again.search.forgotten.sum() == 17
    go_on(again, executor())
    np.testing.assert_array_equal(again.search.told, 100)


def test_a_resumed_search_keeps_count_of_time_and_rates_of_its_own(tmp_path):
    first, _ = begun(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        go_on(first, executor(), stop_at(150))
    again, _ = begun(tmp_path)
    done, seconds = again.search.simulations, again.recorder.seconds
    assert seconds == pytest.approx(first.recorder.seconds)
    seen = []

    class Watch:
        def after_batch(self, search, stats):
            seen.append(stats)
            rewards = search.sample_store.rewards()[1]
            assert (stats.mean_reward, stats.best_reward) == (pytest.approx(rewards.mean()), rewards.max())

    go_on(again, executor(), Watch())
    assert seen[0].simulations == done + 10
    for stats in seen:
        assert stats.rollouts_per_second == pytest.approx((stats.simulations - done) / (stats.seconds - seconds))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["simulations"] == done
    assert lines[-1]["simulations"] == 200
    assert lines[-1]["seconds"] >= seconds


def test_checkpoints_are_saved_on_the_way_when_due(tmp_path):
    first, _ = begun(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        go_on(first, executor(), stop_at(70))
    times = CheckpointTimes(every_simulations=40, every_seconds=None, clock=lambda: 0.0)
    again, checkpoints = begun(tmp_path, times)
    at, save = [again.search.simulations], checkpoints.save

    def noted(state, facts=None):
        at.append(int(state.arrays["count.told"].sum()))
        save(state, facts)

    checkpoints.save = noted
    go_on(again, executor())
    assert len(at) == 5
    assert all(40 <= passed < 55 for passed in np.diff(at[:4]))
    assert at[-1] == 200


def test_a_search_without_checkpoints_is_recorded_all_the_same(tmp_path):
    first = begin_or_resume(fresh(), tmp_path, "dts")
    go_on(first, executor())
    assert rows_of(tmp_path).num_rows == len(first.search.tree)


def test_another_search_is_refused_at_the_place_of_a_checkpoint(tmp_path):
    begun(tmp_path)
    with pytest.raises(ValueError, match="n_rollouts is 100, here it is 300"):
        begun(tmp_path, n_rollouts=300)


def test_trajectories_of_another_search_are_neither_continued_nor_removed(tmp_path):
    first = begin_or_resume(fresh(), tmp_path, "dts")
    go_on(first, executor())
    for _ in range(2):
        with pytest.raises(ValueError, match="another search"):
            begun(tmp_path)
    assert rows_of(tmp_path).num_rows == len(first.search.tree)


def test_a_checkpoint_on_the_way_that_cannot_be_written_does_not_end_the_search(tmp_path):
    first, checkpoints = begun(tmp_path, CheckpointTimes(every_simulations=50))
    save, fails = checkpoints.save, [True]

    def failing(state, facts=None):
        if fails:
            fails.pop()
            raise OSError("the network is down")
        save(state, facts)

    checkpoints.save = failing
    with pytest.warns(UserWarning, match="the network is down; the search goes on"):
        go_on(first, executor())
    assert Search.restored(checkpoints.latest()[0]).simulations == 200


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(tmp_path):
    first, checkpoints = begun(tmp_path)

    def failing(state, facts=None):
        raise OSError("the disk is full")

    checkpoints.save = failing
    with pytest.raises(OSError, match="the disk is full"):
        go_on(first, executor())


class Gauged(SerialExecutor):
    asked = 0

    def gauges(self):
        self.asked += 1
        return {"workers": 3.0}


def test_the_gauges_of_the_executor_are_in_the_metrics_and_asked_for_once_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "GAUGES_EVERY", 0.0)
    first = begin_or_resume(fresh(), tmp_path, "dts")
    gauged = Gauged(PROCESS, SUM, PROBLEMS, batch_size=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go_on(first, gauged)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("workers") for line in lines] == gauged.asked * [3.0]
    assert len(lines) > 10
