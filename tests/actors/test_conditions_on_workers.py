"""A search under a condition on Ray workers is the search of this process."""

import numpy as np

from actors.executor import RayExecutor
from actors.pacing import BatchSize
from actors.rollout_worker import start_workers
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.plan import plan_search
from sadt_ray.engine.serial import start_search
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.methods import sadt

FORECAST = Forecast.from_quantiles(
    np.outer(np.linspace(90, 110, 12), [0.8, 1.0, 1.3]), [0.1, 0.5, 0.9], names="load", correlation=0.9
)
REWARD = ConditionReward("max > 210 and mean > 120", horizon=12)
METHOD = sadt(n_rollouts=96, particles=24, guidance_scale=1.0, branch_steps="none", seed=3)


def test_conditions_come_to_the_same_bits_on_a_worker(cluster):
    process, problems = FORECAST.process(num_steps=6), FORECAST.problems()
    here, executor = start_search(process, problems, REWARD, METHOD, batch_size=1)
    run_search(here, executor)
    plan = plan_search(process, problems, METHOD)
    (worker,) = start_workers(1, process, REWARD, problems, num_cpus=1)
    there = plan.begin()
    run_search(there, RayExecutor([worker], plan.rollout_spec, BatchSize(1, 1)))
    worker.end()
    ((mine,), (theirs,)) = here.samples(METHOD.search), there.samples(METHOD.search)
    assert mine.log_z == theirs.log_z
    assert mine.starts > 5
    order, other = np.argsort(mine.samples[:, 0]), np.argsort(theirs.samples[:, 0])
    np.testing.assert_array_equal(mine.samples[order], theirs.samples[other])
    np.testing.assert_array_equal(here.nfe, there.nfe)
