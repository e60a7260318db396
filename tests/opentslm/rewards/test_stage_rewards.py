"""Rewards of a stage as they are written on a command line."""

import pickle

import numpy as np
import pytest
from stage_questions import question, texts

from sadt_ray.opentslm.rewards.agreement import AgreementReward
from sadt_ray.opentslm.rewards.build import Evidence, build_stage_reward, default_spec, needs
from sadt_ray.opentslm.rewards.features import TextFeatures
from sadt_ray.opentslm.rewards.format import FormatReward
from sadt_ray.opentslm.rewards.oracle import OracleAccuracy
from sadt_ray.opentslm.rewards.spectral_label import SpectralLabelReward
from sadt_ray.opentslm.rewards.templates import TemplateConfig, fit_label_templates
from sadt_ray.opentslm.rewards.verifier import fit_verifier
from sadt_ray.rewards.combine import WeightedSum

PROBLEMS = [
    question(str(i), ("walking", "running")[i % 2], np.sin(np.arange(64) * (1 + i % 2)), source=f"s{i}")
    for i in range(6)
]
MARGINALS = {problem.name: {"walking": 0.6, "running": 0.4} for problem in PROBLEMS}
TEMPLATES = fit_label_templates(PROBLEMS, TemplateConfig(nperseg=32))
FEATURES = TextFeatures({"agreement": AgreementReward(MARGINALS)})
SAID, OWNER = texts(*["walking", "running", "?"] * 2), np.arange(6)
VERIFIER = fit_verifier(PROBLEMS, SAID, OWNER, OracleAccuracy().bind(PROBLEMS)(SAID, OWNER), FEATURES, folds=2)
EVIDENCE = Evidence(
    templates=TEMPLATES,
    marginals=MARGINALS,
    pilot={problem.name: (["walking"], [0.0]) for problem in PROBLEMS},
    log_probs=lambda prompt, texts: (np.array([-float(len(text)) for text in texts]), np.full(len(texts), 2)),
    verifier=VERIFIER,
    features=FEATURES,
    label_shares={"walking": 0.5, "running": 0.5},
)


def length(samples, problem):
    return [len(text) for text in samples]


def built(spec, stage=3):
    return build_stage_reward(spec, stage, EVIDENCE)


def score(reward):
    return reward.bind(PROBLEMS)(SAID, OWNER)


def test_a_sum_of_terms_is_the_sum_of_its_rewards():
    reward = built("format:-9 + 2*spectral-label + 0.5*agreement + verifier")
    parts = [
        FormatReward(-9.0),
        SpectralLabelReward(TEMPLATES, 2.0),
        WeightedSum((0.5, AgreementReward(MARGINALS))),
        built("format:-9 + verifier"),
    ]
    expected = sum(score(part) for part in parts) - score(FormatReward(-9.0))
    np.testing.assert_allclose(score(reward), expected)
    assert not reward.oracle


def test_what_no_one_can_read_is_out_unless_the_sum_says_otherwise():
    assert np.isneginf(score(built("spectral-label"))).tolist() == [False, False, True] * 2
    assert np.isfinite(score(built("format:-3 + spectral-label"))).all()
    assert built("none").terms == ()
    assert score(built("none")).tolist() == [0.0] * 6
    assert np.isneginf(score(built(f"{__name__}:length"))[2])


def test_the_default_of_a_stage_needs_no_label_and_no_pilot():
    for stage, spec in ((1, "format + spectral-label"), ("m4", "format + claims"), (5, "format + spectral-label")):
        assert default_spec(stage) == spec
        assert repr(built("default", stage)) == repr(built(spec, stage))
        assert not built("default", stage).oracle


def test_likelihood_is_per_token_and_captions_are_compared_with_the_pilot():
    np.testing.assert_allclose(score(built("format:-1e-9 + likelihood")), [-len(text) / 2 for text in SAID], atol=1e-6)
    captions = [question("0", None, answers=())]
    assert built("consensus", 2).bind(captions)(np.array(["walking", "no"]), np.zeros(2, int)).tolist() == [1, 0]
    assert built("claims", 2).bind(captions)(np.array(["no trend"]), np.zeros(1, int)) < 0


@pytest.mark.parametrize("spec", ["oracle", "oracle:f1", "format + 0.1*oracle:kappa", "oracle:accuracy + verifier"])
def test_an_oracle_in_a_sum_makes_it_one(spec):
    assert built(spec).oracle
    assert np.isfinite(score(built(f"format:-1 + {spec.removeprefix('format + ')}"))).all()


def test_the_oracle_of_a_stage_is_the_metric_that_it_is_judged_by():
    names = {stage: repr(built("oracle", stage).terms[-1][1]).partition("(")[0] for stage in (1, 2, 3, 4, 5)}
    assert names == {1: "OracleAccuracy", 2: "OracleOverlap", 3: "OracleF1", 4: "OracleKappa", 5: "OracleAccuracy"}


def test_the_terms_of_a_sum_say_what_has_to_be_prepared():
    assert needs("default", 3) == {"format", "spectral-label"}
    assert needs("2*spectral_label + oracle:f1 + agreement", 3) == {"spectral-label", "oracle", "agreement"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("spectral", "unknown reward 'spectral'; write a sum such as"),
        ("", "unknown reward ''"),
        ("format:bad", "as in format:-5; got 'format:bad'"),
        ("format:2", "must be below 0"),
        ("oracle:luck", "unknown oracle 'luck' for stage 3; choose one of accuracy, f1, kappa, rouge-l, bleu"),
        ("no_such_module_of_mine:f", "cannot import 'no_such_module_of_mine'"),
    ],
)
def test_what_is_not_understood_is_explained(spec, message):
    with pytest.raises(ValueError, match=message):
        built(spec)


@pytest.mark.parametrize(
    "term", ["spectral-label", "agreement", "consensus", "likelihood", "verifier", "oracle:f1", "oracle:kappa"]
)
def test_a_term_says_what_it_needs(term):
    with pytest.raises(ValueError, match=f"the reward {term} needs .*, and there is none"):
        build_stage_reward(term, 3)


def test_there_are_five_stages():
    with pytest.raises(ValueError, match="no stage 6"):
        build_stage_reward("none", 6)


def test_rewards_travel_to_workers_and_say_what_they_are_in_a_line():
    spec = "format + 2*spectral-label + 0.5*agreement + verifier + 0.1*oracle:kappa"
    again = pickle.loads(pickle.dumps(built(spec)))
    np.testing.assert_array_equal(score(again), score(built(spec)))
    assert repr(again).startswith("1 * FormatReward(unparsable=-inf) + 2 * SpectralLabelReward(spectral_weight=1.0) + ")
    assert len(repr(again)) < 300
