"""Rewards that look at the claimed answer alone: format and oracles."""

import numpy as np
import pytest
from stage_questions import question, texts

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.opentslm.rewards.answers import claim_of
from sadt_ray.opentslm.rewards.format import FormatReward
from sadt_ray.opentslm.rewards.oracle import OracleAccuracy, OracleF1, OracleKappa, OracleOverlap, label_shares
from sadt_ray.rewards.combine import WeightedSum

FOUR = texts("walking", "running", "swimming", "walking or running")


def score(reward, samples, *problems, owner=None):
    owner = np.zeros(len(samples), int) if owner is None else np.asarray(owner)
    return reward.bind(problems)(samples, owner)


def test_a_text_that_claims_no_answer_gets_the_worst_reward():
    assert score(FormatReward(), FOUR, question()).tolist() == [0, 0, -np.inf, -np.inf]
    assert score(FormatReward(-3.0), FOUR, question()).tolist() == [0, 0, -3, -3]
    with pytest.raises(ValueError, match="must be below 0, got 1"):
        FormatReward(1.0)


def test_a_caption_is_valid_if_it_says_something():
    caption = question(label=None, answers=())
    samples = np.array(["It rises.", "  ", "Answer: walking"])
    assert score(FormatReward(), samples, caption, question(), owner=[0, 0, 1]).tolist() == [0, -np.inf, 0]


def test_accuracy_is_the_mean_of_its_oracle():
    samples = texts("walking", "running", "lying", "nothing")
    rewards = score(OracleAccuracy(), samples, question(), question(label="lying"), owner=[0, 0, 1, 1])
    assert rewards.tolist() == [1, 0, 1, 0]


def gold_and_claims(rng, count=400):
    labels = np.array(["walking", "running", "lying"])
    gold = labels[rng.choice(3, count, p=[0.6, 0.3, 0.1])]
    claimed = np.where(rng.random(count) < 0.5, gold, rng.permutation(gold))  # as frequent as the gold labels, nearly
    return [question(f"q{i}", label) for i, label in enumerate(gold)], gold, claimed


def test_the_kappa_oracle_averages_to_agreement_beyond_chance():
    problems, gold, claimed = gold_and_claims(np.random.default_rng(0))
    shares = label_shares(problems)
    rewards = score(OracleKappa(shares), texts(*claimed), *problems, owner=np.arange(len(gold)))
    chance = sum(shares[label] * np.mean(claimed == label) for label in shares)
    by_gold = 1 - sum(share**2 for share in shares.values())
    assert rewards.mean() * by_gold == pytest.approx(np.mean(gold == claimed) - chance)
    always = score(OracleKappa(shares), texts(*["walking"] * len(gold)), *problems, owner=np.arange(len(gold)))
    assert always.mean() == pytest.approx(0.0, abs=1e-12)  # one answer for everything agrees no more than chance


def test_the_f1_oracle_averages_to_the_balanced_accuracy():
    problems, gold, claimed = gold_and_claims(np.random.default_rng(1))
    rewards = score(OracleF1(label_shares(problems)), texts(*claimed), *problems, owner=np.arange(len(gold)))
    recalls = [np.mean(claimed[gold == label] == label) for label in np.unique(gold)]
    assert rewards.mean() == pytest.approx(np.mean(recalls))


def test_captions_are_compared_with_the_gold_text():
    problem = question(label=None, answers=(), answer="a rising trend with noise")
    samples = np.array(["a rising trend with noise", "noise", "nothing of it"])
    rouge = score(OracleOverlap(), samples, problem)
    assert rouge.tolist() == pytest.approx([1, 2 / 6, 0])
    assert score(OracleOverlap("bleu"), samples, problem)[0] == 1


@pytest.mark.parametrize("oracle", [OracleAccuracy(), OracleF1({"walking": 1.0}), OracleKappa({}), OracleOverlap()])
def test_a_sum_with_a_gold_answer_in_it_says_so(oracle):
    assert isinstance(oracle, Reward)
    assert oracle.oracle
    assert not FormatReward().oracle
    assert WeightedSum((1.0, FormatReward()), (0.1, oracle)).oracle
    assert WeightedSum((1.0, WeightedSum((0.1, oracle)))).oracle


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="'q' has no label"):
        OracleAccuracy().bind([question(label=None)])
    with pytest.raises(ValueError, match="its label 'flying' is none of its answers, walking"):
        OracleAccuracy().bind([question(label="flying")])
    with pytest.raises(ValueError, match="'q' is answered in free text"):
        OracleAccuracy().bind([question(answers=())])
    with pytest.raises(ValueError, match="no gold text"):
        OracleOverlap().bind([question()])
    with pytest.raises(ValueError, match="'walking' has no share in the training split, which has lying"):
        OracleKappa({"lying": 1.0}).bind([question()])
    with pytest.raises(ValueError, match="must be a Prompt, got NoneType"):
        FormatReward().bind([Problem("bare", np.zeros(3))])
    with pytest.raises(ValueError, match=r"unknown overlap 'meteor'; choose one of rouge-l, bleu"):
        OracleOverlap("meteor")
    with pytest.raises(ValueError, match="texts"):
        FormatReward().bind([question()])(np.zeros(2), np.zeros(2, int))


def test_what_an_answer_claims_is_its_options_text_or_its_questions():
    pre = (
        "Select one:\n(a) This time series has a constant trend.\n(b) This time series has an upward trend.\nOnly (a)."
    )
    options = question(pre=pre, answers=("(a)", "(b)"), label="(b)")
    assert claim_of(options, "(b)") == "this time series has an upward trend"
    assert claim_of(question(), "walking") == "walking"
    first, second = (question(question=q, answers=("yes", "no")) for q in ("Is it AF?", "Is it LBBB?"))
    assert claim_of(first, "yes") != claim_of(second, "yes")
