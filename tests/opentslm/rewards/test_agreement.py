"""Agreement with a pilot: the vote with its last step enumerated, and consensus among captions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_questions import LABELS, question, texts

from sadt_ray.opentslm.rewards.agreement import AgreementReward, answer_marginal
from sadt_ray.opentslm.rewards.consensus import ConsensusReward
from sadt_ray.opentslm.rouge_bleu import rouge_l

PROMPT = question().conditioning
CAPTIONS = ("it rises", "it rises fast", "nothing to see")


def caption(name="q"):
    return question(name, label=None, answers=())


def test_the_marginal_is_the_weighted_share_of_every_answer_and_what_is_missing_claims_nothing():
    samples = texts("walking", "running", "walking", "swimming")
    marginal = answer_marginal(samples, np.log([0.1, 0.2, 0.3, 0.4]), PROMPT)
    assert marginal == pytest.approx({"walking": 0.4, "running": 0.2, "lying": 0.0})
    assert 1 - sum(marginal.values()) == pytest.approx(0.4)


@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=6), st.floats(-50, 50))
def test_enumerated_rationales_vote_with_their_probabilities_whatever_the_scale_of_the_weights(shares, shift):
    probabilities = np.array([np.array(row) / np.sum(row) for row in shares])
    samples = np.concatenate([texts(*LABELS)] * len(shares))
    marginal = answer_marginal(samples, np.log(probabilities.ravel()) + shift, PROMPT)
    np.testing.assert_allclose(list(marginal.values()), probabilities.mean(0), atol=1e-9)


def test_agreement_is_the_log_of_the_marginal_with_a_floor():
    reward = AgreementReward({"q": {"walking": 0.7, "running": 0.3}, "r": {"lying": 1.0}}, floor=0.01)
    samples, owner = texts("walking", "lying", "?", "lying"), np.array([0, 0, 0, 1])
    rewards = reward.bind([question(), question("r")])(samples, owner)
    np.testing.assert_allclose(rewards, np.log([0.7, 0.01, 0.01, 1.0]))
    assert not reward.oracle


def test_agreement_sharpens_the_vote():
    """Tilting the marginal P by lambda log P gives P^(1 + lambda) / Z."""
    share = np.array([0.5, 0.3, 0.2])
    reward = AgreementReward({"q": dict(zip(LABELS, share, strict=True))})
    tilted = share * np.exp(2.0 * reward.bind([question()]).of_answers(0))
    np.testing.assert_allclose(tilted / tilted.sum(), share**3 / (share**3).sum())


def test_consensus_is_the_expected_overlap_with_the_pilot():
    reward = ConsensusReward({"q": (CAPTIONS, np.log([0.5, 0.25, 0.25])), "r": (("other",), (0.0,))})
    samples = np.array([*CAPTIONS, "other"])
    rewards = reward.bind([caption(), caption("r")])(samples, np.array([0, 0, 0, 1]))
    expected = [
        sum(w * rouge_l(text, other) for other, w in zip(CAPTIONS, (0.5, 0.25, 0.25), strict=True)) for text in CAPTIONS
    ]
    np.testing.assert_allclose(rewards, [*expected, 1.0])
    assert rewards[2] == min(rewards)  # the odd one out


def test_the_same_caption_twice_counts_twice():
    scorer = ConsensusReward({"q": (("a b", "a b", "c d"), np.zeros(3))}).bind([caption()])
    assert scorer(np.array(["a b", "c d"]), np.zeros(2, int)).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_a_problem_without_a_pilot_is_named():
    with pytest.raises(ValueError, match="'q' has no answer marginal: run a pilot"):
        AgreementReward({}).bind([question()])
    with pytest.raises(ValueError, match=r"'q' is answered in free text: .*captions: consensus"):
        AgreementReward({"q": {}}).bind([caption()])
    with pytest.raises(ValueError, match="'q' has no pilot texts"):
        ConsensusReward({"q": ((), ())}).bind([caption()])
    with pytest.raises(ValueError, match="no weight at all"):
        answer_marginal(texts("walking"), np.array([-np.inf]), PROMPT)
    with pytest.raises(ValueError, match="1 texts need as many weights"):
        answer_marginal(texts("walking"), np.zeros(2), PROMPT)
    with pytest.raises(ValueError, match="floor must be a probability above 0"):
        AgreementReward({}, 0.0)
