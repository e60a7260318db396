"""The flow that ships is the one for the shipped prior and the default search, and for no other."""

import pytest

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.shipped import WEIGHTS, shipped_flow

REWARD = Flow.load(WEIGHTS / "flow_etth1.safetensors").facts["reward"]


def test_it_is_found_for_its_reward_and_the_lambdas_that_it_knows():
    flow = shipped_flow("ETTh1", REWARD, 50.0)
    assert flow is not None
    assert flow.config.look_ahead


@pytest.mark.parametrize(
    ("dataset", "reward", "lam"), [("other", REWARD, 50.0), ("ETTh1", "another", 50.0), ("ETTh1", REWARD, 500.0)]
)
def test_it_is_not_taken_for_anything_else(dataset, reward, lam):
    assert shipped_flow(dataset, reward, lam) is None


def test_the_default_search_has_the_reward_that_it_was_trained_for():
    from jobs.forecasting import build_reward
    from jobs.search_job import SearchJob

    job = SearchJob()
    reward = build_reward(job.reward, job.spectral_weight, job.resolved_inv_temperature())
    assert repr(reward) == REWARD
