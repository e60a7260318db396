"""A learner beside a search on real Ray: its versions reach the search, its death and its errors do not."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest
import torch
from ray import cloudpickle

from actors.session import RaySession, WorkerSpec
from actors.tree_owner import BatchPolicy
from sadt_ray.engine import loop
from sadt_ray.engine.plan import plan_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import Learner, LearnerConfig, LearnerSpec
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.interfaces import Problem
from sadt_ray.methods import method_named
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recording import Recording

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors do not have this file

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
LAM = 2.0
TRAINING = TrainingConfig(
    schedule="constant", batch=64, validate_every=20, min_inv_temperature=1.0, max_inv_temperature=3.0
)
CONFIG = LearnerConfig(TRAINING, slice_steps=10, publish_every=0.2, look_every=0.2, save_every=0.3)


class Paced:
    """The sum of tokens, taking its time until a file is there."""

    def __init__(self, folder):
        self.hurry = str(folder / "hurry")

    def __call__(self, samples, problem):
        if not os.path.exists(self.hurry):
            time.sleep(0.4)
        return samples.sum(1).astype(float)


def plan(n_sweeps):
    sweeps = {"particles": 16, "record_particles": True, "resampling": "siblings-4", "num_candidates": 1}
    method = method_named(
        "sadt", inv_temperature=LAM, branch_steps="published", n_rollouts=16 * n_sweeps, widen_c=2.0, **sweeps
    )
    return plan_search(PROCESS, PROBLEMS, method)


@pytest.fixture
def open_session(cluster, tmp_path):
    """Opens sessions with or without a learner, and closes them after the test."""
    opened = []

    def make(name="run", learner=None, num_workers=1, flow=None):
        run = tmp_path / name
        learning = None if learner is None else LearnerSpec(run, [run], CONFIG, cpus=1, learner=learner)
        reward, files = FunctionReward(Paced(tmp_path)), Recording(run, str(run / "checkpoints"))
        batch_policy, resources = BatchPolicy(8, fixed=True), {"CPU": 4.0}
        opened.append(
            RaySession(
                PROCESS,
                reward,
                PROBLEMS,
                WorkerSpec(num_workers),
                files,
                batch_policy,
                resources,
                flow=flow,
                learning=learning,
            )
        )
        return opened[-1]

    yield make
    for session in opened:
        session.__exit__(None, None, None)


def hurry(tmp_path):
    (tmp_path / "hurry").touch()


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_versions_reach_the_search_which_still_finds_the_truth(open_session, tmp_path):
    session = open_session(learner=Learner, num_workers=2)

    def until_second_version(look):
        if look.gauges.get("weights_version", 0) >= 2:
            hurry(tmp_path)

    ended = session.search(plan(400), until_second_version)
    assert ended.error is None
    np.testing.assert_array_equal(ended.search.told, 400)
    last = metrics(tmp_path / "run")[-1]
    assert last["weights_version"] >= 2
    assert last["weights_behind"] <= 1
    assert last["learner_steps"] > 0
    truth = LAM * PROCESS.soft_values(sum, LAM)[()]
    for drawn in ended.search.samples():
        assert drawn.log_z == pytest.approx(truth, abs=0.1)
    inner = np.flatnonzero(ended.search.tree.column("level") == 2)
    flows = ended.search.tree.column("log_flow")[inner]
    values = PROCESS.soft_values(sum, LAM)
    exact = np.array([LAM * values[tuple(state[:2])] for state in ended.search.states.values[inner]])
    assert np.abs(flows - exact).mean() < 1.0  # nodes that were there before there was a flow are looked at again
    update = session.learned()
    kept = Flow.load(tmp_path / "run" / "flow.safetensors")
    assert update.flow.version == kept.version >= last["weights_version"]
    assert kept.facts["steps"] > 0


def test_a_learner_that_is_killed_goes_on_from_its_checkpoint_and_the_search_does_not_notice(
    open_session, cluster, tmp_path
):
    session, killed, after = open_session(learner=Learner), [], []

    def kill(look):
        figures = look.figures()
        if not killed and figures.get("weights_version", 0) >= 1:
            killed.append(figures["learner_steps"])
            pid = cluster.get(session.learner.actor.__ray_call__.remote(lambda self: os.getpid()))
            os.kill(pid, signal.SIGKILL)
        elif killed and figures["learner_losses"] > 0 and "learner_steps" in figures:
            after.append(figures["learner_steps"])
            hurry(tmp_path)

    ended = session.search(plan(200), kill)
    assert ended.error is None
    assert ended.search.failures == []
    np.testing.assert_array_equal(ended.search.told, 200)
    versions = [line.get("weights_version", 0) for line in metrics(tmp_path / "run")]
    assert versions == sorted(versions)
    assert min(after) > 0
    assert session.learned().figures["learner_steps"] >= min(after) >= TRAINING.validate_every


class Poisoned(Learner):
    """Its weights are NaN after every slice."""

    def work(self):
        worked = super().work()
        if self._training is not None:
            with torch.no_grad():
                for network in (self._training._network, self._training._average):
                    for weights in network.parameters():
                        weights.fill_(torch.nan)
        return worked


def test_a_learner_that_diverges_never_reaches_the_search_whose_tree_is_that_without_it_bit_for_bit(
    open_session, tmp_path
):
    session, steps = open_session("poisoned", Poisoned), []

    def until_trained(look):
        steps.append(look.gauges.get("learner_steps", 0))
        if steps[-1] >= 5 * TRAINING.validate_every:
            hurry(tmp_path)

    learned = session.search(plan(200), until_trained)
    assert learned.error is None
    assert max(steps) >= 5 * TRAINING.validate_every
    assert all("weights_version" not in line for line in metrics(tmp_path / "poisoned"))
    update = session.learned()
    assert update.flow is None
    assert update.error == ""
    assert not (tmp_path / "poisoned" / "flow.safetensors").exists()
    alone, reward = plan(200), FunctionReward(Paced(tmp_path))
    without = loop.run(alone, SerialExecutor(PROCESS, reward, PROBLEMS, 8, 3, rollout_spec=alone.rollout_spec))
    for name in ("parent", "level", "visits", "value", "log_flow"):
        np.testing.assert_array_equal(learned.search.tree.column(name), without.search.tree.column(name), err_msg=name)
