"""The learner by itself: what it publishes, what it resumes from, and how it shares a process with a search."""

import json

import numpy as np
import pytest

from sadt_ray.engine.plan import plan_search
from sadt_ray.engine.serial import SerialExecutor
from sadt_ray.flow.flow import Flow
from sadt_ray.flow.learner import CHECKPOINT, FLOW, Learner, LearnerConfig, LearnerSpec
from sadt_ray.flow.training_config import TrainingConfig
from sadt_ray.flow.training_file import load_training, save_training
from sadt_ray.flow.weight_source import InterleavedLearner
from sadt_ray.interfaces import Problem
from sadt_ray.methods import method_named
from sadt_ray.processes.markov_chain import MarkovChainProcess
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.runs.recording import Recording, run_recorded

PROBLEMS = [Problem(name, np.zeros(0)) for name in ("a", "b", "c")]
PROCESS = MarkovChainProcess.random(3, 4, seed=0)
REWARD = FunctionReward(lambda samples, problem: samples.sum(1).astype(float))
LAM = 2.0
TRAINING = TrainingConfig(
    schedule="constant", batch=64, validate_every=10, min_inv_temperature=1.0, max_inv_temperature=3.0
)
CONFIG = LearnerConfig(TRAINING, slice_steps=10, publish_every=0.0, look_every=0.0)


def plan(n_sweeps=100, name="sadt", **settings):
    sweeps = {"particles": 16, "record_particles": True, "resampling": "siblings-4", "num_candidates": 1}
    settings = {"inv_temperature": LAM, "branch_steps": "published", "n_rollouts": 16 * n_sweeps, **sweeps, **settings}
    return plan_search(PROCESS, PROBLEMS, method_named(name, **settings))


def run(folder, weight_source=None, searched=None):
    searched = searched or plan()
    executor = SerialExecutor(PROCESS, REWARD, PROBLEMS, 16, rollout_spec=searched.rollout_spec)
    ended = run_recorded(searched, executor, Recording(folder), weight_source=weight_source)
    assert ended.error is None
    return ended.search


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A search without a learner, with its trajectories."""
    folder = tmp_path_factory.mktemp("recorded")
    run(folder)
    return folder


def learner_of(recorded, home, config=CONFIG):
    return Learner(PROCESS, REWARD, PROBLEMS, [recorded], home, config)


def work(learner, rounds):
    for _ in range(rounds):
        assert learner.work()


def test_a_version_is_published_when_it_beats_the_one_before_on_held_out_contexts(recorded, tmp_path):
    learner, versions = learner_of(recorded, tmp_path), []
    assert learner.latest is None
    while len(versions) < 3:
        work(learner, 1)
        if learner.latest is not None and (not versions or learner.latest is not versions[-1][0]):
            versions.append((learner.latest, learner.figures["learner_validation"]))
    assert [flow.version for flow, _ in versions] == [1, 2, 3]
    losses = [loss for _, loss in versions]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < learner.figures["learner_base"]
    assert Flow.load(tmp_path / FLOW).version == 3


def test_a_learner_made_anew_goes_on_where_its_checkpoint_is_with_higher_versions(recorded, tmp_path):
    first = learner_of(recorded, tmp_path)
    work(first, 5)
    published = first.latest.version
    assert published >= 1
    second = learner_of(recorded, tmp_path)
    steps = second.figures["learner_steps"]
    assert 0 < steps <= first.figures["learner_steps"]
    work(second, 5)
    assert second.figures["learner_steps"] == steps + 50
    assert second.latest.version > published


def test_a_learner_that_has_nothing_to_learn_from_waits(tmp_path):
    learner = learner_of(tmp_path / "nothing", tmp_path)
    assert not learner.work()
    learner.finish()
    assert learner.latest is None
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_learner_that_finds_nothing_better_any_more_rests_until_there_are_new_rows(tmp_path):
    run(tmp_path)
    config = LearnerConfig(
        TrainingConfig(schedule="constant", batch=16, validate_every=5, patience=1, lr=1e-9), 10, 0.0, 0.0
    )
    now = [0.0]
    learner = Learner(PROCESS, REWARD, PROBLEMS, [tmp_path], tmp_path, config, clock=lambda: now[0])
    while learner.work():
        now[0] += 1
    assert learner.figures["learner_steps"] < 100
    run(tmp_path, searched=plan(30, "sweep"))
    assert learner.work()


def test_versions_to_come_are_numbered_from_what_is_known(recorded, tmp_path):
    learner = LearnerSpec(tmp_path, [recorded], CONFIG, known=7).begin(PROCESS, REWARD, PROBLEMS)
    work(learner, 4)
    assert learner.latest.version >= 8


def test_a_damaged_checkpoint_or_one_of_other_settings_is_left_alone_with_a_warning(recorded, tmp_path):
    first = learner_of(recorded, tmp_path)
    work(first, 2)
    first.save()
    other = LearnerConfig(TrainingConfig(schedule="constant", lr=1e-4))
    with pytest.warns(UserWarning, match="other settings"):
        assert learner_of(recorded, tmp_path, other).figures["learner_steps"] == 0
    (tmp_path / CHECKPOINT).write_bytes(b"no tensors")
    with pytest.warns(UserWarning, match="starts anew"):
        assert learner_of(recorded, tmp_path).figures["learner_steps"] == 0


def test_trajectories_that_do_not_say_where_their_levels_lie_are_refused(recorded, tmp_path):
    learner = learner_of(recorded, tmp_path)
    learner._buffer.facts[0].pop("positions")
    with pytest.raises(ValueError, match="was written by another version"):
        learner.work()


@pytest.mark.parametrize("method", ["sadt", "dts"])
def test_an_x_0_that_stands_for_a_sweep_is_no_child_to_learn_from_and_that_of_a_rollout_is(tmp_path, method):
    sweeps = {"particles": 16, "num_candidates": 1} if method == "sadt" else {}
    settings = {"inv_temperature": LAM, "branch_steps": "published", "n_rollouts": 160, **sweeps}
    run(tmp_path, searched=plan_search(PROCESS, PROBLEMS, method_named(method, **settings)))
    learner, taken = learner_of(tmp_path, tmp_path), []
    learner._training = Absorbs(taken)
    learner.work()
    rewards = np.concatenate([examples.reward for examples in taken])
    assert len(rewards) > 30
    assert np.isfinite(rewards).any() == (method == "dts")


class Absorbs:
    """A training that only takes notes."""

    step = best_step = 0

    def __init__(self, taken):
        self.absorb = taken.append

    def __len__(self):
        return 0


def test_the_state_of_a_training_survives_its_file_bit_for_bit(recorded, tmp_path):
    learner = learner_of(recorded, tmp_path)
    work(learner, 2)
    state = learner._training.state()
    save_training(tmp_path / "file", state, {"a": 1})
    read, facts = load_training(tmp_path / "file")
    assert facts == {"a": 1}
    assert_same(read, state)


def assert_same(one, other):
    if isinstance(other, dict):
        assert one.keys() == other.keys()
        for name in other:
            assert_same(one[name], other[name])
    elif isinstance(other, list | tuple):
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    elif hasattr(other, "dtype"):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


def test_a_search_in_one_process_takes_turns_with_its_learner_and_uses_what_it_finds(tmp_path):
    turns = InterleavedLearner(learner_of(tmp_path, tmp_path), share=0.5)
    search = run(tmp_path, turns, plan(400))
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["weights_version"] >= 1
    assert last["learner_steps"] > 0
    truth = LAM * PROCESS.soft_values(sum, LAM)[()]
    for drawn in search.samples():
        assert drawn.log_z == pytest.approx(truth, abs=0.3)  # which weights guide when depends on the clock
    update = turns.finish()
    assert update.flow.version >= last["weights_version"]
    assert update.error == ""


class Fails(Learner):
    def work(self):
        raise RuntimeError("no memory left")


def test_what_a_learner_finds_is_news_to_a_search_that_begins_with_a_high_version(recorded, tmp_path):
    turns, news = InterleavedLearner(learner_of(recorded, tmp_path), share=1.0), None
    turns.begin(known=7)
    while news is None:
        news = turns.newer_weights()
    assert news.version == 8
    assert news.facts["reward"] == repr(REWARD)


def test_what_a_learner_raises_ends_the_learning_and_not_the_search(recorded, tmp_path):
    turns = InterleavedLearner(Fails(PROCESS, REWARD, PROBLEMS, [tmp_path], tmp_path, CONFIG))
    search = run(tmp_path / "run", turns)
    alone = run(tmp_path / "alone")
    np.testing.assert_array_equal(search.tree.column("value"), alone.tree.column("value"))
    assert turns.finish().error == "RuntimeError: no memory left"


@pytest.mark.parametrize("name", ["publish_every", "look_every", "save_every", "slice_steps"])
def test_settings_that_cannot_be_are_refused(name):
    with pytest.raises(ValueError, match=name):
        LearnerConfig(**{name: -1})
