"""The second opinion moves a forecast and does not narrow it; it helps exactly when the opinion knows something."""

import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from sadt_ray.data.windows import standardised
from sadt_ray.interfaces import Problem, Reward
from sadt_ray.metrics import crps
from sadt_ray.numerics.logspace import normalised
from sadt_ray.rewards.opinions import Opinions, fit_opinions
from sadt_ray.rewards.second_opinion import LinearScorer, SecondOpinionReward, fit_opinion_weights, with_second_opinions

H, RANK = 96, 8


def smooth_basis():
    t = (np.arange(H) + 0.5) / H
    return np.array([np.cos(np.pi * k * t) * np.sqrt((2.0 if k else 1.0) / H) for k in range(RANK)])


def gaussian_problem(mean, opinion, rng, n=4_000, name="gaussian"):
    """A Gaussian prior whose errors live in the basis, plus noise; ``opinion`` is one forecast."""
    basis = smooth_basis()
    scales = np.linspace(4.0, 0.5, RANK)
    samples = mean + (rng.normal(size=(n, RANK)) * scales) @ basis + 0.1 * rng.normal(size=(n, H))
    extras = {"opinions": np.atleast_2d(opinion), "opinion_basis": basis, "prior_samples": samples}
    return Problem(name, np.zeros(H), extras=extras)


def test_it_is_a_log_likelihood_ratio_of_two_gaussians_up_to_a_constant():
    """log N(Qx; Qp + w d, S) - log N(Qx; Qp, S) = w d' S^-1 Q (x - p) - w^2 d' S^-1 d / 2."""
    rng = np.random.default_rng(0)
    problem = gaussian_problem(np.ones(H), rng.normal(size=(3, H)), rng, n=40_000)
    basis, samples = problem.extras["opinion_basis"], problem.extras["prior_samples"]
    weight, x = 0.45, samples[:50]
    p, s = basis @ samples.mean(0), np.cov(samples @ basis.T, rowvar=False)
    step = weight * np.linalg.inv(s) @ (basis @ problem.extras["opinions"].mean(0) - p)
    ratio = (x @ basis.T - p) @ step
    scorer = SecondOpinionReward(weight).bind([problem])
    rewards = jaxtyped(LinearScorer.__call__, typechecker=beartype)(scorer, x, np.zeros(50, int))
    np.testing.assert_allclose(rewards, ratio, rtol=1e-3, atol=1e-3)


def test_tilting_a_gaussian_moves_its_mean_and_keeps_its_covariance():
    """exp(a'x) N(p, C) = N(p + C a, C): the reward's slope, through the exact covariance, is the shift asked for."""
    rng = np.random.default_rng(1)
    basis, scales = smooth_basis(), np.linspace(4.0, 0.5, RANK)
    problem = gaussian_problem(np.zeros(H), rng.normal(size=H), rng, n=60_000)
    covariance = (basis.T * scales**2) @ basis + 0.01 * np.eye(H)
    slope = SecondOpinionReward(0.45).bind([problem]).slopes[0]
    opinion, mean = problem.extras["opinions"][0], problem.extras["prior_samples"].mean(0)
    inverse = np.linalg.inv(basis @ covariance @ basis.T)
    expected = 0.45 * covariance @ basis.T @ inverse @ basis @ (opinion - mean)
    np.testing.assert_allclose(covariance @ slope, expected, atol=0.03 * np.abs(expected).max())
    np.testing.assert_allclose(basis @ covariance @ slope, 0.45 * basis @ (opinion - mean), atol=0.03)


def test_importance_weights_move_the_samples_mean_and_keep_their_spread():
    rng = np.random.default_rng(2)
    problem = gaussian_problem(np.zeros(H), smooth_basis()[0] * 3.0, rng, n=4_000)
    fresh = gaussian_problem(np.zeros(H), 0.0, rng, n=60_000).extras["prior_samples"]
    weights = normalised(SecondOpinionReward(0.45).bind([problem])(fresh, np.zeros(len(fresh), int)))
    projected = fresh @ smooth_basis()[0]
    mean = weights @ projected
    assert mean == pytest.approx(0.45 * 3.0, abs=0.2)
    assert weights @ (projected - mean) ** 2 == pytest.approx(16.0, rel=0.05)


@pytest.fixture(scope="module")
def linear_gaussian_scores():
    """CRPS over 150 windows whose truth the prior does not know in full: truth = mean + shared + rest, opinion = mean +
    shared + noise. The prior N(mean, Cov(shared + rest)) is calibrated; an opinion's optimal weight is below one."""
    rng = np.random.default_rng(3)
    basis, windows, n = smooth_basis(), 150, 600
    known, truths, forecasts = [], [], []
    for i in range(windows):
        shared, rest, noise = rng.normal(size=(3, RANK)) * np.array([[1.5], [1.5], [1.0]])
        prior = (rng.normal(size=(n, RANK)) * np.hypot(1.5, 1.5)) @ basis
        extras = {"opinions": ((shared + noise) @ basis)[None], "opinion_basis": basis, "prior_samples": prior}
        known.append(Problem(str(i), np.zeros(H), extras=extras))
        truths.append((shared + rest) @ basis)
        forecasts.append((rng.normal(size=(n, RANK)) * np.hypot(1.5, 1.5)) @ basis)
    samples, truth = np.array(forecasts), np.array(truths)

    def scores(weight, shuffle=False):
        scorer = SecondOpinionReward(weight).bind(known)
        owner = np.roll(np.arange(windows), 1) if shuffle else np.arange(windows)
        rewards = scorer(samples.reshape(-1, H), np.repeat(owner, n)).reshape(windows, n)
        return crps(samples, truth, np.array([normalised(row) for row in rewards]))

    return scores


def paired(a, b):
    difference = a - b
    return difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))


def test_an_opinion_that_knows_something_lowers_the_crps(linear_gaussian_scores):
    gain, error = paired(linear_gaussian_scores(0.45), linear_gaussian_scores(0.0))
    assert gain < -5 * error


def test_control_the_reversed_sign_does_harm(linear_gaussian_scores):
    loss, error = paired(linear_gaussian_scores(-0.45), linear_gaussian_scores(0.0))
    assert loss > 5 * error


def test_control_another_windows_opinion_does_not_help(linear_gaussian_scores):
    loss, error = paired(linear_gaussian_scores(0.45, shuffle=True), linear_gaussian_scores(0.0))
    assert loss > -2 * error


def test_the_reward_averages_zero_over_the_prior_samples_and_grows_with_the_weight():
    rng = np.random.default_rng(4)
    problem = gaussian_problem(np.ones(H), rng.normal(size=(3, H)), rng, n=50)
    x = problem.extras["prior_samples"]
    rewards = SecondOpinionReward(0.45).bind([problem])(x, np.zeros(50, int))
    assert rewards.mean() == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(SecondOpinionReward(0.9).bind([problem])(x, np.zeros(50, int)), 2 * rewards)


def test_the_weight_means_the_same_for_few_prior_samples_as_for_many():
    """Without the correction of the inverse covariance, 25 samples would move the mean 1.6 times as far as asked."""
    rng = np.random.default_rng(5)
    basis, opinion = smooth_basis(), smooth_basis()[0] * 3.0
    moved = []
    for _ in range(600):
        extras = {
            "opinions": opinion[None],
            "opinion_basis": basis,
            "prior_samples": rng.normal(size=(25, RANK)) @ basis,
        }
        slope = SecondOpinionReward(1.0).bind([Problem("few", np.zeros(H), extras=extras)]).slopes[0]
        moved.append(basis[0] @ slope)
    assert np.mean(moved) == pytest.approx(3.0, rel=0.1)


def test_mixed_batches_score_each_row_by_its_own_problem():
    rng = np.random.default_rng(6)
    known = [gaussian_problem(m * np.ones(H), rng.normal(size=(3, H)), rng, n=40, name=str(m)) for m in range(3)]
    x, owner = rng.normal(size=(9, H)), np.array([2, 0, 1, 1, 0, 2, 2, 0, 1])
    mixed = SecondOpinionReward(0.45).bind(known)(x, owner)
    alone = [SecondOpinionReward(0.45).bind([known[p]])(x[b : b + 1], np.zeros(1, int))[0] for b, p in enumerate(owner)]
    np.testing.assert_allclose(mixed, alone, rtol=1e-12)


def test_each_opinion_may_have_its_own_weight():
    rng = np.random.default_rng(9)
    problem, x, owner = (
        gaussian_problem(np.ones(H), rng.normal(size=(3, H)), rng, n=50),
        rng.normal(size=(5, H)),
        [0] * 5,
    )
    shared = SecondOpinionReward(0.6).bind([problem])(x, owner)
    np.testing.assert_allclose(SecondOpinionReward((0.2, 0.2, 0.2)).bind([problem])(x, owner), shared)
    only_last = Problem("last", problem.context, extras={**problem.extras, "opinions": problem.extras["opinions"][2:]})
    alone = SecondOpinionReward(0.25).bind([only_last])(x, owner)
    np.testing.assert_allclose(SecondOpinionReward().bind([problem])(x, owner), alone)
    with pytest.raises(ValueError, match="'gaussian' has 3 opinions, but 2 weights are given"):
        SecondOpinionReward((0.1, 0.2)).bind([problem])


def test_fitted_weights_are_those_of_the_regression_of_truth_on_opinions():
    """truth = shared + rest; opinions shared + noise, variances 2.25, 2.25 and 1, and pure noise: 2.25 / 3.25 and 0."""
    rng = np.random.default_rng(10)
    basis, known = smooth_basis(), []
    for _ in range(400):
        shared, rest, noise, nothing = rng.normal(size=(4, RANK)) * np.array([[1.5], [1.5], [1.0], [1.0]])
        prior = (rng.normal(size=(200, RANK)) * np.hypot(1.5, 1.5)) @ basis
        extras = {
            "opinions": np.stack([shared + noise, nothing]) @ basis,
            "opinion_basis": basis,
            "prior_samples": prior,
        }
        known.append(Problem("past", np.zeros(H), truth=(shared + rest) @ basis, extras=extras))
    np.testing.assert_allclose(fit_opinion_weights(known), [2.25 / 3.25, 0.0], atol=0.06)
    with pytest.raises(ValueError, match="'past' has no truth to fit the weights to"):
        fit_opinion_weights([Problem("past", np.zeros(H), extras=known[0].extras)])


def without(problem, name):
    return {key: value for key, value in problem.extras.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: without(p, "prior_samples"), "'bad' lacks extras prior_samples.*with_second_opinions"),
        (lambda p: {}, "lacks extras opinions, opinion_basis, prior_samples"),
        (lambda p: {**p.extras, "opinions": np.zeros((3, 5))}, r"\[rows, horizon\].*opinions \(3, 5\)"),
        (lambda p: {**p.extras, "opinions": np.full((3, H), np.nan)}, "must be finite"),
        (lambda p: {**p.extras, "prior_samples": np.zeros((16, H))}, "16 prior samples are too few.*at least 17"),
        (lambda p: {**p.extras, "prior_samples": np.zeros((50, H))}, "do not vary in all 8 directions"),
    ],
)
def test_a_problem_without_what_is_needed_is_named_with_the_fix(change, message):
    rng = np.random.default_rng(7)
    good = gaussian_problem(np.zeros(H), np.zeros(H), rng, n=40)
    with pytest.raises(ValueError, match=message):
        SecondOpinionReward().bind([good, Problem("bad", np.zeros(H), extras=change(good))])


def test_it_is_a_reward_and_no_oracle():
    assert isinstance(SecondOpinionReward(), Reward)
    assert SecondOpinionReward().oracle is False
    with pytest.raises(ValueError, match="finite numbers, got nan"):
        SecondOpinionReward(float("nan"))


@pytest.fixture(scope="module")
def hourly():
    """Two channels with a daily cycle; the second is the first of 12 hours ago, so that only a joint forecast knows."""
    rng = np.random.default_rng(8)
    t = np.arange(4_000)
    slow = np.convolve(rng.normal(size=len(t) + 47), np.ones(48) / 7.0, "valid")
    first = np.sin(2 * np.pi * t / 24) + slow
    raw = np.stack([first, np.roll(first, 12)], axis=1)
    return standardised("hourly", ("ahead", "behind"), raw.astype(np.float32))


@pytest.fixture(scope="module")
def learned(hourly):
    return fit_opinions(hourly, neighbours=20)


def test_opinions_are_yesterday_analogues_and_a_ridge_that_sees_other_channels(hourly, learned):
    errors, first_hours = [], []
    for window in range(10):
        problem = hourly.problem("val", window, "behind")
        forecasts = jaxtyped(Opinions.__call__, typechecker=beartype)(learned, problem)
        np.testing.assert_allclose(forecasts[0, :24], problem.context[-24:])
        np.testing.assert_allclose(forecasts[0, 24:48], problem.context[-24:])
        errors.append(np.square(forecasts - problem.truth).mean(-1))
        first_hours.append(np.square(forecasts - problem.truth)[:, :12].mean(-1))
    yesterday, analogues, ridge = np.mean(errors, axis=0)
    assert analogues < yesterday
    assert ridge < yesterday
    assert np.mean(first_hours, axis=0)[2] < 0.1 * np.mean(first_hours, axis=0)[0]


def test_opinions_learn_from_the_training_part_alone(hourly, learned):
    start, _ = hourly.splits["val"]
    values = hourly.values.copy()
    values[start:] = 99.0
    changed = type(hourly)(hourly.name, hourly.columns, values, hourly.mean, hourly.std, hourly.splits)
    again = fit_opinions(changed, neighbours=20)
    for name, value in vars(learned).items():
        np.testing.assert_array_equal(value, getattr(again, name))


def test_opinions_do_not_read_the_truth(hourly, learned):
    problem = hourly.problem("val", 3, "ahead")
    blind = Problem(problem.name, problem.context, extras=problem.extras)
    np.testing.assert_array_equal(learned(problem), learned(blind))


def test_the_basis_is_orthonormal_and_ordered(learned):
    np.testing.assert_allclose(learned.basis @ learned.basis.T, np.eye(8), atol=1e-10)


def test_problems_are_copied_not_changed_when_their_extras_are_filled(hourly, learned):
    plain = [hourly.problem("val", w, "ahead") for w in range(2)]
    samples = [np.random.default_rng(w).normal(size=(40, H)) for w in range(2)]
    filled = with_second_opinions(plain, learned, samples)
    assert "opinions" not in plain[0].extras
    assert filled[1].name == plain[1].name
    assert filled[1].extras["channel"] == 0
    np.testing.assert_array_equal(filled[1].extras["prior_samples"], samples[1])
    assert SecondOpinionReward().bind(filled)(samples[0], np.zeros(40, int)).shape == (40,)
    with pytest.raises(ValueError, match="2 problems need as many arrays of prior samples, got 1"):
        with_second_opinions(plain, learned, samples[:1])


def test_problems_and_settings_that_do_not_fit_are_refused(hourly, learned):
    with pytest.raises(ValueError, match=r"'plain'.*'all_contexts' \[336, 2\].*SeriesDataset.problem"):
        learned(Problem("plain", np.zeros(336)))
    with pytest.raises(ValueError, match="neighbours must be between 1 and the"):
        fit_opinions(hourly, neighbours=0)
    with pytest.raises(ValueError, match="rank must be between 1 and"):
        fit_opinions(hourly, rank=97)
