"""A forest that is searched a few trees at a time: the same trees, in another order."""

import numpy as np
import pytest
from observing import Calls

from sadt_ray.config import SearchConfig
from sadt_ray.engine.loop import run_search
from sadt_ray.engine.serial import SerialExecutor

from .forests import markov, new_search, problems

PROCESS, REWARD = markov()


def run(at_once, batch_size, **settings):
    config = SearchConfig(at_once=at_once, **{"n_rollouts": 20, **settings})
    search, begun = new_search(config, PROCESS, 7), []

    def look(search):
        begun.append(np.flatnonzero((search.asked > 0) & search.wanting()))

    run_search(search, SerialExecutor(PROCESS, REWARD, problems(7), batch_size), [Calls(look)])
    return search, begun


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_problems_are_begun_than_may_be_and_all_spend_their_budget(at_once):
    search, begun = run(at_once, batch_size=5)
    assert max(map(len, begun)) == at_once
    np.testing.assert_array_equal(search.told, 20)


def test_trees_are_those_of_a_forest_searched_in_turn():
    """One rollout in flight each, so that neighbours do not matter."""
    alone, together = run(1, batch_size=1)[0], run(None, batch_size=7)[0]
    for one, other in zip(alone.samples(), together.samples(), strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_allclose(one.weights, other.weights)


def test_problems_that_end_without_a_rollout_make_room_for_others():
    """A tree that is complete is walked to the end of its budget without a ticket."""
    search, _ = run(2, batch_size=4, widen_c=1.0, widen_alpha=0.0, n_rollouts=50)
    np.testing.assert_array_equal(search.told, 50)
    assert len(search.tree) < 7 * 20  # most of it without one


def test_a_number_below_one_is_refused():
    with pytest.raises(ValueError, match="at_once must be None or at least 1, got 0"):
        SearchConfig(at_once=0)
