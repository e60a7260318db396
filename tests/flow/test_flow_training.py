"""Training: it finds the exact soft values, goes on where it was, and never hands out a flow worse than its base."""

import dataclasses

import numpy as np
import pytest
import torch
from flow_examples import DEPTH, PREFIXES, PROCESS, exact_examples, reward

from sadt_ray.flow.batches import log_flow
from sadt_ray.flow.examples import NO_PARENT, Examples
from sadt_ray.flow.siblings import NOBODY, SiblingGroups
from sadt_ray.flow.training import FlowTraining
from sadt_ray.flow.training_config import TrainingConfig

SMALL = TrainingConfig(
    lr=1e-2, steps=400, batch=64, siblings=3, min_siblings=3, min_inv_temperature=2.0, max_inv_temperature=4.0,
    hidden=32, depth=2, validate_every=50, average=0.98, validation_share=0.3, correct_bias=False,
)  # fmt: skip


def training(examples=None, **settings):
    config = dataclasses.replace(SMALL, **settings)
    made = FlowTraining(config, config.flow_config(len(PREFIXES), DEPTH + 1, False), 1000)
    made.absorb(exact_examples() if examples is None else examples)
    return made


def values_of(flow, examples, lam):
    """F of every inner node below the root of the first problem."""
    count = len(PREFIXES)
    tensors = {name: torch.as_tensor(column[:count]) for name, column in examples.columns().items()}
    tensors = {name: tensors[name].float() for name in ("features", "base", "reward")} | {
        "position": tensors["position"]
    }
    rows = torch.arange(count)
    return (log_flow(flow.network(), tensors, rows, torch.full((count,), lam)) / lam).numpy()


@pytest.mark.parametrize(
    "loss", ["db", *(pytest.param(loss, marks=pytest.mark.slow) for loss in ("0.2*tb-var + db", "subtb-0.9"))]
)
def test_it_learns_the_soft_values_at_every_inverse_temperature(loss):
    made = training(loss=loss)
    metrics = made.run(400)
    assert metrics["validation_loss"] < 0.05 * metrics["base_loss"]
    flow = made.flow(7, {"process": "chain"})
    assert (flow.version, flow.facts["process"], flow.facts["steps"]) == (7, "chain", 400)
    inner = np.array([0 < len(prefix) < DEPTH for prefix in PREFIXES])
    for lam in (2.0, 4.0):
        exact = PROCESS.soft_values(reward, lam)
        error = values_of(flow, exact_examples(), lam) - np.array([exact[prefix] for prefix in PREFIXES])
        assert np.abs(error[inner]).max() < 0.15
        assert np.sqrt(np.square(error[inner]).mean()) < 0.06


def test_slices_are_one_training():
    whole, sliced = training(), training()
    whole.run(40)
    for steps in (13, 1, 26):
        sliced.run(steps)
    assert same(whole, sliced)


def test_a_training_goes_on_bit_for_bit(tmp_path):
    whole, first = training(loss="tb + db"), training(loss="tb + db")
    whole.run(120)
    first.run(70)
    torch.save(first.state(), tmp_path / "state.pt")
    resumed = training(loss="tb + db")
    resumed.restore(torch.load(tmp_path / "state.pt", weights_only=False))
    resumed.run(50)
    assert same(whole, resumed)
    assert resumed.best == whole.best
    assert resumed.cost_nfe == whole.cost_nfe > 0


def same(one, other):
    pairs = zip(one.state()["average"].values(), other.state()["average"].values(), strict=True)
    return one.step == other.step and all(torch.equal(a, b) for a, b in pairs)


def test_before_its_first_step_a_flow_is_the_base():
    examples = exact_examples()
    base = np.random.default_rng(0).normal(size=len(examples)).astype(np.float32)
    made = training(dataclasses.replace(examples, base=base))
    inner = np.array([0 < len(prefix) < DEPTH for prefix in PREFIXES])
    values = values_of(made.flow(), dataclasses.replace(examples, base=base), 3.0)
    assert np.allclose(values[inner], base[: len(PREFIXES)][inner])


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted():
    made = training()
    made.run(60)
    before = made.state()["network"]
    made._store.tensors["features"][:] = torch.inf
    made.run(5)
    assert made.skipped == 5
    assert all(torch.equal(before[name], value) for name, value in made.state()["network"].items())
    assert all(torch.isfinite(value).all() for value in made.flow().weights.values())


def test_a_training_that_got_worse_than_the_base_says_so_and_hands_out_the_best_there_was():
    exact = PROCESS.soft_values(reward, 3.0)
    base = np.tile([exact[prefix] for prefix in PREFIXES], 4).astype(np.float32)
    made = training(dataclasses.replace(exact_examples(), base=base), lr=3.0, schedule="constant")
    made.run(100)
    assert made.diverged
    inner = np.array([0 < len(prefix) < DEPTH for prefix in PREFIXES])
    values = values_of(made.flow(), dataclasses.replace(exact_examples(), base=base), 3.0)
    assert np.allclose(values[inner], base[: len(PREFIXES)][inner])


def test_rewards_of_minus_infinity_and_features_that_are_not_numbers_do_no_harm():
    examples = exact_examples()
    examples.reward[np.flatnonzero(~np.isnan(examples.reward))[::7]] = -np.inf
    examples.features[5] = np.nan
    made = training(examples)
    made.run(60)
    assert made.skipped == 0
    assert all(torch.isfinite(value).all() for value in made.flow().weights.values())


def test_held_out_contexts_are_never_trained_on_and_stay_held_out():
    names = tuple(f"data/train/{window:04d}/{channel}" for window in range(6) for channel in "ab")
    made = training(exact_examples(names))
    held = {name for name, out in made._store.held_out.items() if out}
    assert 0 < len(held) < 6, "both channels of a window on one side"
    problems = made._store.tensors["problem"][torch.as_tensor(made._store.training.rows)]
    assert not {names[p].rpartition("/")[0] for p in problems.tolist()} & held
    made.absorb(exact_examples(("data/train/0099/a",), first_id=10_000))
    assert {name for name, out in made._store.held_out.items() if out} >= held


def test_rows_that_come_in_pieces_or_twice_are_the_same_rows():
    examples = exact_examples()
    whole, pieces = training(examples), training(examples.take(slice(0, 100)))
    assert pieces.absorb(examples.take(slice(50, 300))) == 200
    assert pieces.absorb(examples) == len(examples) - 300
    assert pieces.absorb(examples) == 0
    whole.run(20)
    pieces.run(20)
    assert same(whole, pieces)


def test_the_oldest_rows_go_when_there_are_too_many():
    made = training(max_rows=300)
    assert len(made._store) <= 300
    assert made.num_families > 0
    assert made._store.tensors["problem"].max() == 3


def test_too_few_families_another_network_and_paths_that_are_not_there_are_refused():
    made = training(exact_examples().take(slice(0, 5)))
    assert not made.ready
    with pytest.raises(ValueError, match="at least 16 groups of 3 siblings"):
        made.run(1)
    wrong = dataclasses.replace(exact_examples(), features=np.zeros((4 * len(PREFIXES), 3), np.float32))
    with pytest.raises(ValueError, match="121 features, the rows have 3"):
        made.absorb(wrong)
    below = exact_examples()
    rootless = training(below.take(below.position > 0), loss="tb")
    with pytest.raises(ValueError, match="needs whole paths"):
        rootless.run(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"loss": "mse"}, "use db"), ({"regression": "l1"}, "choose one of squared"), ({"lr": 0.0}, "positive"),
     ({"min_siblings": 9}, "min_siblings"), ({"average": 1.0}, "average"), ({"batch": 0}, "batch"),
     ({"hidden": 0}, "hidden"), ({"min_inv_temperature": 0.0}, "inverse temperatures")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **settings)


def test_children_of_large_families_are_random_and_different():
    rng, count = np.random.default_rng(0), 40
    examples = Examples(
        node=np.arange(count + 1), parent=np.array([NO_PARENT] + [0] * count), problem=np.zeros(count + 1, int),
        names=("a",), position=np.array([1] + [2] * count), reward=np.array([np.nan] + [0.0] * count),
        log_ratio=np.zeros(count + 1), features=np.zeros((count + 1, 1), np.float32), base=np.zeros(count + 1),
    )  # fmt: skip
    families = SiblingGroups(examples, np.ones(count + 1, bool), 8, 4, rng)
    drawn = families.children(np.zeros(2000, np.int64), rng)
    assert all(len(set(row)) == 8 for row in drawn)
    counts = np.bincount(drawn.ravel(), minlength=count + 1)[1:]
    assert abs(counts / 400 - 1).max() < 0.25
    assert (families.children(np.array([5, NOBODY]), rng) == NOBODY).all()


def test_siblings_of_another_position_are_no_siblings():
    examples = exact_examples(("a",))
    examples.position[1] = DEPTH  # the first child of the root, as if it stood for a whole sweep
    families = SiblingGroups(examples, np.ones(len(examples), bool), 3, 2, np.random.default_rng(0))
    assert sorted(families.children(np.array([0]), np.random.default_rng(0))[0].tolist()) == [NOBODY, 2, 3]


def test_a_path_goes_from_the_root_to_the_last_node_above_x_0():
    examples = exact_examples()
    families = SiblingGroups(examples, np.ones(len(examples), bool), 3, 3, np.random.default_rng(0))
    assert families.num_paths == 4 * 81
    rows, group = families.draw_paths(3, 5, np.random.default_rng(1))
    assert rows.shape == (15, DEPTH)
    assert (examples.position[rows] == np.arange(DEPTH)).all()
    assert (examples.node[rows[:, :-1]] == examples.parent[rows[:, 1:]]).all()
    for g in range(3):
        assert len(set(examples.problem[rows[group == g]].ravel())) == 1
