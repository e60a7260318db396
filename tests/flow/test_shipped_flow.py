"""The flow that ships is the one for the shipped prior and the default search, and for no other."""

import pytest

from sadt_ray import Problem, load_pretrained
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.flow.shipped import shipped_flow
from sadt_ray.forecasting import default_reward

DATA, PRIOR = synthetic_hourly(), load_pretrained()
WINDOW = DATA.problem("test", 0, "channel_0")
REWARD, _ = default_reward(DATA, PRIOR, [WINDOW])
OTHER, _ = default_reward(DATA, PRIOR, [WINDOW], spectral_weight=2.0)


def named(dataset):
    return [Problem(f"{dataset}/test/0000/{channel}", WINDOW.context) for channel in ("OT", "HUFL")]


def test_it_is_found_for_the_prior_the_default_reward_and_the_lambdas_that_it_knows():
    flow = shipped_flow(PRIOR, named("ETTh1"), REWARD, 50.0)
    assert flow is not None
    assert flow.config.look_ahead


@pytest.mark.parametrize(
    ("prior", "dataset", "reward", "lam"),
    [
        (PRIOR, "other", REWARD, 50.0),
        (PRIOR, "ETTh1", OTHER, 50.0),
        (PRIOR, "ETTh1", REWARD, 500.0),
        (PRIOR.with_sampler(num_steps=8), "ETTh1", REWARD, 50.0),
    ],
)
def test_it_is_not_taken_for_anything_else(prior, dataset, reward, lam):
    assert shipped_flow(prior, named(dataset), reward, lam) is None
