"""A search as the driver sees it: workers and an owner on Ray, which may be killed at any moment."""

import dataclasses
import os
import signal
import sys
import time
import urllib.request

import numpy as np
import pyarrow.compute as pc
import pytest
from ray import cloudpickle

from actors.executor import WorkersLost
from actors.pacing import Deadline
from actors.session import OwnerLost, RaySession, WorkerSpec
from actors.tree_owner import BatchPolicy, TreeOwner
from sadt_ray.engine.loop import Tolerance
from sadt_ray.engine.plan import plan_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem
from sadt_ray.methods import dts, snis
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recording import Recording, SearchFailed, run_recorded
from sadt_ray.trajectories import read_trajectories

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have this file

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
RESOURCES = {"CPU": 4.0}


class Slow:
    """The sum of tokens after 5 ms; NaN for problem b while a file is there."""

    def __init__(self, run):
        self.broken = run / "broken"

    def __call__(self, samples, problem):
        time.sleep(0.005)
        if problem.name == "b" and self.broken.exists():
            return np.full(len(samples), np.nan)
        return total(samples, problem)


def total(samples, problem):
    return samples.sum(1).astype(float)


def new_session(run, score, num_workers, **recording):
    files, batch_policy = Recording(run, str(run / "checkpoints"), **recording), BatchPolicy(8, fixed=True)
    reward, workers = FunctionReward(score), WorkerSpec(num_workers)
    return RaySession(PROCESS, reward, PROBLEMS, workers, files, batch_policy, RESOURCES, None, Deadline(60))


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    """The run of ``shared`` and ``alone``. Each test searches under a name of its own."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def shared(cluster, run_directory):
    """One session of two workers for test after test, whatever is killed: its processes take seconds to start."""
    saved = {"every_seconds": None, "every_simulations": 40}
    with new_session(run_directory, Slow(run_directory), 2, tolerance=Tolerance(3), **saved) as session:
        yield session


@pytest.fixture(scope="module")
def alone(cluster, run_directory):
    """Another session on the same run, of one worker."""
    with new_session(run_directory, Slow(run_directory), 1) as session:
        yield session


@pytest.fixture
def open_session(cluster, tmp_path):
    """Opens sessions that do not outlive the test."""
    opened = []

    def make(score=total, **recording):
        opened.append(new_session(tmp_path, score, 1, **recording))
        return opened[-1]

    yield make
    for session in opened:
        session.__exit__(None, None, None)


def plan(n_rollouts=200, method=dts, name=None):
    made = plan_search(PROCESS, PROBLEMS, method(n_rollouts=n_rollouts))
    return made if name is None else dataclasses.replace(made, name=name)


def assert_complete(ended, n_rollouts):
    search = ended.search
    np.testing.assert_array_equal(search.told, n_rollouts)
    np.testing.assert_array_equal(search.tree.column("visits")[: len(PROBLEMS)], n_rollouts)
    np.testing.assert_array_equal(search.tree.column("in_flight"), 0)
    np.testing.assert_array_equal(search.told + search.forgotten, search.asked)
    assert ended.error is None


def test_one_worker_gives_the_tree_that_this_process_gives_bit_for_bit(alone, tmp_path):
    remote = alone.search(plan(name="bit for bit")).search
    executor = SerialExecutor(PROCESS, FunctionReward(total), PROBLEMS, 8, slots=3)
    local = run_recorded(plan(), executor, Recording(tmp_path / "local")).search
    for name in ("parent", "level", "visits", "value"):
        np.testing.assert_array_equal(remote.tree.column(name), local.tree.column(name))
    for one, other in zip(remote.samples(), local.samples(), strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


def test_a_session_runs_one_search_after_the_other_and_leaves_records_of_each(shared, run_directory):
    looks = []
    assert_complete(shared.search(plan(), looks.append), 200)
    assert_complete(shared.search(plan(50, snis)), 50)
    rows = read_trajectories(run_directory / "trajectories" / "dts")
    ended = shared.search(plan())  # resumed from its last checkpoint: nothing is left to do
    assert_complete(ended, 200)
    assert rows["node"].to_pylist() == list(range(len(ended.search.tree)))
    assert pc.sum(pc.is_valid(rows["reward"])).as_py() == len(ended.search.sample_store)


def test_an_owner_killed_twice_goes_on_from_its_checkpoint_to_the_same_number(shared, cluster, run_directory):
    restarts, kills = shared.owner_restarts, []

    def kill_at(look):
        done = look.simulations
        if len(kills) < 2 and done > 150 * (len(kills) + 1):
            pid = cluster.get(shared.owner.__ray_call__.remote(lambda self: os.getpid()))
            os.kill(pid, signal.SIGKILL)
            kills.append(done)

    ended = shared.search(plan(300, name="owner killed"), kill_at)
    assert_complete(ended, 300)
    assert shared.owner_restarts - restarts == len(kills) == 2
    rows = read_trajectories(run_directory / "trajectories" / "owner killed")
    assert rows["node"].to_pylist() == list(range(len(ended.search.tree)))
    assert rows["parent"].to_pylist() == ended.search.tree.column("parent").tolist()


def test_workers_killed_from_outside_cost_no_simulation(shared):
    kills = []

    def kill_at(look):
        if len(kills) < 3 and look.simulations > 100 * (len(kills) + 1):
            actor = shared.workers[len(kills) % 2].actor
            kills.append(actor)
            actor.__ray_call__.remote(lambda self: os._exit(1))

    ended = shared.search(plan(300, name="workers killed"), kill_at)
    assert len(kills) == 3
    assert_complete(ended, 300)
    assert ended.search.failures == []


class Enough(Exception):
    pass


def test_what_a_look_raises_stops_the_search_and_another_session_finishes_it(shared, alone):
    def stop(look):
        if look.simulations > 100:
            raise Enough

    ended = shared.search(plan(300, name="stopped"), stop)
    assert isinstance(ended.error, Enough)
    assert 100 < ended.search.simulations < 900
    assert len(ended.search.open_tickets()) == 0
    assert_complete(alone.search(plan(300, name="stopped")), 300)


def test_a_session_that_was_stopped_once_searches_on(shared):
    def stop(look):
        raise Enough

    assert isinstance(shared.search(plan(5_000, name="stopped at once"), stop).error, Enough)
    assert_complete(shared.search(plan(100, snis, name="after that")), 100)


def metrics_of(port):
    """The search's gauges on the metrics page of the node, by name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    mine = [line for line in lines if line.startswith("ray_sadt_") and 'method="watched"' in line]
    return {line.partition("{")[0].removeprefix("ray_sadt_"): float(line.rpartition(" ")[2]) for line in mine}


def test_the_metrics_of_ray_show_a_search_while_it_runs(shared, cluster):
    seen = {}

    def watch(look):
        seen.update(metrics_of(cluster.nodes()[0]["MetricsExportPort"]))
        both_at_work = seen.get("workers") == 2 and seen.get("in_flight") in (32, 40) and seen.get("utilisation", 0) > 0
        if seen.get("simulations", 0) > 0 and both_at_work:  # on a busy machine one worker may be there long before
            raise Enough

    assert isinstance(shared.search(plan(20_000, name="watched"), watch).error, Enough)
    assert seen["simulations"] > 0
    assert (seen["workers"], seen["batch_size"]) == (2, 8)
    assert seen["in_flight"] in (32, 40)  # two batches a worker, and one that waits
    assert 0 < seen["utilisation"] <= 1
    assert {
        "nfe_per_second",
        "queue_depth",
        "batch_fill",
        "staleness",
        "lost_batches",
        "set_aside",
        "nodes",
    } <= seen.keys()


def test_an_owner_that_hangs_does_not_keep_whoever_wants_to_stop(alone, cluster, monkeypatch):
    monkeypatch.setattr("actors.session._STOP_WITHIN", 1.0)
    owner = cluster.get(alone.owner.__ray_call__.remote(lambda self: os.getpid()))
    looks = []

    def hang(look):
        looks.append(look)
        os.kill(owner, signal.SIGSTOP)

    def stop():
        if looks:
            raise Enough

    with pytest.raises(Enough):
        alone.search(plan(10_000, name="hangs"), hang, stop)
    os.kill(owner, signal.SIGCONT)
    assert_complete(alone.search(plan(100, snis, name="after it hung")), 100)


def test_a_reward_that_fails_ends_the_search_with_what_was_told(shared, run_directory):
    (run_directory / "broken").touch()
    ended = shared.search(plan(name="broken"))
    (run_directory / "broken").unlink()
    assert isinstance(ended.error, SearchFailed)
    assert "problem 'b'" in str(ended.error)
    assert ended.search.told[0] > 0 == ended.search.told[1]


def test_a_checkpoint_of_another_search_is_refused(shared):
    shared.search(plan(50, name="another"))
    with pytest.raises(ValueError, match=r"^[^\n]*n_rollouts[^\n]*$"):
        shared.search(plan(60, name="another"))


@pytest.mark.slow
def test_an_owner_that_dies_at_once_again_and_again_is_given_up(open_session, monkeypatch):
    session = open_session()

    class Fragile(TreeOwner):
        def search(self, plan, workers, flow, learner):
            os._exit(1)

    import ray

    session.owner = ray.remote(Fragile).options(max_restarts=-1).remote(None, None)
    with pytest.raises(OwnerLost, match="died 3 times at 0 simulations"):
        session.search(plan())


class KillsWhoLoadsIt:
    def __call__(self, samples, problem):
        return total(samples, problem)

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_workers_that_die_whenever_they_load_their_replica_are_given_up_with_the_reason(open_session):
    session = open_session(KillsWhoLoadsIt())
    with pytest.raises(WorkersLost, match="died 3 times while it loaded the process and the reward"):
        session.wait_for_workers()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
        ({"cpus": 0, "gpus": 0}, "must take some CPU or GPU"),
        ({"cpus": -1, "gpus": 1}, "must take some CPU or GPU"),
    ],
)
def test_a_crew_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        WorkerSpec(**settings)


def test_the_crew_fills_the_cluster_and_says_when_there_is_no_room():
    assert WorkerSpec().size({"CPU": 5.0}) == 5
    assert WorkerSpec(cpus=2).size({"CPU": 5.0}) == 2
    assert WorkerSpec(gpus=0.25).size({"CPU": 64.0, "GPU": 2.0}) == 8
    assert WorkerSpec().size({"CPU": 64.0}, useful=6) == 6
    assert WorkerSpec().size({"CPU": 64.0}, useful=0) == 1
    assert WorkerSpec(7).size({"CPU": 64.0}, useful=2) == 7
    assert WorkerSpec(7, gpus=1).size({"CPU": 1.0}) == 7
    with pytest.raises(ValueError, match="the cluster has 8 CPU, 0 GPU now; give num_workers"):
        WorkerSpec(gpus=1).size({"CPU": 8.0})


def test_a_cluster_that_cannot_grow_must_have_room_for_a_worker_whatever_their_number():
    assert WorkerSpec(7).size({"CPU": 2.0}, may_grow=False) == 7
    with pytest.raises(ValueError, match="the cluster has 2 CPU, 0 GPU now; let a worker take less"):
        WorkerSpec(1, gpus=1).size({"CPU": 2.0}, may_grow=False)
