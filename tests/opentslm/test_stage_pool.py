"""A pool of rationales, and the flat methods that are functions of it."""

import numpy as np
import pytest
from tiny_stage import window_problems

from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.pool import best_of, draw_rationales, majority, tokens_of, weighted_vote
from sadt_ray.opentslm.rewards.answers import UNPARSABLE
from sadt_ray.processes.language.process import CausalLMProcess


@pytest.fixture(scope="module")
def pool(stand_in):
    process = CausalLMProcess(load_opentslm(stand_in), max_tokens=24)
    return draw_rationales(process, window_problems(6), 8, seed=1)


def test_rationales_are_the_same_whatever_is_drawn_beside_them(pool, stand_in):
    process = CausalLMProcess(load_opentslm(stand_in), max_tokens=24)
    again = draw_rationales(process, [rationales.problem for rationales in pool[:2]], 8, seed=1)
    for one, other in zip(again, pool, strict=False):
        np.testing.assert_array_equal(one.texts, other.texts)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
        assert (one.probabilities.sum(1) <= 1 + 1e-6).all()
        assert (one.tokens > 0).all()
        assert tokens_of(one, 4, enumerated=True) == one.tokens[:4].sum() + one.scored[:4].sum()
        said = [0 if k == UNPARSABLE else one.said[k] for k in one.drawn[:4]]
        assert tokens_of(one, 4, enumerated=False) == one.tokens[:4].sum() + sum(said)


def test_votes_and_the_best_answer_of_drawn_rationales():
    drawn = np.array([2, 0, UNPARSABLE, 0, 2])
    assert majority(drawn, 3)[0] == 2  # the first of equals
    np.testing.assert_allclose(majority(drawn, 3)[1], [0.4, 0, 0.4])
    assert majority(np.array([UNPARSABLE]), 3)[0] == UNPARSABLE
    p = np.array([[0.5, 0.2, 0.0], [0.1, 0.6, 0.0]])
    assert weighted_vote(p)[0] == 1
    best, marginal = weighted_vote(p, np.array([np.log(2.0), 0.0, 5.0]))
    assert best == 0
    np.testing.assert_allclose(marginal, np.array([1.2, 0.8, 0]) / 2.0)
    assert weighted_vote(np.zeros((2, 3)))[0] == UNPARSABLE
    assert best_of(drawn, np.array([0.0, 9.0, -1.0])) == 0
    assert best_of(np.array([UNPARSABLE]), np.zeros(3)) == UNPARSABLE
