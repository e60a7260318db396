"""A search that is recorded and saved: begun, ended in any way, resumed."""

import json
import warnings

import numpy as np
import pytest

from sadt_ray.checkpoint import Checkpoints, CheckpointTimes
from sadt_ray.config import SearchConfig
from sadt_ray.executor import RolloutFailed, SerialExecutor, Tolerance
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recorded import begin_or_resume, run_recorded
from sadt_ray.trajectories import read_trajectories
from sadt_ray.tree.search import Search

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
SUM = FunctionReward(lambda samples, problem: samples.sum(1).astype(float))


def fresh(n_rollouts=100):
    roots = PROCESS.bind(PROBLEMS).root_states()
    return Search(SearchConfig(n_rollouts=n_rollouts), ["a", "b"], roots, PROCESS.num_levels)


def begun(run, **settings):
    checkpoints = Checkpoints(run / "checkpoints")
    return *begin_or_resume(fresh(**settings), run, "dts", checkpoints), checkpoints


def executor(reward=SUM):
    return SerialExecutor(PROCESS, reward, PROBLEMS, batch_size=10)


def stop_at(simulations, error=KeyboardInterrupt):
    def on_progress(progress, search):
        assert progress.simulations == search.simulations
        if progress.simulations >= simulations:
            raise error

    return on_progress


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_search_stopped_between_two_batches_is_saved_and_goes_on_to_its_budget(tmp_path, error):
    search, recorder, checkpoints = begun(tmp_path)
    with pytest.raises(error):
        run_recorded(search, executor(), recorder, checkpoints, on_progress=stop_at(70, error))
    again, recorder, checkpoints = begun(tmp_path)
    assert again.simulations == search.simulations >= 70
    run_recorded(again, executor(), recorder, checkpoints)
    np.testing.assert_array_equal(again.told, 100)
    assert read_trajectories(tmp_path / "trajectories" / "dts")["node"].to_pylist() == list(range(len(again.tree)))


def test_a_search_that_ended_is_found_as_it_ended(tmp_path):
    search, recorder, checkpoints = begun(tmp_path)
    run_recorded(search, executor(), recorder, checkpoints)
    again, recorder, checkpoints = begun(tmp_path)
    run_recorded(again, executor(), recorder, checkpoints)
    assert len(again.tree) == len(search.tree)
    np.testing.assert_array_equal(again.samples()[1].weights, search.samples()[1].weights)
    assert read_trajectories(tmp_path / "trajectories" / "dts").num_rows == len(search.tree)


def test_a_search_that_failed_is_saved_with_what_was_told(tmp_path):
    def broken(samples, problem):
        if search.simulations >= 50:
            raise ValueError("cannot score this")
        return samples.sum(1).astype(float)

    search, recorder, checkpoints = begun(tmp_path)
    with pytest.raises(RolloutFailed):
        run_recorded(search, executor(FunctionReward(broken)), recorder, checkpoints, tolerance=Tolerance(0, 0.0))
    again, _, _ = begun(tmp_path)
    assert again.simulations == search.simulations >= 50
    assert again.failures == search.failures != []


def test_tickets_open_at_a_checkpoint_are_asked_anew(tmp_path):
    search, recorder, checkpoints = begun(tmp_path)
    search.ask(17)
    checkpoints.save(search.state(), {"recorder": recorder.checkpoint_facts(search)})
    again, recorder, checkpoints = begun(tmp_path)
    assert len(again.open_tickets()) == 0
    assert again.forgotten.sum() == 17
    run_recorded(again, executor(), recorder, checkpoints)
    np.testing.assert_array_equal(again.told, 100)


def test_a_resumed_search_keeps_count_of_time_and_rates_of_its_own(tmp_path):
    search, recorder, checkpoints = begun(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_recorded(search, executor(), recorder, checkpoints, on_progress=stop_at(150))
    before = recorder.seconds
    again, recorder, checkpoints = begun(tmp_path)
    assert before - 0.1 < recorder.seconds < before + 60
    done, seconds = again.simulations, recorder.seconds
    progress = recorder(again)
    assert progress.simulations == done
    assert progress.rollouts_per_second == 0
    assert (progress.mean_reward, progress.best_reward) == (
        pytest.approx(again.sample_store.rewards()[1].mean()),
        again.sample_store.rewards()[1].max(),
    )
    run_recorded(again, executor(), recorder, checkpoints)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["simulations"] == done
    assert lines[-1]["simulations"] == 200
    assert lines[-1]["seconds"] >= seconds
    assert lines[-1]["rollouts_per_second"] < 50 / (lines[-1]["seconds"] - before)


def test_checkpoints_are_saved_on_the_way_when_due(tmp_path):
    search, recorder, checkpoints = begun(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_recorded(search, executor(), recorder, checkpoints, on_progress=stop_at(70))
    search, recorder, checkpoints = begun(tmp_path)
    at, save = [search.simulations], checkpoints.save

    def noted(state, facts=None):
        at.append(int(state.arrays["count.told"].sum()))
        save(state, facts)

    checkpoints.save = noted
    times = CheckpointTimes(every_simulations=40, every_seconds=None, clock=lambda: 0.0)
    run_recorded(search, executor(), recorder, checkpoints, times)
    assert len(at) == 5
    assert all(40 <= passed < 55 for passed in np.diff(at[:4]))
    assert at[-1] == 200


def test_a_search_without_checkpoints_is_recorded_all_the_same(tmp_path):
    search, recorder = begin_or_resume(fresh(), tmp_path, "dts")
    run_recorded(search, executor(), recorder)
    assert read_trajectories(tmp_path / "trajectories" / "dts").num_rows == len(search.tree)


def test_another_search_is_refused_at_the_place_of_a_checkpoint(tmp_path):
    begun(tmp_path)
    with pytest.raises(ValueError, match="n_rollouts is 100, here it is 300"):
        begun(tmp_path, n_rollouts=300)


def test_trajectories_of_another_search_are_neither_continued_nor_removed(tmp_path):
    search, recorder = begin_or_resume(fresh(), tmp_path, "dts")
    run_recorded(search, executor(), recorder)
    for _ in range(2):
        with pytest.raises(ValueError, match="another search"):
            begun(tmp_path)
    assert read_trajectories(tmp_path / "trajectories" / "dts").num_rows == len(search.tree)


def test_a_checkpoint_on_the_way_that_cannot_be_written_does_not_end_the_search(tmp_path):
    search, recorder, checkpoints = begun(tmp_path)
    save, fails = checkpoints.save, [True]

    def failing(state, facts=None):
        if fails:
            fails.pop()
            raise OSError("the network is down")
        save(state, facts)

    checkpoints.save = failing
    with pytest.warns(UserWarning, match="the network is down; the search goes on"):
        run_recorded(search, executor(), recorder, checkpoints, CheckpointTimes(every_simulations=50))
    assert Search.restored(checkpoints.latest()[0]).simulations == 200


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(tmp_path):
    search, recorder, checkpoints = begun(tmp_path)

    def failing(state, facts=None):
        raise OSError("the disk is full")

    checkpoints.save = failing
    with pytest.raises(OSError, match="the disk is full"):
        run_recorded(search, executor(), recorder, checkpoints)


class Gauged(SerialExecutor):
    asked = 0

    def gauges(self):
        self.asked += 1
        return {"workers": 3.0}


def test_the_gauges_of_the_executor_are_in_the_metrics_and_asked_for_once_a_line(tmp_path):
    search, recorder = begin_or_resume(fresh(), tmp_path, "dts")
    recorder._seconds_between = 0.0
    gauged = Gauged(PROCESS, SUM, PROBLEMS, batch_size=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_recorded(search, gauged, recorder)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("workers") for line in lines] == gauged.asked * [3.0]
    assert len(lines) > 10
