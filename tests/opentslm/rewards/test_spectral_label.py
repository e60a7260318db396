"""Templates of spectra by label, and the reward that holds a claimed label against them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_questions import autoregression, question, texts

from sadt_ray.numerics.psd import frequencies
from sadt_ray.opentslm.rewards.cross_fit import cross_fit, source_folds
from sadt_ray.opentslm.rewards.spectral_label import SpectralLabelReward
from sadt_ray.opentslm.rewards.templates import (
    TemplateConfig,
    fit_label_templates,
    load_templates,
    save_templates,
    stage_templates_config,
    template_accuracy,
)

PHI = {"walking": 0.3, "running": -0.3, "lying": 0.5}
CONFIG = TemplateConfig(nperseg=32)


def processes(count, length, seed, labels=tuple(PHI), **extras):
    """Questions about autoregressions, one coefficient a label, ``count`` of each."""
    rng = np.random.default_rng(seed)
    return [
        question(f"{label}/{i}", label, autoregression(PHI[label], length, rng), source=f"s{i % 7}", **extras)
        for label in labels
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def training():
    return processes(40, 1024, 0)


@pytest.fixture(scope="module")
def templates(training):
    return fit_label_templates(training, CONFIG)


@pytest.mark.parametrize("centre", ["mean", "median"])
def test_a_template_is_the_spectrum_of_its_process(training, centre):
    fitted = fit_label_templates(training, TemplateConfig(nperseg=32, centre=centre))
    omega = 2 * np.pi * frequencies(32).numpy()[2:-1]  # the lowest bins lose their mean
    for claim, log_psd in zip(fitted.claims, fitted.log_psd[:, 0, 2:-1], strict=True):
        phi = PHI[claim]
        truth = np.log(2 * (1 - phi**2) / (1 - 2 * phi * np.cos(omega) + phi**2))  # one-sided, of variance one
        np.testing.assert_allclose(log_psd, truth, atol=0.15)


def test_the_nearest_template_becomes_the_right_one_as_the_series_grows(templates):
    accuracy = [template_accuracy(templates, processes(40, length, 1)).accuracy for length in (32, 128, 1024)]
    assert accuracy[0] < accuracy[1] < accuracy[2]
    assert accuracy[0] > 0.4
    assert accuracy[2] > 0.98  # the Bayes rule's error goes to zero as well: the laws are singular in the limit
    assert template_accuracy(templates, processes(40, 1024, 1)).majority == pytest.approx(1 / 3)


def test_the_reward_is_minus_the_mean_log_distance_to_the_claimed_labels_template(templates):
    problem = processes(1, 256, 2)[0]
    rewards = SpectralLabelReward(templates, 2.0).bind([problem])(texts("lying", "walking", "?"), np.zeros(3, int))
    far = dict(zip(problem.conditioning.answers, templates.distances(problem), strict=True))
    assert rewards[:2].tolist() == pytest.approx([-2 * far["lying"], -2 * far["walking"]])
    assert rewards[2] == pytest.approx(-2 * max(far.values()))  # what claims nothing is no better than the worst
    assert not SpectralLabelReward(templates).oracle


def test_a_series_that_is_its_template_is_worth_nothing_less_than_zero(training):
    one = training[0]
    alone = fit_label_templates([one], CONFIG)
    assert alone.distances(one)[0] == pytest.approx(0.0, abs=1e-12)


def test_an_answer_that_was_not_seen_in_training_is_no_opinion(training):
    seen = fit_label_templates([p for p in training if p.extras["label"] != "lying"], CONFIG)
    problem = processes(1, 256, 3, labels=["lying"])[0]
    walking, running, lying = SpectralLabelReward(seen).bind([problem]).of_answers(0)
    assert lying == pytest.approx((walking + running) / 2)
    report = template_accuracy(seen, [problem])
    assert (report.unseen, report.accuracy) == (1, 0.0)
    strange = question(answers=("up", "down"), label="up", context=problem.context)
    assert SpectralLabelReward(seen).bind([strange]).of_answers(0).tolist() == [0, 0]


def test_options_are_compared_by_what_they_say_not_by_their_letters():
    rng = np.random.default_rng(4)

    def asked(first, second, label, name):
        pre = f"Select:\n(a) The series is {first}.\n(b) The series is {second}.\n"
        phi = {"smooth": 0.8, "rough": -0.8}[first if label == "(a)" else second]
        return question(name, label, autoregression(phi, 512, rng), ("(a)", "(b)"), pre)

    fitted = fit_label_templates([asked("smooth", "rough", "(a)(b)"[i : i + 3], str(i)) for i in (0, 3)], CONFIG)
    assert fitted.claims == ("the series is rough", "the series is smooth")
    turned = [asked("rough", "smooth", "(a)", f"t{i}") for i in range(10)]
    assert template_accuracy(fitted, turned).accuracy == 1.0


@given(st.permutations(range(3)), st.integers(0, 99), st.floats(0.01, 100))
def test_pooled_templates_know_neither_order_nor_scale_nor_level_of_the_channels(order, seed, scale):
    rng = np.random.default_rng(seed)
    windows = rng.standard_normal((4, 64, 3)).cumsum(1)
    problems = [question(str(i), label, windows[i]) for i, label in enumerate(("walking", "running") * 2)]
    fitted = fit_label_templates(problems, TemplateConfig(nperseg=32, channels="pooled"))
    turned = question("turned", "walking", scale * windows[0][:, order] + 5.0)
    np.testing.assert_allclose(fitted.distances(turned), fitted.distances(problems[0]), atol=1e-6)
    each = fit_label_templates(problems, TemplateConfig(nperseg=32, channels="each"))
    assert list(order) == [0, 1, 2] or not np.allclose(
        each.distances(turned)[:2], each.distances(problems[0])[:2], atol=1e-6
    )


def test_templates_come_back_from_their_file_as_they_were(templates, tmp_path):
    path = tmp_path / "templates.safetensors"
    save_templates(templates, path)
    again = load_templates(path)
    np.testing.assert_array_equal(again.log_psd, templates.log_psd)
    assert (again.config, again.claims, again.counts) == (templates.config, templates.claims, templates.counts)
    assert again.facts == {"problems": 120, "sources": 7}
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="holds no label templates"):
        load_templates(path)


def test_a_problem_from_a_training_source_is_compared_with_templates_that_have_not_seen_it(training):
    """Series that are noise but for a mark of their source: only who saw the source can tell."""
    rng = np.random.default_rng(5)
    labels = ("walking", "running")
    phi = rng.uniform(-0.9, 0.9, 12)  # of the source; its label has nothing to do with it
    problems = [
        question(f"{s}/{i}", labels[s % 2], autoregression(phi[s], 256, rng), labels, source=f"s{s}")
        for s in range(12)
        for i in range(4)
    ]

    def fit(kept):
        return fit_label_templates(kept, CONFIG, {"of": {p.extras["source"] for p in kept}})

    crossed = cross_fit(problems, fit, 4)
    for problem in problems:
        assert problem.extras["source"] not in crossed.of_source(problem.extras["source"]).facts["of"]
    assert crossed.of_source("a new one") is crossed.full
    bound = SpectralLabelReward(crossed).bind(problems)
    held_out = crossed.of_source("s3").distances(problems[12])
    np.testing.assert_allclose(bound.of_answers(12), -held_out)
    assert not np.allclose(bound.of_answers(12), -crossed.full.distances(problems[12]))


@given(st.lists(st.integers(0, 8), min_size=12, max_size=60), st.integers(2, 4), st.integers(0, 5))
def test_folds_are_of_whole_sources_and_none_is_empty(sources, folds, seed):
    names = [f"s{source}" for source in sources]
    if len(set(names)) < folds:
        with pytest.raises(ValueError, match="as many sources"):
            source_folds(names, folds, seed)
        return
    fold_of = source_folds(names, folds, seed)
    assert set(fold_of) == set(names)
    assert set(fold_of.values()) == set(range(folds))


def test_what_does_not_fit_is_named(templates):
    with pytest.raises(ValueError, match=r"'short': templates need a finite context .* nperseg = 32 .* \(20,\)"):
        templates.distances(question("short", context=np.zeros(20)))
    with pytest.raises(ValueError, match="training split, got none"):
        fit_label_templates([], CONFIG)
    with pytest.raises(ValueError, match="different numbers of channels"):
        fit_label_templates([question("1"), question("2", context=np.ones((64, 3)))], CONFIG)
    with pytest.raises(ValueError, match="unknown channels 'sum' of templates; choose one of each, pooled"):
        TemplateConfig(channels="sum")
    with pytest.raises(ValueError, match="spectral_weight must be a finite number"):
        SpectralLabelReward(templates, np.inf)


def test_a_stages_templates_fit_its_shortest_series():
    problems = [question(context=np.zeros(length)) for length in (300, 40, 128)]
    assert stage_templates_config(3, problems) == TemplateConfig(nperseg=40, channels="pooled", eps=1e-2)
    assert stage_templates_config(5, problems[:1]).nperseg == 256
