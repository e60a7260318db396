"""The learned verifier: calibrated, cross-fitted by source, label-free once it is trained."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_expit, logit
from stage_questions import LABELS, autoregression, question, texts

from sadt_ray.opentslm.rewards.agreement import AgreementReward
from sadt_ray.opentslm.rewards.answer_verifier import answer_features, fit_answer_verifier
from sadt_ray.opentslm.rewards.cross_fit import cross_fit
from sadt_ray.opentslm.rewards.features import TextFeatures, margins
from sadt_ray.opentslm.rewards.format import FormatReward
from sadt_ray.opentslm.rewards.logistic import fit_logistic, held_out_facts
from sadt_ray.opentslm.rewards.oracle import OracleAccuracy
from sadt_ray.opentslm.rewards.templates import TemplateConfig, fit_label_templates, template_accuracy
from sadt_ray.opentslm.rewards.verifier import VerifierReward, fit_verifier
from sadt_ray.opentslm.rewards.verifier_file import load_verifier, save_verifier
from sadt_ray.rewards.function import FunctionReward


def test_a_logistic_regression_finds_the_weights_that_made_its_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 3)) * [1.0, 2.0, 0.5] + [3.0, 0.0, -1.0]
    truth = x @ [0.5, -0.4, 1.0] - 1.0
    head = fit_logistic(x, (rng.random(len(x)) < expit(truth)).astype(float), ridge=1.0)
    np.testing.assert_allclose(head.weights / head.scale, [0.5, -0.4, 1.0], atol=0.08)
    assert np.abs(head.logits(x) - truth).mean() < 0.1


@given(st.integers(0, 99), st.floats(0.1, 100))
def test_the_fit_is_the_minimum_of_its_penalised_loss(seed, ridge):
    rng = np.random.default_rng(seed)
    x, target = rng.standard_normal((30, 2)), rng.random(30)
    head = fit_logistic(x, target, ridge)
    residual = expit(head.logits(x)) - target
    np.testing.assert_allclose(((x - head.mean) / head.scale).T @ residual + ridge * head.weights, 0, atol=1e-6)
    assert residual.mean() == pytest.approx(0, abs=1e-6)  # calibrated on the whole: the bias is free


def test_separable_data_and_a_column_that_never_changes_do_no_harm():
    x = np.column_stack([np.repeat([-1.0, 1.0], 10), np.ones(20)])
    head = fit_logistic(x, np.repeat([0.0, 1.0], 10), ridge=1.0)
    assert np.isfinite(head.weights).all()
    assert head.weights[1] == 0.0
    assert (head.logits(x)[10:] > 1).all()


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(-9, 9))
def test_a_margin_is_positive_for_the_best_answer_alone_and_blind_to_what_answers_share(values, shift):
    values = np.array(values)
    margin = margins(values)
    assert margin.max() >= 0 >= np.sort(margin)[-2]
    np.testing.assert_allclose(margins(values + shift), margin, atol=1e-9)
    np.testing.assert_allclose(margins(values[:2]), [values[0] - values[1], values[1] - values[0]])


def world(seed, sources=12, each=20):
    """Rationales whose agreement with the vote says how likely they are right: logit P = 1.5 log-odds of the vote."""
    rng = np.random.default_rng(seed)
    problems, marginals, said = [], {}, []
    for i in range(sources * each):
        share = float(rng.uniform(0.1, 0.9))
        name = f"{seed}/{i}"
        right = rng.random() < expit(1.5 * logit(share))
        label = "walking" if right else "lying"
        problems.append(question(name, label, answers=("walking", "lying"), source=f"s{i % sources}"))
        marginals[name] = {"walking": share, "lying": 1 - share}
        said.append("walking")
    return problems, marginals, texts(*said)


def trained(seed=0, **settings):
    problems, marginals, said = world(seed)
    owner = np.arange(len(problems))
    right = OracleAccuracy().bind(problems)(said, owner)
    features = TextFeatures({"agreement": AgreementReward(marginals)})
    return fit_verifier(problems, said, owner, right, features, **settings), problems, marginals, said


def test_a_verifier_is_calibrated_on_sources_that_it_has_not_seen():
    verifier, *_ = trained()
    problems, marginals, said = world(1)
    for problem in problems:
        problem.extras["source"] = "new " + problem.extras["source"]
    features = TextFeatures({"agreement": AgreementReward(marginals)})
    rewards = VerifierReward(verifier, features).bind(problems)(said, np.arange(len(problems)))
    truth = log_expit(1.5 * logit([marginals[problem.name]["walking"] for problem in problems]))
    assert np.abs(rewards - truth).mean() < 0.15
    assert verifier.facts["held_out_log_loss"] < verifier.facts["log_loss_of_the_mean"]
    assert verifier.facts["held_out_auc"] > 0.7
    assert not VerifierReward(verifier, features).oracle


def test_a_source_is_never_judged_by_a_head_that_was_trained_on_it():
    """A feature that names the source, and rightness that is a matter of the source: memory alone can be right."""
    rng = np.random.default_rng(2)
    fate = rng.integers(0, 2, 40)
    problems = [
        question(f"{s}/{i}", ("lying", "walking")[fate[s]], source=f"s{s}") for s in range(40) for i in range(6)
    ]

    class NamesTheSource:
        def bind(self, problems):
            columns = np.array([[p.extras["source"] == f"s{s}" for s in range(40)] for p in problems], float)
            return lambda samples, problem: columns[problem]

    features = TextFeatures({"source": NamesTheSource()})
    said, owner = texts(*["walking"] * len(problems)), np.arange(len(problems))
    right = OracleAccuracy().bind(problems)(said, owner)
    verifier = fit_verifier(problems, said, owner, right, features, folds=5, ridge=0.01)
    remembered = verifier.heads.full.logits(features.bind(problems)(said, owner))
    assert held_out_facts(remembered, right)["held_out_auc"] == 1.0
    rewards = VerifierReward(verifier, features).bind(problems)(said, owner)
    assert held_out_facts(rewards, right)["held_out_auc"] < 0.6
    assert verifier.facts["held_out_auc"] < 0.6
    assert verifier.facts["held_out_log_loss"] >= verifier.facts["log_loss_of_the_mean"] - 0.02
    own = rewards[:6]  # exactly those of the fold that left its source out
    head = verifier.heads.fits[verifier.heads.fold_of["s0"]]
    np.testing.assert_allclose(own, log_expit(head.logits(features.bind(problems)(said, owner)))[:6])


def test_what_a_model_is_often_wrong_about_counts_for_less():
    problems = [question(str(i), LABELS[i % 3], source=f"s{i % 8}") for i in range(240)]
    claimed = ["lying" if i % 3 else "running" for i in range(240)]  # lying is right half the time, running never
    said, owner = texts(*claimed), np.arange(240)
    right = OracleAccuracy().bind(problems)(said, owner)
    features = TextFeatures({}, claims=("lying", "running"))
    verifier = fit_verifier(problems, said, owner, right, features, folds=4)
    both = VerifierReward(verifier, features).bind(problems[:1])(texts("lying", "running"), np.zeros(2, int))
    assert np.exp(both[0]) == pytest.approx(0.5, abs=0.05)
    assert np.exp(both[1]) < 0.1


def test_a_text_that_claims_nothing_gets_the_floor_and_teaches_nothing():
    verifier, problems, marginals, said = trained()
    features = TextFeatures({"agreement": AgreementReward(marginals)})
    scorer = VerifierReward(verifier, features, floor=1e-4).bind(problems)
    assert scorer(texts("?"), np.zeros(1, int))[0] == pytest.approx(np.log(1e-4))
    owner = np.arange(len(problems))
    right = OracleAccuracy().bind(problems)(said, owner)
    more = np.concatenate([said, texts("?", "?")]), np.append(owner, [0, 1]), np.append(right, [1, 1])
    again = fit_verifier(problems, *more, features)
    np.testing.assert_array_equal(again.heads.full.weights, verifier.heads.full.weights)


def test_a_verifier_comes_back_from_its_file_as_it_was(tmp_path):
    verifier, problems, marginals, said = trained(facts={"stage": 3})
    path = tmp_path / "verifier.safetensors"
    save_verifier(verifier, path)
    again, owner = load_verifier(path), np.arange(len(problems))
    assert again.facts == verifier.facts
    features = TextFeatures({"agreement": AgreementReward(marginals)})
    first, second = (VerifierReward(v, features).bind(problems)(said, owner) for v in (verifier, again))
    np.testing.assert_array_equal(first, second)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="holds no verifier"):
        load_verifier(path)


def test_what_cannot_be_learned_from_or_used_is_explained():
    verifier, problems, marginals, said = trained()
    owner = np.arange(len(problems))
    features = TextFeatures({"agreement": AgreementReward(marginals)})
    with pytest.raises(ValueError, match="used without labels, but accuracy reads the gold answer"):
        TextFeatures({"accuracy": OracleAccuracy()})
    with pytest.raises(ValueError, match="at least one feature"):
        TextFeatures({})
    with pytest.raises(ValueError, match=r"oracle rewards in \[0, 1\]"):
        fit_verifier(problems, said, owner, np.full(len(said), 2.0), features)
    endless = TextFeatures({"f": FunctionReward(lambda samples, problem: np.full(len(samples), -np.inf))})
    with pytest.raises(ValueError, match="not finite for a text that claims an answer"):
        fit_verifier(problems, said, owner, np.ones(len(said)), endless)
    with pytest.raises(ValueError, match="was trained on agreement and 0 claims, but got format and 0 claims"):
        VerifierReward(verifier, TextFeatures({"format": FormatReward()}))


def test_a_verifier_of_answers_alone_is_a_table_that_says_the_same():
    verifier, problems, marginals, _ = trained()
    features = TextFeatures({"agreement": AgreementReward(marginals)})

    class AsText:
        """The same feature, as one that might read more than the answer."""

        def bind(self, problems):
            bound = features.bind(problems)
            return lambda samples, problem: bound(samples, problem)

    others = TextFeatures({"agreement": AsText()})
    owner = np.repeat(np.arange(20), 2)
    samples = np.tile(texts("walking", "lying"), 20)
    table, text_by_text = (VerifierReward(verifier, f).bind(problems) for f in (features, others))
    np.testing.assert_allclose(table(samples, owner), text_by_text(samples, owner))
    np.testing.assert_allclose(table.of_answers(3), table(samples[6:8], owner[6:8]))
    claiming = TextFeatures({"agreement": AgreementReward(marginals)}, claims=("lying", "walking"))
    bound = claiming.bind(problems)
    np.testing.assert_array_equal(bound.of_answers(3), bound(samples[6:8], owner[6:8]))


def test_the_standard_verifier_pools_the_vote_and_the_templates():
    """Answers from a vote and a template that are both noisy: together they are right more often than either."""
    rng = np.random.default_rng(7)
    phi = {"walking": 0.3, "lying": 0.0}
    problems, marginals = [], {}
    for i in range(400):
        label = ("walking", "lying")[i % 2]
        series = autoregression(phi[label], 64, rng)
        problems.append(question(str(i), label, series, tuple(phi), source=f"s{i % 40}"))
        for_gold = expit(rng.normal(1.0, 1.5))
        marginals[str(i)] = {name: for_gold if name == label else 1 - for_gold for name in phi}
    train, test = problems[:200], [replace(p, extras={**p.extras, "source": "new"}) for p in problems[200:]]
    templates = cross_fit(train, lambda kept: fit_label_templates(kept, TemplateConfig(nperseg=32)), 4)
    verifier = fit_answer_verifier(train, marginals, templates, folds=4, facts={"stage": 3})
    reward = VerifierReward(verifier, answer_features(marginals, templates, verifier.claims))
    bound = reward.bind(test)
    best = [p.conditioning.answers[int(bound.of_answers(i).argmax())] for i, p in enumerate(test)]
    pooled = np.mean([answer == p.extras["label"] for answer, p in zip(best, test, strict=True)])
    vote = np.mean([max(marginals[p.name], key=marginals[p.name].get) == p.extras["label"] for p in test])
    assert pooled > max(vote, template_accuracy(templates.full, test).accuracy) + 0.03
    assert verifier.claims == ("lying", "walking")
    assert verifier.facts["stage"] == 3
    assert fit_answer_verifier(train, marginals, folds=4).names == ("agreement",)
