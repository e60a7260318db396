"""A session inside a placement group, as a trial of a sweep opens one: all that it starts has its place in there."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ray import cloudpickle

from sadt_ray.engine.plan import plan_search
from sadt_ray.interfaces import Problem
from sadt_ray.methods import snis
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have this file

PROBLEMS = [Problem("a", np.zeros(0))]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)


def total(samples, problem):
    return samples.sum(1).astype(float)


class Driver:
    """What runs a search in a process that the cluster has started."""

    def search(self):
        from actors.cluster import connect, disconnect
        from actors.session import RaySession, WorkerSpec
        from actors.tree_owner import BatchPolicy
        from sadt_ray.runs.recording import Recording

        resources, run = connect(None), Path(tempfile.mkdtemp())
        worker_spec, batch_policy = WorkerSpec(2), BatchPolicy(8, fixed=True)
        reward = FunctionReward(total)
        with RaySession(PROCESS, reward, PROBLEMS, worker_spec, Recording(run), batch_policy, resources) as session:
            ended = session.search(plan_search(PROCESS, PROBLEMS, snis(n_rollouts=100)))
        disconnect()
        return int(ended.search.told[0])

    def still_there(self):
        return True


@pytest.mark.timeout(60)
def test_workers_take_the_places_of_their_group_and_the_process_stays_in_its_cluster(cluster):
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([{"CPU": 2}, {"CPU": 1}, {"CPU": 1}])  # all that there is: outside of it nothing can start
    cluster.get(group.ready(), timeout=30)
    inside = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    driver = cluster.remote(Driver).options(num_cpus=0, scheduling_strategy=inside).remote()
    try:
        assert cluster.get(driver.search.remote(), timeout=50) == 100
        assert cluster.get(driver.still_there.remote(), timeout=5)
    finally:
        cluster.kill(driver)
        remove_placement_group(group)
