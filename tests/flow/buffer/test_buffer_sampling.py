"""How often a row is drawn."""

import numpy as np
import pytest
from scipy import stats
from written_forest import WrittenForest

from sadt_ray.flow.buffer import TrajectoryBuffer
from sadt_ray.flow.buffer.sampling import RowSampler

DRAWS = 40_000


@pytest.fixture(scope="module")
def buffer(tmp_path_factory):
    """Twice as many rows of problem a as of b, and of c only a root."""
    directory = tmp_path_factory.mktemp("trajectories")
    forest = WrittenForest(directory, ("a", "b", "c"))
    forest.level[2] = 4  # nothing grows below c
    forest.grow(60)
    forest.level[1] = 4
    forest.level[forest.problem == 1] = 4
    forest.grow(40).writer.flush()
    return TrajectoryBuffer([directory])


def check_frequencies(drawn, weight):
    """Chi-square of the rows drawn, with ``weight`` by row."""
    expected = weight / weight.sum() * len(drawn)
    possible = expected > 0
    counts = np.bincount(drawn, minlength=len(weight))
    assert counts[~possible].sum() == 0
    often = possible & (expected >= 5)
    seen = np.append(counts[often], counts[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum())
    if wanted[-1] < 5:
        seen, wanted = seen[:-1], wanted[:-1]
    assert stats.chisquare(seen, wanted * seen.sum() / wanted.sum()).pvalue > 1e-4


def by_problem(nodes, weight):
    """Every problem alike."""
    total = np.bincount(nodes.problem, weight)
    return np.where(weight > 0, weight / np.where(total > 0, total, 1)[nodes.problem], 0)


@pytest.mark.parametrize("balance", [False, True])
@pytest.mark.parametrize("half_life", [None, 20.0])
def test_leaves_are_drawn_in_proportion_to_recency_of_every_problem_alike_if_asked(buffer, balance, half_life):
    nodes, age = buffer.nodes, len(buffer) - np.arange(len(buffer))
    weight = nodes.is_leaf * (1.0 if half_life is None else 0.5 ** (age / half_life))
    drawn = buffer.sample_leaves(DRAWS, np.random.default_rng(1), half_life, balance)
    check_frequencies(drawn, by_problem(nodes, weight) if balance else weight)
    shares = np.bincount(nodes.problem[drawn], minlength=3) / DRAWS
    assert (abs(shares[0] - 0.5) < 0.02) == balance


@pytest.mark.parametrize("half_life", [None, 20.0])
def test_families_are_as_old_as_their_youngest_child_and_have_enough_of_them(buffer, half_life):
    nodes = buffer.nodes
    youngest = np.array([max(np.flatnonzero(nodes.parent == row), default=-1) for row in range(len(nodes))])
    weight = (np.bincount(nodes.parent[nodes.parent >= 0], minlength=len(nodes)) >= 3).astype(float)
    assert weight[:2].all()  # roots are among them
    if half_life is not None:
        weight *= 0.5 ** ((len(nodes) - youngest) / half_life)
    drawn = buffer.sample_families(DRAWS, np.random.default_rng(2), half_life, min_siblings=3)
    check_frequencies(drawn, by_problem(nodes, weight))


def test_a_half_life_much_shorter_than_the_buffer_still_finds_every_problem(buffer):
    drawn = buffer.sample_leaves(100, np.random.default_rng(0), half_life=0.001)
    leaves = np.flatnonzero(buffer.nodes.is_leaf)
    newest = [max(leaves[buffer.nodes.problem[leaves] == problem]) for problem in (0, 1)]
    assert set(drawn) == set(newest)


def test_draws_follow_the_generator_and_new_rows_are_drawn_after_a_refresh(tmp_path):
    forest = WrittenForest(tmp_path)
    forest.grow(50).writer.flush()
    buffer = TrajectoryBuffer([tmp_path])
    first = buffer.sample_leaves(20, np.random.default_rng(3))
    np.testing.assert_array_equal(first, buffer.sample_leaves(20, np.random.default_rng(3)))
    forest.grow(100).writer.flush()
    buffer.refresh()
    assert max(buffer.sample_leaves(200, np.random.default_rng(3))) >= 52


def test_only_leaves_whose_path_is_held_are_drawn_if_asked(tmp_path):
    WrittenForest(tmp_path).grow(200).writer.finish_part()
    buffer = TrajectoryBuffer([tmp_path], max_rows=150)
    for whole in (False, True):
        drawn = np.unique(buffer.sample_leaves(5_000, np.random.default_rng(0), whole_paths=whole))
        leaves = buffer.nodes.is_leaf & (buffer.nodes.reaches_root | (not whole))
        np.testing.assert_array_equal(drawn, np.flatnonzero(leaves))


def test_what_cannot_be_drawn_is_refused(tmp_path):
    WrittenForest(tmp_path).writer.finish_part()
    buffer, rng = TrajectoryBuffer([tmp_path]), np.random.default_rng(0)
    with pytest.raises(ValueError, match="the buffer holds 2 nodes, none of the leaves asked for"):
        buffer.sample_leaves(1, rng)
    with pytest.raises(ValueError, match="none of the nodes with 2 children asked for"):
        buffer.sample_families(1, rng)
    with pytest.raises(ValueError, match="half_life must be None or a positive number of rows, got 0"):
        RowSampler(np.arange(3), np.arange(3.0), half_life=0)
    with pytest.raises(ValueError, match="min_siblings must be at least 1, got 0"):
        buffer.sample_families(1, rng, min_siblings=0)
