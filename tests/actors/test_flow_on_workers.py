"""Weights of a flow on real Ray workers: with the next call, whatever dies; nodes of the tree are looked at again."""

import os
import sys

import numpy as np
import pytest
import torch
from observing import Calls
from ray import cloudpickle

from actors.executor import RayExecutor
from actors.pacing import BatchSize
from actors.rollout_worker import start_workers
from sadt_ray.config import SearchConfig
from sadt_ray.engine.executor import NodeStates
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.network import FlowConfig, FlowNetwork
from sadt_ray.interfaces import Problem
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rollout.spec import RolloutSpec
from sadt_ray.smc.config import SMCConfig
from sadt_ray.tree.search import Search

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have this file

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
LAM = 2.0
ROLLING = RolloutSpec("published", SMCConfig(twist="flow"), LAM)


def total(samples, problem):
    return samples.sum(1).astype(float)


SUM = FunctionReward(total)


def flow(version):
    """Weights that differ from version to version."""
    with torch.random.fork_rng():
        torch.manual_seed(version)
        network = FlowNetwork(FlowConfig(12, 5, look_ahead=False))
        torch.nn.init.normal_(network.output.weight, std=0.1)
    return Flow.of(network, version)


class Watched(RayExecutor):
    """Remembers the version of every batch that came back, and of the weights in use by then."""

    def __init__(self, *args):
        super().__init__(*args)
        self.used, self.newest = [], 0

    def use_flow(self, flow):
        super().use_flow(flow)
        self.newest = flow.version

    def remote(self, index):
        return self._workers[index].remote.actor

    def collect(self):
        finished = super().collect()
        self.used += [(one.results.weights_version, self.newest) for one in finished if one.results is not None]
        return finished


class Enough(Exception):
    """What was waited for has come."""


@pytest.fixture(scope="module")
def executor(cluster):
    """Makes executors over one or both of two workers, which stay, since their processes take seconds to start."""
    workers = start_workers(2, PROCESS, SUM, PROBLEMS, num_cpus=1)
    yield lambda count=1: Watched(workers[:count], ROLLING, BatchSize(8, 8))
    for worker in workers:
        worker.end()


def fresh(n_rollouts=200, **settings):
    chain = PROCESS.bind(PROBLEMS)
    config = SearchConfig(inv_temperature=LAM, n_rollouts=n_rollouts, **settings)
    return Search(config, [p.name for p in PROBLEMS], chain.root_states(), PROCESS.num_levels)


def test_newer_weights_reach_workers_with_the_next_call_and_staleness_is_two_calls_a_worker(executor):
    search, running = fresh(), executor(2)

    def publish(search):
        if search.simulations > 150 * (running.newest + 1) and running.newest < 3:
            running.use_flow(flow(running.newest + 1))

    run_search(search, running, [Calls(publish)])
    assert {used for used, _ in running.used} == {0, 1, 2, 3}
    for version in (1, 2, 3):
        late = [used for used, newest in running.used if newest == version and used < version]
        assert len(late) <= 2 * 2 + 1  # what was in flight when they came, and one batch that a worker had done
    gauges = running.gauges()
    assert gauges["weights_version"] == 3
    assert gauges["weights_behind"] <= 1
    assert gauges["weights_lag"] <= gauges["longest_weights_lag"] < 5


def test_what_workers_roll_out_with_a_flow_is_what_this_process_does(executor):
    remote, local = fresh(alpha=0.5), fresh(alpha=0.5)
    running = executor()
    running.use_flow(flow(4))
    run_search(remote, running)
    run_search(local, SerialExecutor(PROCESS, SUM, PROBLEMS, 8, slots=3, rollout_spec=ROLLING, flow=flow(4)))
    for name in ("parent", "level", "visits", "value", "log_flow"):
        np.testing.assert_array_equal(remote.tree.column(name), local.tree.column(name), err_msg=name)
    assert np.ptp(remote.tree.column("log_flow")) > 0


def test_a_worker_that_was_restarted_has_the_weights_with_its_first_call(executor):
    search, running = fresh(), executor()
    running.use_flow(flow(5))
    killed = []

    def kill(search):
        if search.simulations > 200 and not killed:
            killed.append(running.remote(0).__ray_call__.remote(lambda self: os._exit(1)))

    run_search(search, running, [Calls(kill)])
    np.testing.assert_array_equal(search.told, 200)
    assert killed
    assert {used for used, _ in running.used} == {5}


def test_nodes_of_the_tree_are_looked_at_again_by_the_newest_flow_whatever_dies(executor, monkeypatch):
    monkeypatch.setattr("actors.executor._LOOK_ROWS", 50)
    search, running = fresh(1_000_000, alpha=0.5), executor(2)  # longer than any look takes
    grown = fresh(100, alpha=0.5)
    run_search(grown, SerialExecutor(PROCESS, SUM, PROBLEMS, 8, rollout_spec=ROLLING))
    level = grown.tree.column("level")
    nodes = np.flatnonzero((level > 0) & (level < 4))
    asked = NodeStates(nodes, grown.states.values[nodes], level[nodes], grown.problem_of_nodes()[nodes])
    assert len(nodes) > 200
    local = SerialExecutor(PROCESS, SUM, PROBLEMS, 8, rollout_spec=ROLLING, flow=flow(2))
    local.look_at(asked)
    (looked,) = local.looked_at()
    assert looked.nfe == 0
    newest, found = dict(zip(looked.node.tolist(), looked.log_flow.tolist(), strict=True)), {}

    def look(search):
        if running.newest == 0:
            running.use_flow(flow(1))
            running.look_at(asked)
            running.use_flow(flow(2))
            running.look_at(asked)
            running.remote(0).__ray_call__.remote(lambda self: os._exit(1))
        for looked in running.looked_at():
            found.update(zip(looked.node.tolist(), looked.log_flow.tolist(), strict=True))
        if found == pytest.approx(newest, abs=1e-5):
            raise Enough

    with pytest.raises(Enough):
        run_search(search, running, [Calls(look)])
