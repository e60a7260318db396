"""A flow knows of which prior it was learned: by the weights' fingerprint, or by names where it has none."""

import copy

import torch
from smc_worlds import ChainWorld

from sadt_ray.flow.flow import Flow
from sadt_ray.flow.network import FlowConfig, FlowNetwork
from sadt_ray.flow.shipped import WEIGHTS
from sadt_ray.forecasting import ForecastSettings, ForecastTask, flow_notes, process_facts
from sadt_ray.methods import sadt, snis
from sadt_ray.processes.diffusion import DiffusionProcess
from sadt_ray.processes.fingerprint import prior_fingerprint
from sadt_ray.processes.pretrained import load_pretrained
from sadt_ray.rewards.combine import WeightedSum

PRIOR = load_pretrained()
SETTINGS = ForecastSettings()


def notes_of(methods, flow, searched=PRIOR):
    return flow_notes(ForecastTask(searched, [], WeightedSum(), methods, flow, [], SETTINGS))


def other_prior():
    denoiser = copy.deepcopy(PRIOR.denoiser)
    with torch.no_grad():
        denoiser.output.bias[3] += 1e-6
    return DiffusionProcess(denoiser, PRIOR.sampler)


def notes_with(searched, **facts):
    flow = Flow.of(FlowNetwork(FlowConfig(num_positions=18, num_features=4, look_ahead=True)), facts=facts)
    return notes_of([sadt(n_rollouts=10), snis(n_rollouts=10)], flow, searched)


def warned(notes):
    return any("was learned for another prior" in note for note in notes)


def test_a_fingerprint_is_of_weights_and_sampler_and_not_of_branch_levels():
    ours = prior_fingerprint(PRIOR)
    assert len(ours) == 32
    assert prior_fingerprint(load_pretrained(branch_steps="late")) == ours
    assert prior_fingerprint(other_prior()) != ours
    assert prior_fingerprint(PRIOR.with_sampler(num_steps=8)) != ours
    assert prior_fingerprint(ChainWorld().process) == ""


def test_a_flow_of_other_weights_is_named_and_one_of_the_same_is_not():
    assert not warned(notes_with(PRIOR, prior=prior_fingerprint(PRIOR)))
    assert warned(notes_with(other_prior(), prior=prior_fingerprint(PRIOR)))
    assert not warned(notes_with(other_prior(), prior=prior_fingerprint(other_prior()), process="by another name"))


def test_a_flow_without_a_fingerprint_is_known_by_the_names_of_its_prior():
    assert not warned(notes_with(PRIOR))
    assert not warned(notes_with(PRIOR, process=process_facts(SETTINGS, PRIOR)))
    assert warned(notes_with(PRIOR, process=process_facts(SETTINGS, PRIOR).replace("shipped", "mine.safetensors")))


def test_the_flow_that_ships_is_for_the_prior_that_ships():
    flow = Flow.load(WEIGHTS / "flow_etth1.safetensors")
    assert not warned(notes_of([sadt(n_rollouts=10)], flow))
    assert notes_of([snis(n_rollouts=10)], flow) == []


def test_without_a_flow_there_is_nothing_to_compare():
    assert not warned(notes_of([sadt(n_rollouts=10)], None))
