"""Rollouts on real Ray workers: the same answer as in one process, and every simulation exactly once whatever dies."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from observing import Calls
from ray import cloudpickle

from actors.executor import RayExecutor, WorkersLost
from actors.pacing import BatchSize, Deadline
from actors.rollout_worker import RemoteWorker, RolloutWorker, start_workers
from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rollout.spec import RolloutSpec
from sadt_ray.tree.search import Search

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have this file

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
N_ROLLOUTS = 200


def total(samples, problem):
    return samples.sum(1).astype(float)


SUM = FunctionReward(total)


def fresh(**settings):
    chain = PROCESS.bind(PROBLEMS)
    config = SearchConfig(n_rollouts=N_ROLLOUTS, **settings)
    return Search(config, [p.name for p in PROBLEMS], chain.root_states(), PROCESS.num_levels)


class Faulty(RolloutWorker):
    """Meets the fault of the test at hand, if there is one, before it rolls out."""

    def __init__(self, process, reward, problems, device):
        super().__init__(process, SUM, problems)
        self.fault = reward.fault

    def run(self, rollout_spec, tickets, flow=None):
        if self.fault.exists():
            cloudpickle.loads(self.fault.read_bytes())(tickets)
        return super().run(rollout_spec, tickets, flow)


@dataclass
class FaultAt:
    """Where the workers read what is to happen to them."""

    fault: Path


@pytest.fixture(scope="module")
def fault_at(tmp_path_factory):
    return FaultAt(tmp_path_factory.mktemp("faults") / "fault")


@pytest.fixture(scope="module")
def pair(cluster, fault_at):
    """Two workers for test after test: their processes take seconds to start."""
    started = start_workers(2, PROCESS, fault_at, PROBLEMS, worker=Faulty, num_cpus=1)
    yield started
    for worker in started:
        worker.end()


@pytest.fixture
def strike(fault_at):
    """Gives the pair a fault: a function of the tickets of a call."""
    yield lambda fault: fault_at.fault.write_bytes(cloudpickle.dumps(fault))
    fault_at.fault.unlink(missing_ok=True)


@pytest.fixture
def workers(cluster):
    """Makes worker actors, and ends them after the test."""
    made = []

    def make(count, reward=SUM, worker=RolloutWorker, **options):
        made.extend(start_workers(count, PROCESS, reward, PROBLEMS, worker=worker, num_cpus=1, **options))
        return made[-count:]

    yield make
    for worker in made:
        worker.end()


def ray_executor(handles, batch_size=16, **options):
    return RayExecutor(handles, RolloutSpec(PROCESS.branch_steps), BatchSize(batch_size, batch_size), **options)


def assert_complete(search):
    """Exactly the asked number of simulations is backed up, none twice, none in flight."""
    np.testing.assert_array_equal(search.told, N_ROLLOUTS)
    np.testing.assert_array_equal(search.tree.column("visits")[: len(PROBLEMS)], N_ROLLOUTS)
    np.testing.assert_array_equal(search.tree.column("in_flight"), 0)
    np.testing.assert_array_equal(search.tree.column("pending"), 0)
    np.testing.assert_array_equal(search.told + search.forgotten, search.asked)
    assert search.ignored_tells == 0


def assert_same_tree(one, other):
    for name in ("parent", "level", "visits", "value"):
        np.testing.assert_array_equal(one.tree.column(name), other.tree.column(name), err_msg=name)
    np.testing.assert_array_equal(one.states.values, other.states.values)


@pytest.mark.parametrize("settings", [{}, {"selection": "uct"}, {"selection_inv_temperature": 0.3}])
def test_one_worker_grows_the_tree_of_the_serial_search_bit_for_bit(pair, settings):
    remote, serial = fresh(**settings), fresh(**settings)
    run_search(remote, executor := ray_executor(pair[:1]))
    run_search(serial, SerialExecutor(PROCESS, SUM, PROBLEMS, 16, slots=executor.slots))
    assert executor.slots == 3
    assert_complete(remote)
    assert_same_tree(remote, serial)


def test_many_workers_agree_with_the_serial_search_in_what_they_estimate(pair):
    """log Z of a reward that is the same wherever simulations go: independent samples, three standard errors."""
    remote = fresh(widen_c=np.inf)
    run_search(remote, both_ready(ray_executor(pair, batch_size=8)))
    assert_complete(remote)
    samples = PROCESS.bind(PROBLEMS)
    every = enumerate_chain(samples)
    for drawn in remote.samples():
        z = np.exp(drawn.rewards)
        assert abs(z.mean() - every) < 4 * z.std() / np.sqrt(len(z))
        assert drawn.log_z == pytest.approx(np.log(z.mean()))


def enumerate_chain(chain):
    """E exp(r) by walking every path."""
    paths = [(chain.root_states()[0], 0, 0.0)]
    while paths[0][1] < PROCESS.num_levels:
        paths = [
            (state, level + 1, log_p + step)
            for parent, level, log_p in paths
            for state, step in zip(*chain.children(parent, level, 0), strict=True)
        ]
    states, _, log_p = zip(*paths, strict=True)
    samples = chain.decode(np.stack(states), np.zeros(len(states), int))
    return float(np.exp(np.array(log_p) + total(samples, None)).sum())


@dataclass(frozen=True)
class At:
    """A fault at some tickets, once at each across restarts."""

    tickets: tuple
    fault: Callable
    marks: Path

    def __call__(self, tickets):
        for ticket in tickets.id:
            if ticket in self.tickets and not (mark := self.marks / str(ticket)).exists():
                mark.touch()
                self.fault()


def die():
    os._exit(1)


def hang():
    time.sleep(1_000)


def run_out_of_memory():
    raise MemoryError("CUDA out of memory")


PATIENT = Deadline(first=240.0, shortest=240.0)


@pytest.mark.parametrize(
    ("fault", "tickets", "deadline"),
    [
        (die, (5, 310), PATIENT),
        (hang, (150, 310), Deadline(first=20.0, shortest=2.0, factor=2.0)),
        (run_out_of_memory, (5, 150, 310, 311), PATIENT),
    ],
)
def test_workers_that_die_hang_or_raise_cost_no_simulation(pair, strike, tmp_path, fault, tickets, deadline):
    search, executor = fresh(), both_ready(ray_executor(pair, deadline=deadline))
    strike(At(tickets, fault, tmp_path))
    run_search(search, executor)
    assert_complete(search)
    assert search.failures == []
    assert {int(mark.name) for mark in tmp_path.iterdir()} == set(tickets)
    lost, times = executor.gauges()["lost_batches"], executor.batch_times()
    assert lost >= len(tickets)
    assert sum(batch.lost for batch in times) == lost
    assert any(batch.restarted for batch in times) == (fault is not run_out_of_memory)
    assert sum(batch.rows for batch in times if not batch.lost) == search.told.sum()
    assert {batch.worker for batch in times} == {0, 1}
    assert all(batch.sent <= batch.began <= batch.finished for batch in times)
    assert executor.batch_times() == []


def both_ready(executor):
    """The executor when both of its workers take part: on a busy machine the second one comes late."""
    while executor.num_ready < 2:
        executor.collect()
    return executor


class Mortal:
    def make(self):
        import ray

        return [ray.put(np.zeros(300_000))]


def lost_object():
    """A reference to what died with its owner."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    owner = ray.remote(Mortal).options(num_cpus=0).remote()
    (lost,) = ray.get(owner.make.remote())
    ray.kill(owner)
    while True:
        try:
            ray.get(lost, timeout=0.2)
        except GetTimeoutError:
            continue
        except RayError:
            return lost


@dataclass(frozen=True)
class LosesObjects(RemoteWorker):
    """Its third reply is lost."""

    replies: list = field(default_factory=list)

    def run(self, rollout_spec, tickets, flow=None):
        self.replies.append(super().run(rollout_spec, tickets, flow))
        return lost_object() if len(self.replies) == 3 else self.replies[-1]


def test_results_that_are_lost_are_rolled_out_again(pair):
    search = fresh()
    executor = ray_executor([LosesObjects(worker.actor, worker.replica) for worker in pair[:1]])
    run_search(search, executor)
    assert_complete(search)
    assert executor.gauges()["lost_batches"] == 1
    assert executor.num_ready == 1  # nobody else is to blame


@dataclass(frozen=True)
class Sick:
    """The first process is of no use after its second call: its device wants a new one."""

    calls: Path

    def __call__(self, tickets):
        with self.calls.open("a") as calls:
            calls.write(f"{os.getpid()} ")
        first, *_ = pids = self.calls.read_text().split()
        if first == str(os.getpid()) and pids.count(first) >= 3:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_worker_that_does_nothing_but_raise_is_restarted(pair, strike, tmp_path):
    search = fresh()
    strike(Sick(tmp_path / "calls"))
    run_search(search, executor := ray_executor(pair[:1]))
    assert_complete(search)
    assert search.failures == []
    assert executor.gauges()["lost_batches"] >= 3
    assert len(set((tmp_path / "calls").read_text().split())) == 2


def cursed(tickets):
    if 42 in tickets.id:
        die()


def test_a_ticket_that_kills_every_worker_is_set_aside_and_reported(pair, strike):
    search = fresh()
    strike(cursed)
    run_search(search, ray_executor(pair))
    assert_complete(search)
    assert [failure.ticket for failure in search.failures] == [42]
    assert "its worker was lost" in search.failures[0].message


class Unloadable(RolloutWorker):
    def __init__(self, process, reward, problems, device):
        raise OSError("weights.safetensors is not here")


def test_workers_that_cannot_load_their_replica_end_the_search_with_the_reason(workers):
    search = fresh()
    with pytest.raises(WorkersLost, match=r"weights\.safetensors is not here"):
        run_search(search, ray_executor(workers(2, worker=Unloadable)))
    assert len(search.open_tickets()) == 0


def test_a_worker_that_joins_late_is_used_at_once(pair, workers):
    late = workers(1, resources={"late": 1})
    search, executor = fresh(), ray_executor(pair[:1] + late)
    seen = []

    def watch(search):
        if search.simulations > 100 and len(seen) == 0:
            seen.append(executor.num_ready)
            seen.append(executor.slots)

    run_search(search, executor, [Calls(watch)])
    assert_complete(search)
    assert seen == [1, 3]


def test_an_interrupted_search_leaves_the_executor_empty_for_the_next_one(pair):
    class Enough(Exception):
        pass

    def stop(search):
        if search.simulations > 50:
            raise Enough

    executor, stopped, whole = ray_executor(pair), fresh(), fresh()
    with pytest.raises(Enough):
        run_search(stopped, executor, [Calls(stop)])
    run_search(whole, executor)
    assert_complete(whole)
