"""The synthetic prior whose early claims decide its answer."""

from collections import Counter

import numpy as np
import pytest

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.stand_in.early_claims import (
    COMBINATIONS,
    LABELS,
    ClaimsReward,
    EarlyClaimsCorpus,
    claiming,
    claims_in,
    early_claims_problems,
)


def test_claims_are_read_as_they_were_written():
    rng = np.random.default_rng(0)
    for claims in COMBINATIONS:
        text = claiming(claims, rng)
        assert claims_in(text) == claims
        assert text.endswith(f"Answer: {LABELS[COMBINATIONS.index(claims)]}")


def test_the_reward_counts_true_claims_and_grows_with_each():
    problem = early_claims_problems(0, 1)[0]
    trend, rhythm, scatter = problem.extras["claims"]
    rng = np.random.default_rng(0)
    texts = [
        claiming(((trend + 1) % 3, (rhythm + 1) % 3, 1 - scatter), rng),
        claiming((trend, (rhythm + 1) % 3, 1 - scatter), rng),
        claiming((trend, rhythm, 1 - scatter), rng),
        claiming((trend, rhythm, scatter), rng),
        "no claims at all",
    ]
    rewards = ClaimsReward().bind([problem])(np.array(texts), np.zeros(5, int))
    np.testing.assert_allclose(rewards, [-1, -2 / 3, -1 / 3, 0, -1])


def test_a_claim_to_learn_is_right_as_often_as_chance_and_all_three_once_in_eighteen():
    corpus, rng = EarlyClaimsCorpus(0), np.random.default_rng(0)
    drawn = [corpus.draw(rng) for _ in range(1500)]
    hits = np.array([np.equal(claims_in(p.extras["answer"]), p.extras["claims"]) for p in drawn])
    np.testing.assert_allclose(hits.mean(0), [1 / 3, 1 / 3, 1 / 2], atol=0.05)
    assert abs(hits.all(1).mean() - 1 / 18) < 0.02


def test_the_series_are_what_their_claims_say():
    slopes = {t: [] for t in range(3)}
    for problem in early_claims_problems(0, 200):
        slopes[problem.extras["claims"][0]].append(np.polyfit(np.linspace(0, 1, 64), problem.context, 1)[0])
    assert np.mean(slopes[0]) > 1.5
    assert np.mean(slopes[1]) < -1.5
    assert abs(np.mean(slopes[2])) < 0.7


def test_labels_are_of_one_letter_and_none_prevails():
    counts = Counter(p.extras["label"] for p in early_claims_problems(0))
    assert set(counts) <= set(LABELS)
    assert max(counts.values()) < 0.15 * sum(counts.values())


def test_other_problems_are_refused_by_name():
    with pytest.raises(ValueError, match="mine"):
        ClaimsReward().bind([Problem("mine", np.zeros(3))])
