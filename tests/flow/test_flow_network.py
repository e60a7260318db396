"""The network: the base at first, frequencies alike, a file that says what it is for."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.network import FlowConfig, FlowNetwork
from sadt_ray.interfaces import Problem
from sadt_ray.rewards.combine import WeightedSum
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.rewards.spectral import SpectralReward

GROUPED = FlowConfig(num_features=9, num_positions=5, look_ahead=True, hidden=8, depth=1, groups=4)


def inputs(count=6, num_features=9):
    rng = np.random.default_rng(0)
    features, base = torch.from_numpy(rng.normal(size=(count, num_features))).float(), torch.linspace(-1, 0, count)
    return features, base, torch.arange(count) % 5, torch.full((count,), 20.0)


def perturbed(config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = FlowNetwork(config)
        for parameter in network.parameters():
            parameter.data.normal_(0, 0.5)
    return network


@pytest.mark.parametrize("config", [GROUPED, dataclasses.replace(GROUPED, groups=0)])
def test_a_new_network_is_the_base_at_every_inverse_temperature(config):
    features, base, position, lam = inputs()
    assert torch.allclose(FlowNetwork(config)(features, base, position, lam), lam * base)
    assert not torch.allclose(perturbed(config)(features, base, position, lam), lam * base, atol=0.1)


def test_what_frequencies_say_is_added_up():
    """With one embedding for all and nothing else looked at, it does not matter which frequency says what."""
    network = perturbed(GROUPED)
    network.input.weight.data.zero_()
    network.groups.frequency.weight.data[:] = network.groups.frequency.weight.data[:1]
    features, base, position, lam = inputs()
    swapped = features[:, [2, 0, 3, 1, 6, 4, 7, 5, 8]]
    value = network(features, base, position, lam)
    assert torch.allclose(value, network(swapped, base, position, lam), atol=1e-4)
    assert not torch.allclose(value, network(features[:, [2, 0, 3, 1, 4, 5, 6, 7, 8]], base, position, lam), atol=1e-2)


def test_a_file_keeps_the_frequencies_and_one_written_before_there_were_any_is_read(tmp_path):
    network = perturbed(GROUPED)
    Flow.of(network, 3).save(tmp_path / "new.safetensors")
    again = Flow.load(tmp_path / "new.safetensors")
    assert again.config == GROUPED
    assert torch.equal(again.network()(*inputs()), network(*inputs()))
    about = dataclasses.asdict(dataclasses.replace(GROUPED, groups=0))
    del about["groups"]
    assert FlowConfig(**json.loads(json.dumps(about))).groups == 0


@pytest.mark.parametrize(("settings", "message"), [({"groups": 5}, "need 10 features"), ({"groups": -1}, "groups")])
def test_groups_need_two_features_each(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(GROUPED, **settings)


def test_multiply_adds_are_those_of_the_matrices():
    for config in (GROUPED, dataclasses.replace(GROUPED, groups=0)):
        network, total = FlowNetwork(config), 0
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Linear) and "inv_temperature" not in name:
                of_frequency = name in ("groups.input", "groups.layer")
                total += module.weight.numel() * (config.groups if of_frequency else 1)
        assert network.multiply_adds == pytest.approx(total, rel=0.1)


def test_in_a_sum_of_rewards_the_frequencies_come_first():
    context = np.sin(np.arange(96.0))
    problem = Problem("a", context)
    total = WeightedSum((2.0, FunctionReward(lambda x, p: np.zeros(len(x)))), (1.0, SpectralReward()))
    alone = SpectralReward().bind([problem])
    scorer = total.bind([problem])
    assert scorer.feature_groups == alone.feature_groups == 25
    residuals = np.random.default_rng(0).normal(size=(1, 16, 96))
    clean, row = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 96))), np.zeros(3, int)
    ours = scorer.look_ahead(lambda at: residuals, 3, 1.0)(clean, 1, row).features
    theirs = alone.look_ahead(lambda at: residuals, 3, 1.0)(clean, 1, row).features
    assert torch.equal(ours[:, :50], theirs)
    assert ours.shape[1] == 51
    without = WeightedSum((2.0, FunctionReward(lambda x, p: np.zeros(len(x))))).bind([problem])
    assert without.feature_groups == 0
