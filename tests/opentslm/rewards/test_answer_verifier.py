"""The verifier that shares its probability among a problem's answers: it pools vote, spectrum and claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from stage_questions import LABELS, question, texts

from sadt_ray.opentslm.rewards.answer_verifier import answer_features, fit_answer_verifier
from sadt_ray.opentslm.rewards.choice import fit_choice, log_choice
from sadt_ray.opentslm.rewards.verifier import VerifierReward
from sadt_ray.opentslm.rewards.verifier_file import load_verifier, save_verifier


def test_a_choice_model_finds_the_pool_that_made_the_answers():
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((2 + p % 3, 2)) * [1.0, 0.1] + rng.standard_normal() for p in range(4_000)]
    gold = np.array([rng.choice(len(x), p=softmax(x @ [0.7, 8.0])) for x in rows])
    head = fit_choice(rows, gold, ridge=1.0)
    np.testing.assert_allclose(head.weights / head.scale, [0.7, 8.0], rtol=0.1)


@given(st.integers(0, 99), st.floats(0.1, 50), st.floats(-9, 9))
def test_the_choice_is_the_minimum_of_its_penalised_loss_and_blind_to_what_answers_share(seed, ridge, shift):
    rng = np.random.default_rng(seed)
    rows, gold = [rng.standard_normal((3, 2)) for _ in range(20)], rng.integers(0, 3, 20)
    head = fit_choice(rows, gold, ridge)
    surprise = [
        (np.exp(log_choice(head, x)) - np.eye(3)[k]) @ (x / head.scale) for x, k in zip(rows, gold, strict=True)
    ]
    np.testing.assert_allclose(np.sum(surprise, axis=0) + ridge * head.weights, 0, atol=1e-3)
    shifted = fit_choice([x + shift for x in rows], gold, ridge)
    np.testing.assert_allclose(shifted.weights, head.weights, atol=1e-3)


def overconfident(seed, count=900):
    """A vote that is the truth to the power of three, of a model that says *walking* e^2 times too often."""
    rng = np.random.default_rng(seed)
    problems, marginals, truths = [], {}, []
    for i in range(count):
        truth = rng.dirichlet([1, 1, 1])
        shares = truth**3 * np.exp([2.0, 0.0, 0.0])
        name = f"{seed}/{i}"
        problems.append(question(name, LABELS[rng.choice(3, p=truth)], source=f"{seed}/{i % 60}"))
        marginals[name] = dict(zip(LABELS, shares / shares.sum(), strict=True))
        truths.append(truth)
    return problems, marginals, np.array(truths)


def test_a_vote_that_is_too_sure_and_leans_to_one_answer_is_set_right_on_new_sources():
    verifier = fit_answer_verifier(*overconfident(0)[:2])
    problems, marginals, truths = overconfident(1, 200)
    bound = VerifierReward(verifier, answer_features(marginals, None, verifier.claims)).bind(problems)
    found = np.array([bound.of_answers(p) for p in range(200)])
    known = np.array([min(marginals[p.name].values()) > 1e-3 for p in problems])  # others have lost what they knew
    assert np.abs(np.exp(found) - truths)[known].mean() < 0.04
    np.testing.assert_allclose(np.exp(found).sum(1), 1.0, atol=0.01)


def test_no_source_is_judged_by_what_was_fitted_to_it():
    """Labels by source and nothing else to go by: the claims' own shares are all there is, and they are others'."""
    problems = [question(f"{s}/{i}", LABELS[s % 3], source=f"s{s}") for s in range(6) for i in range(5)]
    marginals = {problem.name: dict.fromkeys(LABELS, 1 / 3) for problem in problems}
    verifier = fit_answer_verifier(problems, marginals, folds=6)
    bound = VerifierReward(verifier, answer_features(marginals, None, verifier.claims)).bind(problems)
    for p, problem in enumerate(problems):
        rewards = dict(zip(LABELS, bound.of_answers(p), strict=True))
        assert min(rewards, key=rewards.get) == problem.extras["label"]  # its source is the one that is missing
    assert verifier.facts["held_out_accuracy"] == 0.0


def test_it_comes_back_from_its_file_as_the_kind_that_it_is(tmp_path):
    problems, marginals, _ = overconfident(2, 60)
    verifier = fit_answer_verifier(problems, marginals)
    save_verifier(verifier, tmp_path / "verifier.safetensors")
    again = load_verifier(tmp_path / "verifier.safetensors")
    features = answer_features(marginals, None, verifier.claims)
    first, second = (VerifierReward(v, features).bind(problems) for v in (verifier, again))
    np.testing.assert_array_equal(first.of_answers(7), second.of_answers(7))
    assert again.kind == "choice"
    assert first(texts("?"), np.zeros(1, int))[0] == pytest.approx(np.log(1e-3))


def test_features_of_another_kind_are_refused():
    problems, marginals, _ = overconfident(2, 60)
    verifier = fit_answer_verifier(problems, marginals)
    features = answer_features(marginals, None, verifier.claims)
    with pytest.raises(ValueError, match="kind 'choice' reads features with margins=False"):
        VerifierReward(verifier, type(features)(features.features, features.claims, margins=True))
    with pytest.raises(ValueError, match="'q' has no answer marginal"):
        VerifierReward(verifier, features).bind([question()])


def test_log_choice_is_a_softmax_of_the_pool():
    rows = np.array([[0.0, 1.0], [2.0, -1.0]])
    head = fit_choice([rows, rows], np.array([0, 1]), ridge=1.0)
    np.testing.assert_allclose(log_choice(head, rows), log_softmax(rows / head.scale @ head.weights))
